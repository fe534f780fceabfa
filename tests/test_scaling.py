"""Pictures of every shape, scaled to a model's input: as the reference does it where it can, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from tests import photos
from zsindex.lab.duplicates import appearance_of
from zsindex.models.preprocess import RESAMPLING, Preprocessing
from zsindex.photos import scaling
from zsindex.photos.scaling import Fitting, fitted_if_thin, resized

MODES = ("RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "YCbCr")
THIN = ((1, 500_000), (500_000, 1), (60_000, 2), (3, 100_001), (40_000, 100), (1, 300_001))
CONFIG = PreprocessCfg(size=(64, 64))


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A smooth one, different everywhere."""
    across = np.linspace(0, 3, width)[None, :, None] + np.array([0, 0.4, 0.9])
    down = np.linspace(0, 4, height)[:, None, None]
    values = (128 + 100 * np.sin(across + down)).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[:, :, 0].astype(np.uint16) * 257)
    return Image.fromarray(values).convert(mode)


# --- the same pixels as the reference ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    mode=st.sampled_from(("RGB", "L", "LA", "RGBA", "P", "1", "CMYK")),
    interpolation=st.sampled_from(("bicubic", "bilinear")),
    resize_mode=st.sampled_from(("shortest", "squash")),
)
@example(width=1, height=1, mode="RGB", interpolation="bicubic", resize_mode="shortest")
@example(width=1, height=700, mode="RGB", interpolation="bicubic", resize_mode="shortest")
@example(width=1, height=700, mode="LA", interpolation="bilinear", resize_mode="squash")
@example(width=700, height=2, mode="P", interpolation="bicubic", resize_mode="shortest")
def test_ordinary_pictures_are_the_reference_bit_for_bit(
    width: int, height: int, mode: str, interpolation: str, resize_mode: str
) -> None:
    config = replace(CONFIG, interpolation=interpolation, resize_mode=resize_mode)
    image = photos.noise(width, width, height).convert(mode)
    size = 64, 64
    assert fitted_if_thin(image, size, RESAMPLING[interpolation], resize_mode=resize_mode) is image
    mine = Preprocessing.from_config({**vars(config)})
    assert mine is not None
    expected = image_transform_v2(config, is_train=False)(image).numpy()
    np.testing.assert_array_equal(mine(image), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(3, 1_000), (999, 4), (7, 1_500), (1, 400)])
def test_the_part_that_is_cut_out_is_what_scaling_all_would_show(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], interpolation: str, mode: str
) -> None:
    image = picture(*size, mode)
    resampling = RESAMPLING[interpolation]
    scale = 64 / min(size)
    whole = image.resize((int(size[0] * scale), int(size[1] * scale)), resampling)
    left, top = round((whole.width - 64) / 2), round((whole.height - 64) / 2)
    expected = whole.crop((left, top, left + 64, top + 64))
    monkeypatch.setattr(scaling, "MOST_PIXELS", 64 * 64)
    part = fitted_if_thin(image, (64, 64), resampling)
    assert (part.size, part.mode) == ((64, 64), mode)
    difference = np.asarray(part, dtype=int) - np.asarray(expected, dtype=int)
    if mode in ("P", "1"):  # the nearest pixel, which rounding may make the next one
        assert (difference != 0).mean() < 0.02
    else:
        assert np.abs(difference).max() <= (257 if mode == "I;16" else 2)


@pytest.mark.parametrize("resampling", [Image.Resampling.BICUBIC, Image.Resampling.BOX])
def test_the_order_of_the_sides_is_hardly_to_be_seen(
    monkeypatch: pytest.MonkeyPatch, resampling: Image.Resampling
) -> None:
    for size in ((5, 900), (900, 5)):
        image = picture(*size)
        expected = image.resize((64, 64), resampling)
        with monkeypatch.context() as patch:
            patch.setattr(scaling, "MOST_PIXELS", 1_000)
            given = resized(image, (64, 64), resampling)
        assert np.abs(np.asarray(given, dtype=int) - np.asarray(expected, dtype=int)).max() <= 2


# --- bounded ----------------------------------------------------------------------------------------------------------

_WITHIN = """
import resource, sys
from pathlib import Path
from zsindex.photos import scaling
from zsindex.models.preprocess import Preprocessing
from zsindex.lab.duplicates import appearance_of
from zsindex.photos.sandbox import Here
from zsindex.photos.scaling import Fitting
from zsindex.photos.thumbnails import render
from PIL import Image
import io

taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (300 << 20),) * 2)
for size in SIZES:
    for mode in MODES:
        image = Image.new(mode, size)
        for resize_mode in ("shortest", "squash"):
            for interpolation in ("bicubic", "bilinear"):
                prepare = Preprocessing(Fitting(384, 384, interpolation, resize_mode), (0.5,) * 3, (0.5,) * 3)
                assert prepare(image).shape == (3, 384, 384)
        appearance_of(image)
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "PNG")
    assert render(out.getvalue(), 1024, name="", decoder=Here(1 << 30))[:2] == b"\\xff\\xd8"
print("within")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory that holds")
def test_thin_pictures_of_every_mode_take_little_memory() -> None:
    program = _WITHIN.replace("SIZES", repr((*THIN, (1, 2_000_000)))).replace("MODES", repr(("RGB", "P", "LA")))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("within\n", "")


@pytest.mark.parametrize("size", THIN)
@pytest.mark.parametrize("mode", MODES)
def test_no_scaling_makes_more_than_its_share(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], mode: str
) -> None:
    """What is made on the way, counted in pixels, never exceeds the bound or what was given."""
    most = max(scaling.MOST_PIXELS, size[0] * size[1])
    made: list[int] = []
    real = Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *args: object, **options: object) -> Image.Image:
        # Pillow scales the width first, or whichever side is cheaper.
        made.append(max(size[0] * size[1], size[0] * self.height))
        return real(self, size, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", resize)
    image = Image.new(mode, size)
    for resize_mode in ("shortest", "squash"):
        prepare = Preprocessing(Fitting(224, 224, "bicubic", resize_mode), (0.5,) * 3, (0.5,) * 3)
        assert prepare(image if mode != "I;16" else image.convert("L")).shape == (3, 224, 224)
    appearance_of(image)
    assert made
    assert max(made) <= most


@pytest.mark.parametrize("size", [(1, 500_000), (500_000, 1), (1, 1), (2, 700), (640, 480)])
@pytest.mark.parametrize("height_and_width", [(64, 64), (64, 96), (96, 64)])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
def test_open_clips_own_transform_takes_what_is_made_of_thin_pictures(
    size: tuple[int, int], height_and_width: tuple[int, int], resize_mode: str
) -> None:
    transform = image_transform_v2(replace(CONFIG, size=height_and_width, resize_mode=resize_mode), is_train=False)
    image = fitted_if_thin(picture(*size), height_and_width, Image.Resampling.BICUBIC, resize_mode=resize_mode)
    assert transform(image).shape == (3, *height_and_width)
    if min(size) > 100:
        assert image.size == size


def test_a_photo_of_one_pixel_fills_the_input(tmp_path: Path) -> None:
    prepare = Preprocessing(Fitting(8, 8, "bicubic", "shortest"), (0.0,) * 3, (1.0,) * 3)
    pixels = prepare(Image.new("RGB", (1, 1), (255, 0, 51)))
    assert pixels.max(axis=(1, 2)).tolist() == pixels.min(axis=(1, 2)).tolist() == [1.0, 0.0, np.float32(0.2)]
