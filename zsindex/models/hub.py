"""Repositories of a model hub: what of them is on this disk, and fetching what is not.

The client's own settings count: HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_ENDPOINT, and the token of who is logged in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from zsindex.errors import ModelUnavailable, UnknownModel
from zsindex.models import names
from zsindex.records import ModelSpec

PROBE_TIMEOUT_S = 10.0
TRANSFORMERS_CONFIG, OPEN_CLIP_CONFIG = "config.json", "open_clip_config.json"
_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_OF_A_CHECKPOINT = ("*.json", "*.txt", "*.model")


def is_transformers(folder: Path) -> bool:
    """Whether a folder's configuration is one of transformers; timm writes a config.json, too, with no model's type."""
    try:
        found = json.loads((folder / TRANSFORMERS_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "model_type" in found


def cached_transformers(repository: str, revision: str | None) -> Path | None:
    """The folder of a checkpoint of transformers in the local cache; None unless all of it is there."""
    config = _cached(repository, TRANSFORMERS_CONFIG, revision)
    if config is None or not is_transformers(config.parent):
        return None
    return config.parent if _has_weights(config.parent) else None


def cached_open_clip(repository: str, revision: str | None) -> bool:
    """Whether the configuration of an open_clip model is in the local cache."""
    return _cached(repository, OPEN_CLIP_CONFIG, revision) is not None


def offers(spec: ModelSpec, repository: str, revision: str | None, filename: str) -> bool:
    """Whether a repository on the hub has a file; asked once, so that an unreachable hub costs seconds.

    Raises:
        UnknownModel: that is no name of a repository.
        ModelUnavailable: the hub cannot be reached, or refuses.
    """
    before = sys.exception()
    try:
        get_hf_file_metadata(hf_hub_url(repository, filename, revision=revision), timeout=PROBE_TIMEOUT_S)
    except HFValidationError as error:
        raise no_repository(spec, repository) from error
    except EntryNotFoundError:
        return False
    except Exception as error:  # which HTTP library it comes from depends on the version of the hub's client
        raise unavailable(spec, error, before) from error
    return True


def fetch_transformers(spec: ModelSpec, repository: str, revision: str | None) -> Path | None:
    """Bring a checkpoint of transformers into the local cache; None where the repository has none.

    Raises:
        ModelUnavailable: it cannot be fetched.
    """
    before = sys.exception()
    try:
        config = Path(hf_hub_download(repository, TRANSFORMERS_CONFIG, revision=revision))
        if not is_transformers(config.parent):
            return None
        names = HfApi().list_repo_files(repository, revision=revision)
        safe = any(name.endswith(".safetensors") and "/" not in name for name in names)
        weights = "model*.safetensors" if safe else "pytorch_model*.bin"
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=[*_OF_A_CHECKPOINT, weights], ignore_patterns=["*/*"]
        )
    except Exception as error:  # as above
        raise unavailable(spec, error, before) from error
    return Path(folder)


def snapshot_of(repository: str, filename: str, revision: str) -> Path | None:
    """The folder in the local cache that holds a file at a revision."""
    file = _cached(repository, filename, revision)
    return None if file is None else file.parent


def no_repository(spec: ModelSpec, repository: str) -> UnknownModel:
    """The error for what is not named as repositories are."""
    return UnknownModel(str(spec), why=f"{repository!r} is not the name of a repository, which has the form ORG/NAME")


def unavailable(spec: ModelSpec, error: BaseException, before: BaseException | None) -> ModelUnavailable:
    """The error for a repository that cannot be had, with the place for a copy; `before` as in chain."""
    detail = why(error, before)
    asked = next((name for name, twin in names.TWINS.items() if twin == str(spec)), None)
    if asked is not None and not names.has_transformers():  # which may be the name that was asked for
        detail += f"; in transformers' format they are {asked}, which needs pip install 'zsindex[transformers]'"
    return ModelUnavailable(str(spec), detail, cache=str(constants.HF_HUB_CACHE))


def chain(error: BaseException | None, before: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from or during; open_clip and transformers wrap those of the hub's client.

    Args:
        error: the exception.
        before: what a caller of ours was handling, sys.exception() before the attempt: the chain goes on there, into
            what has nothing to do with it, such as the failure of a model that was tried first.
    """
    while error is not None and error is not before:
        yield error
        error = error.__cause__ or error.__context__


def why(error: BaseException, before: BaseException | None) -> str:
    """Say in a few words what went wrong with a hub; `before` as in chain."""
    links = list(chain(error, before))

    def found(kind: type[BaseException]) -> bool:
        return any(isinstance(link, kind) for link in links)

    if found(OfflineModeIsEnabled):
        return "offline mode is on, and they are not in the local cache"
    if found(GatedRepoError):
        return "the repository is gated: ask for access on its page, then log in"
    if found(RevisionNotFoundError):
        return "the repository has no such revision"
    if found(RepositoryNotFoundError):
        return "there is no such repository, or it is private"
    if any(isinstance(link, EntryNotFoundError) and not isinstance(link, LocalEntryNotFoundError) for link in links):
        return "the repository has no open_clip model"
    for link in links:
        if isinstance(link, HfHubHTTPError):
            return f"the hub answered with status {link.response.status_code}"
    return f"the hub cannot be reached: {one_line(links[-1])}"


def one_line(error: BaseException) -> str:
    """The gist of an exception: of several lines, as load_state_dict makes them, the first that names a cause."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = lines[0] if len(lines) == 1 else lines[1]
    more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
    return (line if len(line) <= 200 else line[:199] + "…").rstrip(".") + more


def _cached(repository: str, filename: str, revision: str | None) -> Path | None:
    try:
        found = try_to_load_from_cache(repository, filename, revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _has_weights(folder: Path) -> bool:
    """Whether a checkpoint's weights are there, all parts of them where an index lists several."""
    for name in (_SAFE, _PICKLED):
        if (folder / name).is_file():
            return True
        try:
            index: Any = json.loads((folder / f"{name}.index.json").read_text(encoding="utf-8"))
            parts = set(index["weight_map"].values())
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if all((folder / part).is_file() for part in parts):
            return True
    return False
