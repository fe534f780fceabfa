"""From a model's name to an encoder: exported towers where there are any, else the original, which is then exported."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from importlib import util
from pathlib import Path

from zsindex import bounds, config, towers
from zsindex.encode import Encoder
from zsindex.errors import ModelChanged, PackageMissing
from zsindex.records import ModelSpec
from zsindex.towers import TowerEncoder

logger = logging.getLogger(__name__)

# Torch stays in charge of the images of transformers, on a CPU; these are faster in larger batches than convolutions.
_TORCH_BATCH_SIZE = 32

# Less than this much faster, and bf16 is not worth its deviation. Of the embedded model's vectors on 400 photos the
# least cosine is 0.993 (benchmarks/precision.py); one below the bound means that a model does not bear bf16 at all.
_WORTHWHILE = 1.2
_LEAST_COSINE = 0.98


def load(spec: ModelSpec, *, device: str = "auto", batch_size: int | None = None) -> Encoder:
    """Load a model.

    Args:
        spec: as `zsindex.openclip.load` understands it; or a folder as transformers' `save_pretrained` writes it.
        device: ``auto`` or a torch device.
        batch_size: images that go through the model at once; None chooses by device.

    Raises:
        ValueError: the precision is unknown, or the batch size below 1.
        ModelError: see `zsindex.openclip.load` and `zsindex.transformers_encoder.load`.
    """
    if batch_size is not None:
        batch_size = bounds.whole("batch_size", batch_size, least=1)
    if _transformers_folder(spec) is not None:
        return _original(spec, device=device, batch_size=batch_size)
    folder = towers.folder_of(spec)
    if device not in ("auto", "cpu") or folder is None or spec.precision not in towers.PRECISIONS:
        return _original(spec, device=device, batch_size=batch_size)
    found = towers.find(spec) or _export(spec)
    if found is None:
        return _original(spec, device=device, batch_size=batch_size)
    if spec.precision == "bf16" and found.manifest.image and "bf16" not in found.manifest.speeds:
        found = _probe_bf16(found, spec)
    return _over(found, spec, device=device, batch_size=batch_size)


def fastest_precision(spec: ModelSpec) -> str:
    """The precision in which this machine encodes images fastest: ``fp32``, or ``bf16`` if its vectors are as good.

    Measured once for each model and machine. Where a GPU encodes, and where the model cannot be exported, it is fp32.

    Raises:
        ModelError: the model has to be loaded for it, and cannot be.
    """
    spec = replace(spec, precision="fp32")
    if towers.folder_of(spec) is None or _transformers_folder(spec) is not None:
        return "fp32"
    found = towers.find(spec) or _export(spec)
    if found is None or found.manifest.auto_device != "cpu" or not found.manifest.image:
        return "fp32"
    if "bf16" not in found.manifest.speeds:
        found = _probe_bf16(found, spec)
    best = {precision: max(speeds.values()) for precision, speeds in found.manifest.speeds.items()}
    worthwhile = best["bf16"] >= _WORTHWHILE * best["fp32"] and found.manifest.cosines["bf16"] >= _LEAST_COSINE
    return "bf16" if worthwhile else "fp32"


def _over(found: towers.Export, spec: ModelSpec, *, device: str, batch_size: int | None) -> TowerEncoder:
    def load_original() -> Encoder:
        on_cpu = "cpu" in (device, found.manifest.auto_device)
        encoder = _original(spec, device=device, batch_size=batch_size or (_TORCH_BATCH_SIZE if on_cpu else None))
        expected, got = found.manifest.info(spec).fingerprint, encoder.info.fingerprint
        if expected != got:
            raise ModelChanged(str(spec), expected=expected, got=got)
        return encoder

    return TowerEncoder(found, spec, device=device, batch_size=batch_size, load_original=load_original)


def _original(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
    _let_threads_sleep()
    if (folder := _transformers_folder(spec)) is not None:
        if util.find_spec("transformers") is None:
            raise PackageMissing(str(spec), "zsindex[transformers]")
        from zsindex import transformers_encoder

        return transformers_encoder.load(spec, folder, device=device, batch_size=batch_size)
    from zsindex import openclip

    return openclip.load(spec, device=device, batch_size=batch_size)


def _transformers_folder(spec: ModelSpec) -> Path | None:
    """The folder of a checkpoint of transformers; None where the name stands for anything else."""
    scheme, _, rest = spec.name.partition(":")
    folder = Path(rest if scheme == "local-dir" else spec.name).expanduser()
    written_by_transformers = (folder / "config.json").is_file() and not (folder / "open_clip_config.json").is_file()
    return folder if written_by_transformers and spec.name != config.DEFAULT_MODEL else None


def _export(spec: ModelSpec) -> towers.Export | None:
    """Load the original in fp32 on the CPU, and export it; of the embedded model put the export together."""
    folder = towers.folder_of(spec)
    if folder is None or not towers.versions():
        return None
    if spec.name == config.DEFAULT_MODEL and spec.pretrained is None:
        from zsindex import assembly

        made = assembly.assemble(folder)
        if made is not None:
            return made
    _let_threads_sleep()
    from zsindex import export, openclip

    encoder = openclip.load(replace(spec, precision="fp32"), device="cpu", batch_size=_TORCH_BATCH_SIZE)
    logger.info("preparing %s for quick starts, once on this machine; it takes about half a minute …", spec)
    return export.export(encoder, folder)


def _probe_bf16(found: towers.Export, spec: ModelSpec) -> towers.Export:
    _let_threads_sleep()
    from zsindex import export, openclip

    encoder = openclip.load(replace(spec, precision="bf16"), device="cpu", batch_size=_TORCH_BATCH_SIZE)
    return export.probe_bf16(found, encoder)


def _let_threads_sleep() -> None:
    """Have torch's threads sleep while they wait for each other: by default they spin, on cores that could decode.

    The setting is read when torch is first imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
