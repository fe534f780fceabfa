"""What the questions of the label lab have in common: labels, photos, limits, and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zsindex.classification.view import View
from zsindex.errors import NotInLibrary, UnknownImage
from zsindex.records import LabelSet
from zsindex.web import schemas as web_schemas
from zsindex.web.classify import label_set_of
from zsindex.web.lab import schemas
from zsindex.web.problems import Problem
from zsindex.web.service import Service


def labels_of(service: Service, asked: schemas.Asked) -> LabelSet:
    """The label set that a question spells out or names.

    Raises:
        Problem: neither or both; or it is too large.
        LabelError
    """
    question = web_schemas.ClassifyQuestion(
        labels=asked.labels,
        label_set=asked.label_set,
        templates=asked.templates,
        groups=asked.groups,
        negatives=asked.negatives,
    )
    return label_set_of(service, question)


def photos(service: Service, paths: Sequence[str] | None) -> View:
    """The photos that a question is about.

    Raises:
        Problem: too many paths.
        NotInLibrary: there are none at these.
    """
    if paths is None:
        return service.library.view()
    if len(paths) > service.limits.places:
        raise Problem("fields", 422, f"more than {service.limits.places:,} paths")
    view = service.library.view(paths)
    if not view.paths and not view.unanswered:
        raise NotInLibrary(paths, "adding was refused")
    return view


def require_few(service: Service, view: View, labels: int) -> None:
    """Refuse what would take too long.

    Args:
        labels: that all photos are compared with, over all ways of asking.

    Raises:
        Problem
    """
    products = len(view.unique[0]) * labels
    if products > service.limits.products:
        detail = f"{len(view):,} photos by {labels:,} labels are too much for one question; name fewer, or some paths"
        raise Problem("too-much", 422, detail)


def require_shown(service: Service, limit: int) -> None:
    """Refuse longer lists than the service gives out.

    Raises:
        Problem
    """
    if limit > service.limits.page:
        raise Problem("fields", 422, f"a page has at most {service.limits.page:,} entries")


def truth_of(service: Service, truth: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
    """A truth as the library takes it: ids of images become the paths of their files.

    Raises:
        Problem: it says too much, or is about something that is neither an id nor a path.
        UnknownImage: the library holds no photo of an id.
    """
    if isinstance(truth, str):
        return truth
    if len(truth) > service.limits.statements:
        raise Problem("truth", 422, f"more than {service.limits.statements:,} photos")
    by_path = {key: said for key, said in truth.items() if not key.isascii() or not key.isdigit()}
    for path in by_path:
        if not is_absolute(path):
            raise Problem("truth", 422, "photos are named by their ids, or by their paths as answers show them")
    numbers = {int(key): said for key, said in truth.items() if key not in by_path}
    if not numbers:
        return by_path
    view = service.library.view()
    found: dict[str, Any] = {}
    known = set()
    for path, image_id in zip(view.paths, view.image_ids.tolist(), strict=True):
        if image_id in numbers:
            found[path] = numbers[image_id]
            known.add(image_id)
    unknown = numbers.keys() - known
    if unknown:
        raise UnknownImage(min(unknown))
    return found | by_path


def is_absolute(path: str) -> bool:
    """Whether a path is one, as `zsindex.web.schemas.Path` says. Whatever else would be the host's business."""
    return path.startswith("/") or (path[:1].isalpha() and path[1:3] in (":/", ":\\"))


def paths_of(service: Service, image_ids: Sequence[int]) -> dict[int, str]:
    """A file of each of some images.

    Raises:
        UnknownImage
    """
    view = service.library.view()
    wanted = set(image_ids)
    found = {
        image_id: path for path, image_id in zip(view.paths, view.image_ids.tolist(), strict=True) if image_id in wanted
    }
    for image_id in wanted - found.keys():  # those without a vector
        paths = service.library.photos.get(image_id).paths
        if not paths:
            raise UnknownImage(image_id)
        found[image_id] = paths[0]
    return found


def option_values(question: Any, *names: str) -> dict[str, Any]:
    """Those of a question's options that are asked for."""
    return {name: value for name in names if (value := getattr(question, name)) not in (None, False)}
