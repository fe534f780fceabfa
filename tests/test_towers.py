"""Exported towers: the same vectors as the original's, without torch, and only for as long as they are the model's."""

from __future__ import annotations

import json
import logging
import os
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from tests import tiny_models
from zsindex.config import CACHE_VARIABLE
from zsindex.errors import DeviceError, ModelChanged, PromptTooLong, UnknownModel
from zsindex.library import Library
from zsindex.models import loading, openclip
from zsindex.models.encoder import Encoder
from zsindex.models.openvino import assembly, checksums, export, runtime
from zsindex.models.openvino.runtime import IMAGE, TEXT, TowerEncoder, TowerManifest
from zsindex.models.preprocess import Preprocessing
from zsindex.models.tokenizer import ClipTokenizer
from zsindex.photos import samples
from zsindex.records import FloatArray, ModelSpec

NANO = ModelSpec("nano")
TEXTS = [
    "a dog",
    "",
    "a photo of a red fire engine in front of a small house",
    "柴犬の写真",
    "CAFÉ &amp; naïve 🙂",
    "many words " * 40,
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> ModelSpec:
    """A model that has been exported."""
    spec = ModelSpec(f"local-dir:{folder}")
    loaded = loading.load(spec, device="cpu")
    assert isinstance(loaded, TowerEncoder)
    assert runtime.find(spec) is not None
    return spec


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def pixels_of(encoder: Encoder) -> list[FloatArray]:
    return [encoder.preprocess(Image.open(file).convert("RGB")) for file in samples.photos()]


def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the original fails from here on."""

    def refuse(*_: object, **__: object) -> Encoder:
        raise AssertionError("the original was loaded")

    monkeypatch.setattr(openclip, "load", refuse)


# --- the same answers -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nano_original() -> openclip.OpenClipEncoder:
    return openclip.load(NANO, device="cpu")


def test_nano_without_torch_is_nano(
    nano_original: openclip.OpenClipEncoder, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_torch(monkeypatch)
    encoder = loading.load(NANO, device="cpu")
    assert encoder.info == nano_original.info
    pixels = pixels_of(encoder)
    for ours, theirs in zip(pixels, pixels_of(nano_original), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(
        encoder.encode_images(pixels), nano_original.encode_images(pixels), rtol=0, atol=export.MAX_DEVIATION
    )
    np.testing.assert_allclose(
        encoder.encode_texts(TEXTS, truncate=True),
        nano_original.encode_texts(TEXTS, truncate=True),
        rtol=0,
        atol=export.MAX_DEVIATION,
    )
    assert [encoder.count_tokens(text) for text in TEXTS] == [nano_original.count_tokens(text) for text in TEXTS]
    assert any(own_cache.iterdir())


def test_nanos_layout_belongs_to_its_weights(nano_original: openclip.OpenClipEncoder) -> None:
    manifest = json.loads((assembly.FOLDER / assembly.LAYOUT).read_text(encoding="utf-8"))["manifest"]
    assert manifest["identity"] == json.loads(json.dumps(nano_original.identity)), "run: python -m training.nano.towers"


def test_other_weights_are_not_put_into_nanos_graphs(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "open_clip_model.safetensors"
    other.write_bytes(b"something else")
    monkeypatch.setattr(assembly.nano, "WEIGHTS", other)
    assert assembly.assemble(own_cache / "models" / "nano") is None
    assert not own_cache.exists()


def test_nothing_imports_torch_in_a_new_process(own_cache: Path) -> None:
    program = """
import sys, zsindex, PIL.Image
from pathlib import Path
folder, *photos = sys.argv[1:]
with zsindex.Library.open(folder, model="nano") as library:
    assert library.sync(photos).encoded == len(photos)
    assert library.classify(["cat", "rocket"])[0].label
    assert len(library.search("a rocket")) == len(photos)
print([name for name in ("torch", "open_clip", "torchvision", "timm", "transformers") if name in sys.modules])
"""
    photos = [str(file) for file in samples.photos()]
    command = [sys.executable, "-c", program, str(own_cache.parent / "library"), *photos]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=dict(os.environ))
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("config", "is_cut"),
    [
        (tiny_models.CLIP, True),
        (tiny_models.EOS_POOLED, True),
        (tiny_models.BIDIRECTIONAL, False),
        (tiny_models.CAUSAL_LAST, False),
    ],
    ids=["clip", "eos-pooled", "bidirectional", "causal-last"],
)
def test_any_text_tower_gives_the_same_vectors(
    config: dict[str, Any], is_cut: bool, tmp_path: Path, own_cache: Path
) -> None:
    spec = ModelSpec(f"local-dir:{tiny_models.save(tmp_path / 'model', config)}")
    original, exported = openclip.load(spec, device="cpu"), loading.load(spec, device="cpu")
    found = runtime.find(spec)
    assert found is not None
    assert (found.manifest.text, found.manifest.image, found.manifest.cut_text) == (True, True, is_cut)
    assert exported.info == original.info
    # Many rows of many lengths, in one call and one by one.
    texts = [*TEXTS, *(" ".join(["word"] * n) for n in range(30))]
    expected = original.encode_texts(texts, truncate=True)
    np.testing.assert_allclose(exported.encode_texts(texts, truncate=True), expected, rtol=0, atol=1e-5)
    alone = np.concatenate([exported.encode_texts([text], truncate=True) for text in texts])
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)
    pixels = pixels_of(original)
    np.testing.assert_allclose(exported.encode_images(pixels), original.encode_images(pixels), rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_done_by_the_original(tmp_path: Path, own_cache: Path) -> None:
    """Images that are padded to a square are not preprocessed here, so the image tower stays with torch."""
    preprocess = {**tiny_models.PREPROCESS, "resize_mode": "longest"}
    spec = ModelSpec(f"local-dir:{tiny_models.save(tmp_path / 'model', preprocess_cfg=preprocess)}")
    original, exported = openclip.load(spec, device="cpu"), loading.load(spec, device="cpu")
    assert isinstance(exported, TowerEncoder)
    assert exported.runtime == "torch"
    photo = Image.open(samples.photos()[0])
    np.testing.assert_array_equal(exported.preprocess(photo), original.preprocess(photo))
    np.testing.assert_array_equal(
        exported.encode_images([exported.preprocess(photo)]), original.encode_images([original.preprocess(photo)])
    )
    np.testing.assert_allclose(
        exported.encode_texts(["a dog"]), original.encode_texts(["a dog"]), rtol=0, atol=export.MAX_DEVIATION
    )


def test_a_prompt_that_does_not_fit_is_refused_in_the_same_words(
    tiny: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PromptTooLong) as theirs:
        openclip.load(tiny, device="cpu").encode_texts(["short", "long " * 50])
    no_torch(monkeypatch)
    with pytest.raises(PromptTooLong) as ours:
        loading.load(tiny).encode_texts(["short", "long " * 50])
    assert str(ours.value) == str(theirs.value)


def test_no_texts_and_no_images(tiny: ModelSpec) -> None:
    encoder = loading.load(tiny, device="cpu")
    assert encoder.encode_texts([]).shape == (0, 32)
    assert encoder.encode_images([]).shape == (0, 32)


# --- tokens and pixels ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ClipTokenizer]:
    original = open_clip.SimpleTokenizer(context_length=24)
    made = ClipTokenizer.build(original.encoder, list(original.bpe_ranks), context_length=24)
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(file)
    return original, ClipTokenizer.open(file, context_length=24)


@settings(deadline=None, max_examples=300)
@given(
    text=st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.text(string.printable, max_size=60),
        st.lists(
            st.sampled_from(["<start_of_text>", "<END_OF_TEXT>", "don't", "'ſ", "&amp;lt;", "ﬁ", "İ", "é", "1/2", " "])
        ).map("".join),
    )
)
def test_tokens_are_open_clips(tokenizers: tuple[Any, ClipTokenizer], text: str) -> None:
    original, ours = tokenizers
    assert ours.ids(text) == original.encode(text)
    np.testing.assert_array_equal(ours([text])[0], original([text]).numpy())
    assert ours.count(text) == len(original.encode(text)) + 2


@settings(deadline=None, max_examples=60)
@given(
    mode=st.sampled_from(["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I", "F"]),
    size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    resize_mode=st.sampled_from(["shortest", "squash"]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)
def test_pixels_are_open_clips(mode: str, size: tuple[int, int], resize_mode: str, interpolation: str) -> None:
    config = PreprocessCfg(
        size=(48, 48),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        interpolation=interpolation,
        resize_mode=resize_mode,
    )
    ours = Preprocessing.from_config(vars(config))
    assert ours is not None
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    np.testing.assert_array_equal(ours(image), image_transform_v2(config, is_train=False)(image).numpy())


@pytest.mark.parametrize(
    "change", [{"resize_mode": "longest"}, {"size": (48, 64)}, {"mode": "L"}, {"interpolation": "random"}]
)
def test_other_preprocessing_is_left_to_open_clip(change: dict[str, Any]) -> None:
    assert Preprocessing.from_config({**vars(PreprocessCfg()), **change}) is None


# --- only for as long as it is the model's ----------------------------------------------------------------------------


@pytest.fixture
def exported(tiny: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A model of the test's own with its export, both copied: tracing takes seconds."""
    found = runtime.find(tiny)
    assert found is not None
    model = shutil.copytree(tiny.name.removeprefix("local-dir:"), tmp_path / "model")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    spec = ModelSpec(f"local-dir:{model}")
    folder = runtime.folder_of(spec)
    assert folder is not None
    shutil.copytree(found.folder, folder)
    sources = [runtime.identity_of(str(file)) for file in sorted(model.iterdir())]
    replace(found.manifest, sources=sources).write(folder)
    assert runtime.find(spec) is not None
    return spec


def test_changed_weights_are_exported_again(exported: ModelSpec, tmp_path: Path) -> None:
    before = loading.load(exported).encode_texts(["a dog"])
    tiny_models.save(tmp_path / "model", seed=1)
    assert runtime.find(exported) is None
    changed = loading.load(exported)
    assert isinstance(changed, TowerEncoder)
    assert runtime.find(exported) is not None
    assert np.abs(changed.encode_texts(["a dog"]) - before).max() > 0.01
    assert changed.info == openclip.load(exported, device="cpu").info


def test_a_library_notices_changed_weights(
    exported: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(tmp_path / "library", model=exported.name) as library:
        library.embed_texts(["a dog"])
    tiny_models.save(tmp_path / "model", seed=1)
    monkeypatch.setenv(CACHE_VARIABLE, "off")
    with Library.open(tmp_path / "library") as library, pytest.raises(ModelChanged):
        library.embed_texts(["a cat"])


@pytest.mark.parametrize("damage", ["no-manifest", "first-format", "other-format", "other-package", "field"])
def test_an_outdated_export_does_not_exist(exported: ModelSpec, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    found = runtime.find(exported)
    assert found is not None
    manifest = found.folder / runtime.MANIFEST
    fields = checksums.unsealed(manifest.read_bytes())
    match damage:
        case "no-manifest":
            manifest.unlink()
        case "first-format":  # which had no seal
            manifest.write_text(json.dumps({**fields, "format": 1}), encoding="utf-8")
        case "other-format":
            manifest.write_bytes(checksums.sealed({**fields, "format": runtime.FORMAT + 1}))
        case "other-package":
            manifest.write_bytes(checksums.sealed({**fields, "versions": {**fields["versions"], "timm": "0.0.1"}}))
        case "field":
            manifest.write_bytes(checksums.sealed({**fields, "surprise": 1}))
    assert runtime.find(exported) is None
    assert caplog.text == ""


def flipped(content: bytes) -> bytes:
    """A digit that is another one, or in the middle a bit: both are of the same kind as what was there."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit": flipped,
    "the last bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "zeros": lambda content: bytes(len(content)),
    "a page of zeros": lambda content: content[:100] + bytes(min(4096, len(content) - 100)) + content[4196:],
    "cut": lambda content: content[:-1],
    "cut to nothing": lambda content: b"",
    "longer": lambda content: content + b"\n",
}
EXPORT = [runtime.MANIFEST, runtime.TOKENIZER, TEXT, "text.bin", IMAGE, "image.bin"]


@pytest.mark.parametrize("name", EXPORT)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_export_does_not_exist(
    exported: ModelSpec, name: str, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    found = runtime.find(exported)
    assert found is not None
    file = found.folder / name
    file.write_bytes(damage(file.read_bytes()))
    if name == runtime.MANIFEST and runtime.find(exported) is not None:
        # Space between what it says.
        assert runtime.TowerManifest.read(found.folder) == found.manifest
        return
    assert runtime.find(exported) is None
    assert f"in {found.folder} is damaged ({name}), and is not used; it is made again" in caplog.text


@pytest.mark.parametrize("name", EXPORT[1:])
def test_a_file_of_an_export_that_is_gone_is_damage(exported: ModelSpec, name: str) -> None:
    found = runtime.find(exported)
    assert found is not None
    (found.folder / name).unlink()
    assert runtime.find(exported) is None


def test_a_damaged_export_is_made_again(exported: ModelSpec) -> None:
    before = loading.load(exported, device="cpu").encode_texts(TEXTS[:2])
    found = runtime.find(exported)
    assert found is not None
    weights = found.folder / "text.bin"
    weights.write_bytes(flipped(weights.read_bytes()))
    again = loading.load(exported, device="cpu")
    assert isinstance(again, TowerEncoder)
    np.testing.assert_array_equal(again.encode_texts(TEXTS[:2]), before)
    assert runtime.find(exported) is not None


def test_nanos_damaged_export_is_put_together_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_torch(monkeypatch)
    before = loading.load(NANO, device="cpu").encode_texts(TEXTS[:2])
    found = runtime.find(NANO)
    assert found is not None
    for name in EXPORT:
        file = found.folder / name
        file.write_bytes(bytes(file.stat().st_size))
        np.testing.assert_array_equal(loading.load(NANO, device="cpu").encode_texts(TEXTS[:2]), before)


@pytest.mark.parametrize("name", [runtime.TOKENIZER, TEXT, IMAGE, assembly.LAYOUT])
def test_nanos_damaged_graphs_are_not_used(
    own_cache: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = shutil.copytree(assembly.FOLDER, tmp_path / "towers")
    (graphs / name).write_bytes(flipped((graphs / name).read_bytes()))
    monkeypatch.setattr(assembly, "FOLDER", graphs)
    assert assembly.assemble(own_cache / "models" / "nano") is None
    assert "Install zsindex anew" in caplog.text
    assert not list((own_cache / "models").glob("*"))


def test_files_are_read_through_once(exported: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    found = runtime.find(exported)
    assert found is not None
    for file in found.folder.iterdir():
        if file.is_file():
            stat = file.stat()
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns - 3600 * 10**9))
    read: list[str] = []
    sha256_of = checksums.sha256_of
    monkeypatch.setattr(checksums, "sha256_of", lambda file: read.append(file.name) or sha256_of(file))
    for _ in range(3):
        assert runtime.find(exported) is not None
    assert sorted(read) == sorted(EXPORT[1:])
    # Who touches one has it read again; what was remembered may be damaged itself.
    os.utime(found.folder / TEXT)
    assert runtime.find(exported) is not None
    assert read[len(EXPORT) - 1 :] == [TEXT]
    (found.folder / checksums.VERIFIED).write_bytes(b"\0")
    assert runtime.find(exported) is not None


@pytest.mark.parametrize("name", EXPORT[1:])
def test_damage_under_a_running_encoder_is_noticed_before_its_files_are_used(
    exported: ModelSpec, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, original = loading.load(exported, device="cpu"), openclip.load(exported, device="cpu")
    assert isinstance(encoder, TowerEncoder)
    encoder.runtime = "openvino"
    found = runtime.find(exported)
    assert found is not None
    (found.folder / name).write_bytes(bytes((found.folder / name).stat().st_size))
    pixels = pixels_of(original)
    np.testing.assert_allclose(encoder.encode_images(pixels), original.encode_images(pixels), rtol=0, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS[:2]), original.encode_texts(TEXTS[:2]), rtol=0, atol=1e-5)
    assert encoder.count_tokens("a dog") == original.count_tokens("a dog")
    assert f"runs without its export: {name} is damaged" in caplog.text


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_all_is_on_the_disk_before_an_export_has_its_name(
    exported: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = runtime.find(exported)
    assert found is not None
    made = tmp_path / "made"
    made.mkdir()
    for name in EXPORT[1:]:
        shutil.copy(found.folder / name, made)
    steps: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        steps.append(f"{self.name} becomes {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    runtime.finish(found.manifest, made, tmp_path / "export")
    at = steps.index("made becomes export")
    assert {*EXPORT, "made"} <= set(steps[:at])
    assert steps[at + 1 :] == [tmp_path.name]


def test_what_a_kill_has_left_of_exports_is_removed_by_the_next_one(tmp_path: Path) -> None:
    export = tmp_path / "0123456789abcdef"
    long_ago = time.time() - 2 * 3600
    kept = []
    of_another_model = "fedcba9876543210"
    for name, is_old in [
        (f"{export.name}-abcdefgh", True),
        (f"{export.name}-ijklmnop.old", True),
        (f"{export.name}-qrstuvwx", False),
        (f"{of_another_model}-abcdefgh", True),
    ]:
        left = tmp_path / name
        left.mkdir()
        (left / TEXT).write_bytes(b"x")
        if is_old:
            for place in (left / TEXT, left):
                os.utime(place, (long_ago, long_ago))
        else:
            kept.append(left.name)  # another process may be writing it
    other = tmp_path / "notes"
    other.mkdir()
    os.utime(other, (long_ago, long_ago))

    def write_nothing(folder: Path) -> TowerManifest:
        return TowerManifest(runtime.FORMAT, {}, [], "cpu", {}, 8, 1.0, None, 16, (8, 8), "0" * 64, {})

    assert runtime.make(export, write_nothing) is None
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, other.name])


@pytest.mark.parametrize("name", [TEXT, IMAGE])
def test_a_tower_that_does_not_run_is_replaced_by_the_original(
    exported: ModelSpec, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = runtime.find(exported)
    assert found is not None
    graph = found.folder / name
    graph.write_bytes(b"x" * graph.stat().st_size)
    sums = {**found.manifest.sha256, name: checksums.sha256_of(graph)}
    replace(found.manifest, sha256=sums).write(found.folder)  # as if another version of OpenVINO had written it
    encoder, original = loading.load(exported, device="cpu"), openclip.load(exported, device="cpu")
    assert isinstance(encoder, TowerEncoder)
    encoder.runtime = "openvino"
    with caplog.at_level(logging.WARNING):
        pixels = pixels_of(original)
        np.testing.assert_allclose(encoder.encode_images(pixels), original.encode_images(pixels), rtol=0, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS[:2]), original.encode_texts(TEXTS[:2]), rtol=0, atol=1e-5)
    assert "runs without its export" in caplog.text


@pytest.mark.parametrize("state", ["kept", "cut", "flipped", "blocked"])
def test_what_openvino_keeps_of_a_graph_changes_no_vector(exported: ModelSpec, state: str) -> None:
    found = runtime.find(exported)
    assert found is not None
    kept = found.folder / runtime.COMPILED
    shutil.rmtree(kept, ignore_errors=True)
    if state == "blocked":
        kept.write_text("a file, not a folder", encoding="utf-8")
    vectors = []
    for _ in range(2):
        encoder = TowerEncoder(
            found, exported, device="cpu", batch_size=None, load_original=lambda: pytest.fail("asked")
        )
        encoder.runtime = "openvino"
        vectors.append((encoder.encode_images(pixels_of(encoder)), encoder.encode_texts(TEXTS[:2])))
        if state != "blocked":
            graphs = list(kept.iterdir())
            assert len(graphs) == 2  # or nothing would be kept
        for graph in kept.iterdir() if state in ("cut", "flipped") else ():
            content = graph.read_bytes()
            graph.write_bytes(content[: len(content) // 2] if state == "cut" else flipped(content))
    for first, second in zip(*vectors, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_original_must_be_the_one_that_was_exported(
    exported: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that were replaced without a trace in size and time stamp."""
    encoder = loading.load(exported, device="cpu")
    assert isinstance(encoder, TowerEncoder)
    encoder.runtime = "torch"
    weights = tmp_path / "model" / "open_clip_model.safetensors"
    status = weights.stat()
    tiny_models.save(tmp_path / "model", seed=1)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ModelChanged):
        encoder.encode_images([np.zeros((3, 32, 32), dtype=np.float32)])


# --- where there is none ----------------------------------------------------------------------------------------------


def test_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "off")
    assert isinstance(loading.load(ModelSpec(f"local-dir:{folder}"), device="cpu"), openclip.OpenClipEncoder)
    assert isinstance(loading.load(NANO, device="cpu"), openclip.OpenClipEncoder)
    assert loading.fastest_precision(NANO) == "fp32"


OPENVINO = """
import sys
import time
from zsindex.models.openvino import runtime
found = runtime.import_openvino()
assert found is sys.modules["openvino"] is runtime.import_openvino()
assert "openvino_telemetry" not in sys.modules
assert sys.modules["openvino.tools.ovc"].convert_model is found.convert_model
assert found.convert_model.__module__ == "openvino.tools.ovc.convert"
try:
    found.convert_model("no such file.onnx")
except Exception as error:
    assert "no such file.onnx" in str(error), error
else:
    raise AssertionError
import openvino_telemetry
"""
SEVERAL_MODELS = """
import faulthandler, gc, signal
from PIL import Image
from zsindex.models import loading
from zsindex.records import ModelSpec
faulthandler.enable()  # as pytest, notebooks and whoever wants to know of crashes do
models = [loading.load(ModelSpec("nano"), device="cpu") for _ in range(3)]
for n in range(3):
    models[n].encode_texts(["a photo"])
    models[n].encode_images([models[n].preprocess(Image.new("RGB", (300, 300)))])
for _ in range(3):
    models.pop(0)  # in the order in which they came
    gc.collect()
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        continue
    raise AssertionError
"""
IMPORTED_BEFORE = """
import sys
import time
import {package}
before = sys.modules["openvino_telemetry"]
from zsindex.models.openvino import runtime
assert runtime.import_openvino() is sys.modules["openvino"]
assert sys.modules["openvino_telemetry"] is before
"""


def test_openvino_is_whole_and_reports_to_nobody() -> None:
    subprocess.run([sys.executable, "-c", OPENVINO], check=True)


def test_ctrl_c_is_one_also_after_several_models() -> None:
    subprocess.run([sys.executable, "-c", SEVERAL_MODELS], check=True)


@pytest.mark.parametrize("package", ["openvino", "openvino_telemetry"])
def test_what_a_program_imported_before_stays(package: str) -> None:
    environment = {**os.environ, "CI": "true"}  # in which OpenVINO's own package reports nothing
    subprocess.run([sys.executable, "-c", IMPORTED_BEFORE.format(package=package)], check=True, env=environment)


def test_without_openvino(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "versions", lambda *_: {})
    assert isinstance(loading.load(ModelSpec(f"local-dir:{folder}"), device="cpu"), openclip.OpenClipEncoder)
    assert isinstance(loading.load(NANO, device="cpu"), openclip.OpenClipEncoder)


def test_a_cache_that_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file, not a folder", encoding="utf-8")
    monkeypatch.setenv(CACHE_VARIABLE, str(blocked))
    for spec in (ModelSpec(f"local-dir:{folder}"), NANO):
        caplog.clear()
        assert isinstance(loading.load(spec, device="cpu"), openclip.OpenClipEncoder)
        assert caplog.text.count("cannot be prepared for quick starts") == 1


def test_names_and_devices_are_checked_as_ever(tiny: ModelSpec) -> None:
    with pytest.raises(UnknownModel):
        loading.load(ModelSpec("nanno"))
    with pytest.raises(DeviceError):
        loading.load(tiny, device="cuda:7")
    with pytest.raises(ValueError, match="precision"):
        loading.load(replace(tiny, precision="int3"))
    with pytest.raises(ValueError, match="batch_size"):
        loading.load(tiny, batch_size=0)


# --- precision --------------------------------------------------------------------------------------------------------


def test_bf16_is_near_and_has_its_own_fingerprint(tiny: ModelSpec) -> None:
    exact, near = loading.load(tiny), loading.load(replace(tiny, precision="bf16"))
    assert near.info == openclip.load(replace(tiny, precision="bf16"), device="cpu").info
    assert near.info.fingerprint != exact.info.fingerprint
    found = runtime.find(tiny)
    assert found is not None
    assert set(found.manifest.speeds) == {"fp32", "bf16"}
    assert all(set(speeds) == {"openvino", "torch"} for speeds in found.manifest.speeds.values())
    pixels = pixels_of(exact)
    cosines = (exact.encode_images(pixels) * near.encode_images(pixels)).sum(axis=1)
    assert cosines.min() > 0.99
    # Texts lose nothing.
    np.testing.assert_allclose(near.encode_texts(TEXTS[:4]), exact.encode_texts(TEXTS[:4]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fp32", "bf16", "cosine", "expected"),
    [
        ({"torch": 10.0, "openvino": 20.0}, {"torch": 5.0, "openvino": 60.0}, 0.9995, "bf16"),
        ({"torch": 10.0, "openvino": 20.0}, {"torch": 21.0, "openvino": 1.0}, 0.9995, "fp32"),
        ({"torch": 10.0, "openvino": 20.0}, {"torch": 5.0, "openvino": 60.0}, 0.97, "fp32"),
    ],
    ids=["faster", "hardly-faster", "inexact"],
)
def test_the_fastest_precision_is_remembered(
    exported: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    fp32: dict[str, float],
    bf16: dict[str, float],
    cosine: float,
    expected: str,
) -> None:
    found = runtime.find(exported)
    assert found is not None
    replace(found.manifest, speeds={"fp32": fp32, "bf16": bf16}, cosines={"bf16": cosine}).write(found.folder)
    no_torch(monkeypatch)
    assert loading.fastest_precision(exported, device="cpu") == expected


def test_the_embedded_model_is_probed_on_this_machine(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = loading.fastest_precision(NANO, device="cpu")
    found = runtime.find(NANO)
    assert found is not None
    assert set(found.manifest.speeds) == {"fp32", "bf16"}
    assert 0.9 < found.manifest.cosines["bf16"] <= 1
    no_torch(monkeypatch)
    assert loading.fastest_precision(NANO, device="cpu") == chosen


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({"torch": 2.0, "openvino": 1.0}, "torch"),
        ({"torch": 1.0, "openvino": 2.0}, "openvino"),
        ({"torch": 1.05, "openvino": 1.0}, "openvino"),  # not by enough to import it
        ({}, "openvino"),
    ],
)
def test_torch_encodes_where_it_is_faster_by_enough(
    exported: ModelSpec, speeds: dict[str, float], expected: str
) -> None:
    found = runtime.find(exported)
    assert found is not None
    replace(found.manifest, speeds={"fp32": speeds}).write(found.folder)
    encoder = loading.load(exported, device="cpu")
    assert isinstance(encoder, TowerEncoder)
    assert encoder.runtime == expected


def test_auto_takes_what_the_library_has(tmp_path: Path, tiny: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ModelSpec] = []

    def measure(spec: ModelSpec, *, device: str) -> str:
        asked.append(spec)
        return "bf16"

    monkeypatch.setattr("zsindex.session.model.fastest_precision", measure)
    name = tiny.name
    with Library.open(tmp_path / "library", model=name, precision="auto") as library:
        assert library.spec.precision == "bf16"
        library.embed_texts(["a dog"])
    assert [spec.name for spec in asked] == [name]
    with Library.open(tmp_path / "library", precision="auto") as library:
        assert library.spec.precision == "bf16"
    with Library.open(tmp_path / "other", model=name) as library:
        assert library.spec.precision == "fp32"
        library.embed_texts(["a dog"])
    with Library.open(tmp_path / "other", precision="auto") as library:
        assert library.spec.precision == "fp32"
    assert len(asked) == 1
