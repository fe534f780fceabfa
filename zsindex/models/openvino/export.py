"""Exports a model's towers for `zsindex.models.openvino.runtime`, and compares them with the originals before they are
used.

What cannot be exported, or does not give the same vectors, is left out, and the original does its work.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch
from PIL import Image

from zsindex.models.hub import one_line
from zsindex.models.openclip import OpenClipEncoder
from zsindex.models.openvino import runtime
from zsindex.models.openvino.runtime import Export, Tower, TowerManifest
from zsindex.models.preprocess import Preprocessing
from zsindex.models.tokenizer import MASKED, ClipTokenizer, FastTokenizer, Layout
from zsindex.models.torch_encoder import default_device, quiet
from zsindex.photos import samples
from zsindex.records import FloatArray, ModelSpec

if TYPE_CHECKING:
    from zsindex.models.transformers import TransformersEncoder

logger = logging.getLogger(__name__)

# Of a unit vector's components; a score of logit scale 100 moves by less than 1e-5 with less than a tenth of it.
MAX_DEVIATION = 5e-6
_PROBE_RUNS = 3
_SLOW_S = 2.0

_TEXTS = (
    "a dog",
    "",
    "This is a photo of a red fire engine in front of a small house.",
    "柴犬の写真",
    "CAFÉ &amp; naïve 🙂 don't, 3.14",
    "  two   spaces <start_of_text> and <end_of_text> ",
    "ﬁne “quotes” — İstanbul 'ſ",
    "one two three four five six seven eight nine ten " * 12,
)
# Checkpoints of transformers come with any tokenizer.
_MORE_TEXTS = (
    "Собака на улице, 3 кошки",
    "صورة كلب أحمر",
    "लाल कुत्ते की तस्वीर",
    "빨간 개의 사진 한 장",
    "ภาพถ่ายสุนัข",
    "Ε\u0301να σκυλι\u0301 ＦＵＬＬ ｗｉｄｔｈ ｶﾞ",
    "👩‍🚒👨‍👩‍👧 ☂️ \t tab\nline\u200b\u00a0space",
    "a <s> b </s> <pad> <unk> <mask> [CLS] [SEP] [PAD] <bos> <eos> <|startoftext|> <|endoftext|> ▁ ##s",
    "𝔘𝔫𝔦 ĉapelo ŝ \U00020000 ½ ² € №",
    "写真を一枚、" * 40,
    "naïve café " * 7,
)


class NotExportable(Exception):
    """A part of a model cannot be exported, or computes something else than the original. Never reaches users."""


def export(encoder: OpenClipEncoder, folder: Path) -> Export | None:
    """Export a model that was loaded in fp32 on the CPU.

    Args:
        folder: where; replaced as a whole.

    Returns:
        The export; None where nothing of the model can be exported, or the folder cannot be written.
    """
    if not encoder.files or not runtime.versions():
        return None
    return _made(encoder.info.spec, folder, lambda temporary: _write(encoder, temporary))


def export_transformers(encoder: TransformersEncoder, folder: Path) -> Export | None:
    """Export the text tower of a checkpoint of transformers that was loaded in fp32 on the CPU.

    Images stay with it. Its processors scale tensors rather than Pillow's pictures, which rounds otherwise: by one of
    256 in up to 18 % of values, and that moves scores. What scales them so is torch.

    Args:
        folder: where; replaced as a whole.

    Returns:
        The export, even one that holds only the reason why there is none, for finding that out takes long; None where
        the folder cannot be written.
    """
    return _made(encoder.info.spec, folder, lambda temporary: _write_transformers(encoder, temporary))


def _made(spec: ModelSpec, folder: Path, write: Callable[[Path], TowerManifest]) -> Export | None:
    try:
        return runtime.make(folder, write)
    except OSError as error:
        logger.warning("%s cannot be prepared for quick starts: %s", spec, error)
        return None


def _write(encoder: OpenClipEncoder, folder: Path) -> TowerManifest:
    manifest = replace(
        _manifest(encoder, runtime.versions(), preprocessing=asdict(encoder.preprocess_config)),
        cut_text=encoder.text_tower.can_be_cut,
        end_token=encoder.text_tower.end_token,
    )
    for part in (_export_text, _export_image):
        try:
            with quiet():
                manifest = part(encoder, manifest, folder)
        except Exception as error:  # noqa: BLE001 - torch's and OpenVINO's converters raise nearly anything
            logger.info("%s: %s: %s", encoder.info.spec, part.__name__, error)
    return manifest


def _write_transformers(encoder: TransformersEncoder, folder: Path) -> TowerManifest:
    manifest = replace(
        _manifest(encoder, runtime.versions(runtime.MADE_WITH_TRANSFORMERS), preprocessing={}),
        left_out={"image": "torch scales its pictures"},
    )
    try:
        with quiet():
            return _export_transformers_text(encoder, manifest, folder)
    except OSError:  # a full disk is no property of the checkpoint's
        raise
    except Exception as error:  # noqa: BLE001 - see `_write`
        return replace(manifest, left_out={"text": one_line(error), **manifest.left_out})


def _manifest(
    encoder: OpenClipEncoder | TransformersEncoder, versions: dict[str, str], *, preprocessing: dict[str, Any]
) -> TowerManifest:
    """What is known before anything is exported."""
    info = encoder.info
    return TowerManifest(
        format=runtime.FORMAT,
        versions=versions,
        sources=[runtime.identity_of(file) for file in encoder.files],
        auto_device=default_device(),
        identity=encoder.identity,
        dim=info.dim,
        logit_scale=info.logit_scale,
        logit_bias=info.logit_bias,
        context_length=info.context_length,
        image_size=info.image_size,
        weights_sha256=info.weights_sha256,
        preprocessing=preprocessing,
    )


# --- text -------------------------------------------------------------------------------------------------------------


class _TextGraph(torch.nn.Module):
    """The text tower from tokens to features, as one module to be traced."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.tower.encode(tokens)
        return features


