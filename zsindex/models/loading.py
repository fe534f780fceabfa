"""From a model's name to an encoder: exported towers where there are any, else the original, which is then exported."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from zsindex import config
from zsindex.arguments import bounds
from zsindex.errors import ModelChanged, ModelUnavailable, PackageMissing, UnknownModel
from zsindex.models import names
from zsindex.models.encoder import Encoder
from zsindex.models.openvino import runtime
from zsindex.models.openvino.runtime import TowerEncoder
from zsindex.records import ModelSpec

logger = logging.getLogger(__name__)

# Torch stays in charge of the images of transformers, on a CPU; these are faster in larger batches than convolutions.
_TORCH_BATCH_SIZE = 32

# Less than this much faster, and bf16 is not worth its deviation. Of the embedded model's vectors on 400 photos the
# least cosine is 0.993 (benchmarks/precision.py); one below the bound means that a model does not bear bf16 at all.
_WORTHWHILE = 1.2
_LEAST_COSINE = 0.98

# How much alike the first half of a name and an architecture are where a repository was hardly meant: ViT-B-23/openai.
_LIKE_AN_ARCHITECTURE = 0.8


def load(spec: ModelSpec, *, device: str = "auto", batch_size: int | None = None) -> Encoder:
    """Load a model.

    Args:
        spec: as `zsindex.models.openclip.load` understands it; or a folder as transformers' `save_pretrained` writes
            it.
        device: ``auto`` or a torch device.
        batch_size: images that go through the model at once; None chooses by device.

    Raises:
        ValueError: the precision is unknown, or the batch size below 1.
        ModelError: see `zsindex.models.openclip.load` and `zsindex.models.transformers.load`.
    """
    if batch_size is not None:
        batch_size = bounds.whole("batch_size", batch_size, least=1)
    spec = _in_one_spelling(spec)
    folder = runtime.folder_of(spec)
    if device not in ("auto", "cpu") or folder is None or spec.precision not in runtime.PRECISIONS:
        return _original(spec, device=device, batch_size=batch_size)
    found = runtime.find(spec) or _export(spec)
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
    spec = _in_one_spelling(replace(spec, precision="fp32"))
    if runtime.folder_of(spec) is None:
        return "fp32"
    found = runtime.find(spec) or _export(spec)
    if found is None or found.manifest.auto_device != "cpu" or not found.manifest.image:
        return "fp32"
    if "bf16" not in found.manifest.speeds:
        found = _probe_bf16(found, spec)
    best = {precision: max(speeds.values()) for precision, speeds in found.manifest.speeds.items()}
    worthwhile = best["bf16"] >= _WORTHWHILE * best["fp32"] and found.manifest.cosines["bf16"] >= _LEAST_COSINE
    return "bf16" if worthwhile else "fp32"


def _over(found: runtime.Export, spec: ModelSpec, *, device: str, batch_size: int | None) -> TowerEncoder:
    if left_out := found.manifest.left_out:
        why = "; ".join(f"its {part} tower, for {reason}" for part, reason in left_out.items())
        logger.info("%s needs torch for %s", spec, why)

    def load_original() -> Encoder:
        on_cpu = "cpu" in (device, found.manifest.auto_device)
        encoder = _original(spec, device=device, batch_size=batch_size or (_TORCH_BATCH_SIZE if on_cpu else None))
        expected, got = found.manifest.info(spec).fingerprint, encoder.info.fingerprint
        if expected != got:
            raise ModelChanged(str(spec), expected=expected, got=got)
        return encoder

    return TowerEncoder(found, spec, device=device, batch_size=batch_size, load_original=load_original)


def _original(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
    if (folder := _transformers_folder(spec)) is not None:
        if not names.has_transformers():
            raise PackageMissing(str(spec), "zsindex[transformers]")
        with importing_torch():
            from zsindex.models import transformers

        return transformers.load(spec, folder, device=device, batch_size=batch_size)
    with importing_torch():
        from zsindex.models import openclip

    return openclip.load(spec, device=device, batch_size=batch_size)


def describe(name: str) -> dict[str, Any]:
    """Tell what a model is without loading or downloading its weights.

    Args:
        name: as for `load`, or an architecture of open_clip alone.

    Returns:
        Plain data: see `zsindex.models.openclip.describe`; ``transformers`` is the name of the same weights in its
            format. Of a checkpoint of transformers, see `zsindex.models.checkpoints.describe`.

    Raises:
        UnknownModel: no such name, or one in a hub, whose configuration would have to be downloaded first.
        CheckpointError: a folder whose configuration describes no model.
    """
    spelling = names.in_one_spelling(name)
    if (folder := _transformers_folder(ModelSpec(spelling), fetch=False)) is not None:
        from zsindex.models import checkpoints

        return checkpoints.describe(name, folder)
    with importing_torch():
        from zsindex.models import openclip

    twin = names.TWINS.get(spelling)
    found = openclip.describe(twin or spelling)
    ids = [repository for repository, pair in names.TWINS.items() if pair in (twin, name)]
    return {**found, "transformers": ids} if ids else found


def _in_one_spelling(spec: ModelSpec) -> ModelSpec:
    if spec.pretrained is not None or os.path.isdir(os.path.expanduser(spec.name)):
        return spec
    return replace(spec, name=names.in_one_spelling(spec.name))


def _transformers_folder(spec: ModelSpec, *, fetch: bool = True) -> Path | None:
    """The folder of a checkpoint of transformers; None where the model is one of open_clip's.

    What lies in a folder or a repository decides. Where both do, a name behind ``hf:``, or with nothing before it, is
    transformers', if that is installed; a folder, or a name behind ``hf-hub:``, is open_clip's.

    Args:
        fetch: download what is not in the local cache.

    Raises:
        ModelError: see `load`.
    """
    if spec.name == config.DEFAULT_MODEL or spec.pretrained is not None:
        return None
    scheme, _, rest = spec.name.partition(":")
    folder = Path(rest if scheme == "local-dir" else spec.name).expanduser()
    repository = None if folder.is_dir() else names.repository_of(spec.name)
    if repository is not None:
        return _of_repository(spec, *repository, fetch=fetch)
    if (folder / "open_clip_config.json").is_file() or not (folder / "config.json").is_file():
        return None
    return folder


def _of_repository(spec: ModelSpec, repository: str, revision: str | None, *, fetch: bool) -> Path | None:
    from zsindex.models import hub

    ours = names.has_transformers()
    open_clip_first = spec.name.startswith(names.OPEN_CLIP_FIRST) or not ours
    cached = hub.cached_transformers(repository, revision)
    if hub.cached_open_clip(repository, revision) and (open_clip_first or cached is None):
        return None
    if cached is not None or not fetch:
        return cached
    if (like := _like_open_clips(repository)) is not None:
        raise UnknownModel(repository, near=like)
    orders = [hub.OPEN_CLIP_CONFIG, hub.TRANSFORMERS_CONFIG]
    try:
        for filename in orders if open_clip_first else reversed(orders):
            if not hub.offers(spec, repository, revision, filename):
                continue
            if filename == hub.OPEN_CLIP_CONFIG:
                return None
            if not ours:
                raise PackageMissing(str(spec), "zsindex[transformers]")
            found = hub.fetch_transformers(spec, repository, revision)
            if found is not None:
                return found
    except ModelUnavailable as error:
        if ours:
            raise
        detail = f"{error.detail}; a checkpoint of transformers also needs pip install 'zsindex[transformers]'"
        raise ModelUnavailable(str(spec), detail, cache=error.cache) from error
    raise UnknownModel(str(spec), why="the repository holds neither a checkpoint of transformers nor one of open_clip")


def _like_open_clips(name: str) -> list[str] | None:
    """Names of open_clip that look like one of a repository; None where its first half is like no architecture."""
    by_folded = {architecture.casefold(): architecture for architecture in names.architectures()}
    first = name.partition("/")[0].casefold()
    if not difflib.get_close_matches(first, by_folded, n=1, cutoff=_LIKE_AN_ARCHITECTURE):
        return None
    with importing_torch():
        from zsindex.models.openclip_files import available_models

    pairs = {f"{architecture}/{tag}".casefold(): f"{architecture}/{tag}" for architecture, tag in available_models()}
    return [pairs[folded] for folded in difflib.get_close_matches(name.casefold(), pairs, n=3)]


def _export(spec: ModelSpec) -> runtime.Export | None:
    """Load the original in fp32 on the CPU, and export it; of the embedded model put the export together."""
    folder = runtime.folder_of(spec)
    if folder is None or not runtime.versions():
        return None
    if (checkpoint := _transformers_folder(spec)) is not None:
        return _export_transformers(spec, checkpoint, folder)
    if spec.name == config.DEFAULT_MODEL and spec.pretrained is None:
        from zsindex.models.openvino import assembly

        try:
            made = assembly.assemble(folder)
        except OSError as error:  # another export could not be written either
            logger.warning("%s cannot be prepared for quick starts: %s", spec, error)
            return None
        if made is not None:
            return made
    with importing_torch():
        from zsindex.models import openclip
        from zsindex.models.openvino import export

    encoder = openclip.load(replace(spec, precision="fp32"), device="cpu", batch_size=_TORCH_BATCH_SIZE)
    logger.info("preparing %s for quick starts, once on this machine; it takes about half a minute …", spec)
    return export.export(encoder, folder)


def _export_transformers(spec: ModelSpec, checkpoint: Path, folder: Path) -> runtime.Export | None:
    can_be_loaded = names.has_transformers() and runtime.versions(runtime.MADE_WITH_TRANSFORMERS)
    if spec.precision != "fp32" or not can_be_loaded:
        return None
    with importing_torch():
        from zsindex.models import transformers
        from zsindex.models.openvino import export

    encoder = transformers.load(spec, checkpoint, device="cpu", batch_size=_TORCH_BATCH_SIZE)
    logger.info("preparing %s for quick starts, once on this machine; it takes about half a minute …", spec)
    return export.export_transformers(encoder, folder)


def _probe_bf16(found: runtime.Export, spec: ModelSpec) -> runtime.Export:
    with importing_torch():
        from zsindex.models import openclip
        from zsindex.models.openvino import export

    encoder = openclip.load(replace(spec, precision="bf16"), device="cpu", batch_size=_TORCH_BATCH_SIZE)
    return export.probe_bf16(found, encoder)


@contextmanager
def importing_torch() -> Iterator[None]:
    """What torch needs when it is first imported, with all that is built on it.

    Its threads are to sleep while they wait for each other: by default they spin, on cores that could decode. And there
    must be a working folder: without one MKL, which comes with torch, ends the process.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        Path.cwd()
    except FileNotFoundError:
        gone = os.open(".", os.O_RDONLY)
        try:
            os.chdir("/")
            yield
        finally:
            os.fchdir(gone)  # relative paths must not come to mean other files
            os.close(gone)
    else:
        yield
