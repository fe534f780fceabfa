"""From a name, in open_clip's terms, to the files of a model: on this disk, or fetched from a hub."""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import open_clip
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HFValidationError
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained_from_hf

from zsindex.errors import CheckpointError, UnknownModel
from zsindex.models import hub, names, nano
from zsindex.records import ModelSpec

logger = logging.getLogger(__name__)

CONFIG_NAME = "open_clip_config.json"
_FOLDER_CHECKPOINTS = (".safetensors", ".bin", ".pth")  # what open_clip looks for in a local-dir; .pt is not among them
_DEFAULT_WEIGHTS = [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]


def available_models() -> list[tuple[str, str]]:
    """Return the (architecture, pretrained tag) pairs that open_clip can download, in its order."""
    return [(str(architecture), str(tag)) for architecture, tag in open_clip.list_pretrained()]


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """A model in open_clip's terms.

    Attributes:
        name: an architecture, ``hf-hub:ORG/REPO`` or ``local-dir:FOLDER``.
        pretrained: a tag or a checkpoint file, for an architecture.
        repository: the hub repository that has to be in the local cache before open_clip is asked.
        files: what is needed of it; None stands for open_clip's default weights.
        revision: of the repository; None for its newest.
    """

    name: str
    pretrained: str | None = None
    repository: str | None = None
    files: tuple[str | None, ...] = ()
    revision: str | None = None


def resolve(spec: ModelSpec) -> WeightsSource:
    """Tell what a name means; see `zsindex.models.openclip.load`.

    Raises:
        UnknownModel: no such architecture, tag, folder or repository name, or a name that says too little or too much.
        CheckpointError: a folder without weights.
    """
    name = spec.name
    schema, _, rest = name.partition(":")
    architectures = set(open_clip.list_models())
    # Before a tag or a file stands an architecture, whatever else it reads like; also one that was added by a program.
    is_own = spec.pretrained is not None or _architecture_in(name, architectures) is not None
    repository = None if is_own and schema != "hf-hub" else names.repository_of(name)
    if name == "nano" or schema in ("local-dir", "hf-hub") or repository:
        if spec.pretrained is not None:
            # open_clip would drop it with a warning, and the user would take these weights for the ones asked for.
            raise UnknownModel(str(spec), why=f"{name} brings its own weights; leave {spec.pretrained!r} out")
        if not rest and name != "nano" and not (repository and repository[0]):
            raise UnknownModel(name, why="a folder or a repository has to follow the colon")
        if repository:
            named, revision = repository
            return WeightsSource(f"hf-hub:{named}", repository=named, revision=revision, files=(CONFIG_NAME, None))
        return _folder(spec, nano.FOLDER if name == "nano" else Path(rest).expanduser())

    if spec.pretrained is not None:
        architecture = name.replace("/", "-")  # ViT-B/32 is ViT-B-32 to open_clip
        if architecture in architectures:
            return _weights(spec, architecture, spec.pretrained)
        raise UnknownModel(str(spec), near=_near(name, sorted(architectures)), why=f"{name!r} is not an architecture")
    if name.replace("/", "-") in architectures:
        pairs = _pairs(name.replace("/", "-"))
        why = "an architecture alone has no weights" + ("" if pairs else "; name a checkpoint with --pretrained FILE")
        raise UnknownModel(name, near=pairs, why=why)
    if (found := _architecture_in(name, architectures)) is not None:
        architecture, weights = found
        return _weights(spec, architecture, weights)

    path = Path(name).expanduser()
    if name and path.is_dir():
        return _folder(spec, path)
    if path.is_file():
        why = "a checkpoint does not say its architecture; name it too: --model ARCH --pretrained FILE"
        raise UnknownModel(name, why=why)
    if name.startswith(("/", "./", "../", "~")):
        raise UnknownModel(name, why="there is no such folder")
    known = ["nano", *sorted(architectures), *(f"{a}/{tag}" for a, tag in available_models())]
    raise UnknownModel(name, near=_near(name, known))


def _architecture_in(name: str, architectures: Collection[str]) -> tuple[str, str] | None:
    """The architecture that a name begins with, and the tag or file after it.

    An architecture may be written with a slash, and the path of a checkpoint has several: all are tried.
    """
    for slash in (position for position, letter in enumerate(name) if letter == "/"):
        if (architecture := name[:slash].replace("/", "-")) in architectures:
            return architecture, name[slash + 1 :]
    return None