def _export_text(encoder: OpenClipEncoder, manifest: TowerManifest, folder: Path) -> TowerManifest:
    tokenizer = _tokenizer(encoder)
    tokenizer.save(folder / runtime.TOKENIZER)
    tokens, _ = tokenizer(_TEXTS)
    shapes: dict[int, Any] = {0: torch.export.Dim("texts", min=1, max=1 << 20)}
    example = torch.from_numpy(tokens[:3])
    if manifest.cut_text:
        # One less than all: at the full length the cut is none, which torch takes for a case of its own. OpenVINO does
        # not hold it against a caller, and the comparison below has rows of full length.
        shapes[1] = torch.export.Dim("tokens", min=2, max=manifest.context_length - 1)
        example = example[:, : manifest.context_length // 2]
    _convert(_TextGraph(encoder.text_tower), example, shapes, folder / runtime.TEXT)
    tower = Tower(folder / runtime.TEXT, "f32")
    exported = np.concatenate(
        [runtime.encode_tokens(tower, tokens, manifest), runtime.encode_tokens(tower, tokens[:1], manifest)]
    )
    original = encoder.encode_texts([*_TEXTS, _TEXTS[0]], truncate=True)
    return _compared(manifest, "text", exported, original)


def _tokenizer(encoder: OpenClipEncoder) -> ClipTokenizer:
    original = encoder.tokenizer
    if type(original) is not open_clip.SimpleTokenizer or original.reduction_fn is not None:
        raise NotExportable(f"its tokenizer is a {type(original).__name__}")
    tokenizer = ClipTokenizer.build(
        original.encoder, list(original.bpe_ranks), context_length=encoder.info.context_length
    )
    if not np.array_equal(tokenizer(_TEXTS)[0], original(list(_TEXTS)).numpy()):
        raise NotExportable("its tokenizer gives other tokens")
    return tokenizer


class _MaskedTextGraph(torch.nn.Module):
    """A text tower of transformers, from rows of a `FastTokenizer` to features."""

    def __init__(self, model: Any, layout: Layout) -> None:
        super().__init__()
        self.model = model
        self.layout = layout

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": tokens}
        if self.layout.is_masked:
            is_there = tokens != MASKED
            ids = torch.where(is_there, tokens, self.layout.pad_token)
            inputs = {"input_ids": ids, "attention_mask": is_there.long()}
        features: torch.Tensor = self.model.get_text_features(**inputs).pooler_output
        return features


def _export_transformers_text(encoder: TransformersEncoder, manifest: TowerManifest, folder: Path) -> TowerManifest:
    tokenizer = _fast_tokenizer(encoder)
    tokenizer.save(folder / runtime.TOKENIZER)
    layout = tokenizer.layout
    manifest = replace(manifest, fast_tokenizer=asdict(layout), cut_text=not layout.is_whole)
    texts = [*_TEXTS, *_MORE_TEXTS]
    tokens, _ = tokenizer(texts)
    shapes: dict[int, Any] = {0: torch.export.Dim("texts", min=1, max=1 << 20)}
    example = torch.from_numpy(tokens[:3])
    if manifest.cut_text:
        shapes[1] = torch.export.Dim("tokens", min=2, max=manifest.context_length - 1)  # see `_export_text`
        example = example[:, : manifest.context_length // 2]
    _convert(_MaskedTextGraph(encoder.model, layout), example, shapes, folder / runtime.TEXT)
    tower = Tower(folder / runtime.TEXT, "f32")
    together = runtime.encode_tokens(tower, tokens, manifest)
    alone = [runtime.encode_tokens(tower, row[None], manifest) for row in tokens]
    original = encoder.encode_texts(texts, truncate=True)
    return _compared(manifest, "text", np.concatenate([together, *alone]), np.concatenate([original, original]))


def _fast_tokenizer(encoder: TransformersEncoder) -> FastTokenizer:
    original = encoder.tokenizer
    if not original.is_fast:
        raise NotExportable(f"its tokenizer is a {type(original).__name__}, of the slow kind")
    texts = [*_TEXTS, *_MORE_TEXTS]
    expected = encoder.tokens(texts)
    if others := expected.keys() - {"input_ids", "attention_mask", "token_type_ids"}:
        raise NotExportable(f"its tokenizer also gives {', '.join(sorted(others))}")
    if "token_type_ids" in expected and expected["token_type_ids"].any():
        raise NotExportable("its tokenizer gives token types")
    layout = Layout(
        pad_token=original.pad_token_id,
        unknown_token=original.unk_token_id,
        pad_side=original.padding_side,
        cut_side=original.truncation_side,
        is_masked="attention_mask" in expected,
        is_whole=encoder.pads_whole,
    )
    if not layout.is_whole and (layout.pad_side != "right" or not layout.is_masked):
        raise NotExportable("what it makes of a text depends on the texts beside it")
    tokenizer = FastTokenizer.parse(
        original.backend_tokenizer.to_str(), layout, context_length=encoder.info.context_length
    )
    ids = expected["input_ids"].numpy()
    if layout.is_masked:
        ids = np.where(expected["attention_mask"].numpy() == 0, MASKED, ids)
    tokens, counts = tokenizer(texts)
    width = ids.shape[1]
    if (
        not np.array_equal(tokens[:, :width], ids)
        or (layout.is_masked and not layout.is_whole and (tokens[:, width:] != MASKED).any())
        or counts.tolist() != [encoder.count_tokens(text) for text in texts]
    ):
        raise NotExportable("its tokenizer gives other tokens")
    return tokenizer


# --- images -----------------------------------------------------------------------------------------------------------


class _ImageGraph(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.encode_image(pixels, normalize=False)
        return features


def _export_image(encoder: OpenClipEncoder, manifest: TowerManifest, folder: Path) -> TowerManifest:
    preprocessing = Preprocessing.from_config(manifest.preprocessing)
    if preprocessing is None:
        raise NotExportable(f"its preprocessing is {manifest.preprocessing}")
    for image in _odd_images():
        if not np.array_equal(preprocessing(image), encoder.transformed(image)):
            raise NotExportable(f"its preprocessing gives other pixels for {image.mode} of {image.size}")
    pixels = _pixels(preprocessing)
    batch = np.stack(pixels)
    # A copy without channels last: the converter would take that layout for part of the model.
    model = copy.deepcopy(encoder.model).to(memory_format=torch.contiguous_format)
    shapes = {0: torch.export.Dim("images", min=1, max=1 << 20)}
    _convert(_ImageGraph(model), torch.from_numpy(batch[:2]), shapes, folder / runtime.IMAGE)
    del model
    tower = Tower(folder / runtime.IMAGE, "f32")
    original = encoder.encode_images(pixels)
    exported = np.concatenate([tower(batch), tower(batch[:1])])
    manifest = _compared(manifest, "image", exported, np.concatenate([original, original[:1]]))
    speeds = _speeds(tower, encoder, pixels)
    return replace(manifest, speeds={"fp32": speeds})


def probe_bf16(export: Export, encoder: OpenClipEncoder) -> Export:
    """Measure what bf16 does to the speed and the vectors of a model that was exported, and note it in the export.

    Args:
        encoder: the model, loaded in bf16 on the CPU.
    """
    manifest = export.manifest
    preprocessing = Preprocessing.from_config(manifest.preprocessing)
    assert manifest.image
    assert preprocessing is not None
    pixels = _pixels(preprocessing)
    batch = np.stack(pixels)
    exact_tower = Tower(export.folder / runtime.IMAGE, "f32")
    exact = exact_tower(batch)
    tower = Tower(export.folder / runtime.IMAGE, "bf16")
    found = {"openvino": tower(batch), "torch": encoder.encode_images(pixels)}
    speeds = _speeds(tower, encoder, pixels)
    # The embedded model's export came without any, because it was made on another machine.
    before = manifest.speeds.get("fp32") or {"openvino": _speed(lambda: exact_tower(batch), len(batch))}
    chosen = found[max(speeds, key=speeds.__getitem__)]
    manifest = replace(
        manifest,
        speeds={"fp32": before, "bf16": speeds},
        deviations={**manifest.deviations, "image bf16": float(np.abs(chosen - exact).max())},
        cosines={**manifest.cosines, "bf16": _least_cosine(chosen, exact)},
    )
    try:
        manifest.write(export.folder)
    except OSError as error:
        logger.info("the probe of %s could not be noted: %s", encoder.info.spec, error)
    return replace(export, manifest=manifest)


def _speeds(tower: Tower, encoder: OpenClipEncoder, pixels: list[FloatArray]) -> dict[str, float]:
    """Images per second by runtime, in the batches that are used."""
    batch = np.stack(pixels[: runtime.BATCH_SIZE])
    many = (pixels * encoder.batch_size)[: encoder.batch_size]
    return {
        "openvino": _speed(lambda: tower(batch), len(batch)),
        "torch": _speed(lambda: encoder.encode_images(many), len(many)),
    }


def _speed(run: Callable[[], object], count: int) -> float:
    """Images per second, the best of a few runs; fewer where one takes long."""
    best, started = float("inf"), time.perf_counter()
    for _ in range(_PROBE_RUNS):
        before = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - before)
        if time.perf_counter() - started > _SLOW_S:
            break
    return count / best


def _pixels(preprocessing: Preprocessing) -> list[FloatArray]:
    """A few real photos: of noise, on which no model was trained, vectors deviate more and mean less."""
    return [preprocessing(Image.open(file).convert("RGB")) for file in samples.photos()]


def _odd_images() -> list[Image.Image]:
    """Images of every mode, and of sizes that do not divide well."""
    noise = np.random.default_rng(1).integers(0, 256, (347, 523, 4), dtype=np.uint8)
    rgba = Image.fromarray(noise)
    modes = [rgba.convert(mode) for mode in ("RGB", "L", "LA", "P", "CMYK", "1")]
    sizes = [(333, 1001), (1000, 77), (41, 37), (256, 256), (224, 225)]
    return [rgba, *modes, *(modes[0].resize(size) for size in sizes)]


# --- both -------------------------------------------------------------------------------------------------------------


def _convert(module: torch.nn.Module, example: torch.Tensor, shapes: dict[int, Any], file: Path) -> None:
    """Trace a module and write it in OpenVINO's format.

    Through OpenVINO's front end rather than its `convert_model`, which reports its use to its makers over the network.
    """
    openvino = runtime.import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with torch.no_grad():
        program = torch.export.export(module.eval(), (example,), dynamic_shapes=(shapes,))
    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchFXPythonDecoder.from_exported_program(program)
    loaded = front_end.load(decoder)  # held by name: the conversion asks the decoder, which nothing else keeps alive
    openvino.save_model(front_end.convert(loaded), file, compress_to_fp16=False)


def _compared(manifest: TowerManifest, part: str, exported: FloatArray, original: FloatArray) -> TowerManifest:
    deviation = float(np.abs(exported - original).max())
    if not deviation <= MAX_DEVIATION:  # not: NaN compares false
        raise NotExportable(f"its {part} vectors differ by {deviation:.1e}")
    return replace(manifest, **{part: True}, deviations={**manifest.deviations, f"{part} fp32": deviation})  # type: ignore[arg-type]


def _least_cosine(vectors: FloatArray, exact: FloatArray) -> float:
    return float((vectors.astype(np.float64) * exact).sum(axis=1).min())
