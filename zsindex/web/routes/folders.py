"""``/v1/folders``: which folders of the service's machine can be synced, so that people can choose one.

Which they are is decided here, for `/v1/sync`, too: those that were synced before, those that the service was started
with, and what lies below them.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zsindex.arguments.paths import is_under
from zsindex.config import absolute
from zsindex.photos.formats import PHOTO_EXTENSIONS, extension, is_encodable
from zsindex.photos.scan import EXCLUDED_FOLDERS
from zsindex.web.lists import NextPage, Start, page_of
from zsindex.web.problems import Problem
from zsindex.web.schemas.fields import Folder
from zsindex.web.schemas.library import Folders
from zsindex.web.service import WRITES, Service, ServiceHere

router = APIRouter(tags=["jobs"])


def permitted(service: Service, path: str) -> str:
    """A path that may be synced, absolute.

    Raises:
        Problem: it lies elsewhere. It does not say whether there is anything.
    """
    return _permitted(_allowed(service), path)


def _allowed(service: Service) -> list[str]:
    return [*service.library.photos.roots(), *(absolute(folder) for folder in service.security.photo_folders)]


def _permitted(allowed: list[str], path: str) -> str:
    place = os.path.normpath(absolute(path))
    if not _is_inside(allowed, place):
        raise Problem(
            "path", 403, "this service syncs only folders that were synced before, or that it was started with"
        )
    return place


def _is_inside(allowed: list[str], place: str) -> bool:
    # Also as it really is: a link inside a folder of photos may lead out of it.
    real = os.path.realpath(place)
    return any(is_under(place, one) and is_under(real, os.path.realpath(one)) for one in allowed)


@router.get(
    "/v1/folders", response_model=Folders, dependencies=[WRITES], summary="Folders of the service's machine to sync"
)
def folders(
    service: ServiceHere,
    path: Annotated[Folder | None, Query(description="List what is in it. Default: where one can begin.")] = None,
    name: Annotated[
        str, Query(max_length=200, description="Only those that have this in their names, in capitals or not.")
    ] = "",
    start: Start = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: NextPage = None,
) -> Response:
    """By name. Hidden folders, bins, and links that lead out of what may be synced are left out."""
    allowed = _allowed(service)
    if path is None:
        place = parent = None
        below, photos = sorted({one for one in allowed if os.path.isdir(one)}), 0
    else:
        place = _permitted(allowed, path)
        below, photos = _inside(allowed, place)
        above = os.path.dirname(place)
        parent = above if any(is_under(above, one) for one in allowed) else None
    if name:
        below = [one for one in below if _plain(name) in _plain(os.path.basename(one) or one)]
    part, following = page_of(
        below, asked=["folders", path, name], state=below, start=start, limit=limit, cursor=cursor
    )
    shown = [{"path": one, "name": os.path.basename(one) or one} for one in part]
    document = {"path": place, "parent": parent, "photos": photos, "total": len(below), "folders": shown}
    return JSONResponse({**document, "next": following})


def _inside(allowed: list[str], place: str) -> tuple[list[str], int]:
    """The folders in a folder, and how many files there are called as photos are."""
    found, photos = [], 0
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == "." or not is_encodable(name) or name.lower() in EXCLUDED_FOLDERS:
                    continue
                if not _is_folder(entry):
                    photos += extension(name) in PHOTO_EXTENSIONS
                elif not entry.is_symlink() or _is_inside(allowed, entry.path):
                    found.append(entry.path)
    except OSError as error:
        raise Problem("no-folder", 404, "there is no such folder, or the service may not read it") from error
    return sorted(found), photos


def _plain(name: str) -> str:
    """As people type it: on some disks accents are characters of their own."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