def _weights(spec: ModelSpec, architecture: str, pretrained: str) -> WeightsSource:
    config = open_clip.get_pretrained_cfg(architecture, pretrained)
    if config:
        repository, filename = os.path.split(config.get("hf_hub", ""))
        if config.get("quick_gelu", False) != open_clip.get_model_config(architecture).get("quick_gelu", False):
            # open_clip's own warning does not say what to do. The scores are what open_clip gives under this name.
            logger.warning(
                "%s was trained with another activation function than %s computes with; %s-quickgelu/%s may fit better",
                pretrained,
                architecture,
                architecture.removesuffix("-quickgelu"),
                pretrained,
            )
        return WeightsSource(architecture, pretrained, repository or None, (filename or None,))
    path = Path(pretrained).expanduser()
    if path.is_file():
        return WeightsSource(architecture, str(path))
    pairs = _pairs(architecture)
    near = _near(f"{architecture}/{pretrained}", pairs) or pairs
    why = f"{pretrained!r} is neither a file nor a pretrained tag of {architecture}"
    raise UnknownModel(str(spec), near=near, why=why)


def _folder(spec: ModelSpec, folder: Path) -> WeightsSource:
    if not folder.is_dir():
        raise UnknownModel(str(spec), why=f"there is no folder {folder}")
    if not (folder / CONFIG_NAME).is_file():
        raise UnknownModel(str(spec), why=f"{folder} has neither {CONFIG_NAME} nor config.json")
    if not any(file.suffix in _FOLDER_CHECKPOINTS for file in folder.iterdir()):
        # open_clip would warn and go on with random weights.
        raise CheckpointError(str(spec), f"{folder} has no weights ({', '.join(_FOLDER_CHECKPOINTS)})")
    return WeightsSource(f"local-dir:{folder}")


def files_of(source: WeightsSource) -> list[str]:
    """What a model that was just loaded consists of on this disk; empty where that cannot be told."""
    if source.name.startswith("local-dir:"):
        return sorted(str(file) for file in Path(source.name.removeprefix("local-dir:")).iterdir() if file.is_file())
    if source.repository is not None:
        wanted = [name for one in source.files for name in ([one] if one else _DEFAULT_WEIGHTS)]
        cached = [try_to_load_from_cache(source.repository, name) for name in wanted]
        return [os.path.realpath(file) for file in cached if isinstance(file, str)]
    if source.pretrained is not None and os.path.isfile(source.pretrained):
        return [source.pretrained]
    return []


def _pairs(architecture: str) -> list[str]:
    return [f"{architecture}/{tag}" for tag in open_clip.list_pretrained_tags_by_model(architecture)]


def _near(name: str, known: Sequence[str]) -> list[str]:
    by_folded = {candidate.casefold(): candidate for candidate in known}
    return [by_folded[folded] for folded in difflib.get_close_matches(name.casefold(), by_folded, n=3)]


def download(spec: ModelSpec, source: WeightsSource) -> WeightsSource:
    """Bring a hub repository's files into the local cache, or say in seconds why that is impossible.

    open_clip alone would take from 47 s to several minutes over an unreachable hub: it asks for two file names, and
    each time the client tries seven times, in the end with a timeout of a minute. So what is not in the cache is asked
    for once, without a second try, before open_clip is.

    Returns:
        The source; of a revision, which open_clip cannot name, the folder that its files are in.

    Raises:
        UnknownModel: that is no name of a repository.
        ModelUnavailable: the hub cannot be reached, refuses, or lacks the files.
    """
    repository, before = str(source.repository), sys.exception()
    for filename in source.files:
        wanted, revision = [filename] if filename else _DEFAULT_WEIGHTS, source.revision
        try:
            if not any(isinstance(try_to_load_from_cache(repository, name, revision=revision), str) for name in wanted):
                url = hf_hub_url(repository, wanted[0], revision=revision)
                get_hf_file_metadata(url, timeout=hub.PROBE_TIMEOUT_S)
        except HFValidationError as error:
            raise hub.no_repository(spec, repository) from error
        except EntryNotFoundError:
            pass  # the repository is there; what is missing for good is found out below, under all of its names
        except Exception as error:  # which HTTP library it comes from depends on the version of the hub's client
            raise hub.unavailable(spec, error, before) from error
        try:
            download_pretrained_from_hf(repository, filename=filename, revision=revision)
        except FileNotFoundError as error:
            raise hub.unavailable(spec, error, before) from error
    if source.revision is None:
        return source
    return WeightsSource(f"local-dir:{hub.snapshot_of(repository, CONFIG_NAME, source.revision)}")
