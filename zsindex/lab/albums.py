"""Albums: questions with their filters under a name, which follow the library; and lists of their photos for others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsindex import atomic
from zsindex.errors import AlbumFolderTaken
from zsindex.where import Where

# In a folder of links: which of them are the album's.
MANIFEST = ".zsindex-album.json"
_OTHERS = "holds other things than links of an album"


@dataclass(frozen=True)
class Album:
    """A saved question, or photos that were chosen.

    Attributes:
        name: of the album.
        query: what is searched for; None: no search, only filters.
        options: of the search besides that, as for `Library.search`.
        where: which photos.
        saved_at: ISO date and time.
        seen_at: when somebody looked last; None if nobody has.
        n_seen: photos that it held then.
        chosen: how many photos were put into it one by one; None: it is a question.
        taken_out: paths, of those that `library.albums.take_out` was asked about, of photos that were in it until then.
    """

    name: str
    query: str | None
    options: Mapping[str, Any]
    where: Where | None
    saved_at: str
    seen_at: str | None
    n_seen: int
    chosen: int | None = None
    taken_out: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """What is asked, for people to read."""
        if self.chosen is not None:
            return f"{self.chosen} chosen"
        searched = [] if self.query is None else [repr(self.query)]
        said = [f"{key} {value}" for key, value in self.options.items()]
        return ", ".join([*searched, *said, *([] if self.where is None else [repr(self.where)])])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "query": self.query,
            "options": dict(self.options),
            "where": None if self.where is None else self.where.to_json(),
            "saved_at": self.saved_at,
            "seen_at": self.seen_at,
            "n_seen": self.n_seen,
            "chosen": self.chosen,
        }


@dataclass(frozen=True, slots=True)
class AlbumPhoto:
    """A photo of an album.

    Attributes:
        path: of one of its files; `copies` of the others.
        score: cosine similarity to the query; None without one.
        taken_at: ISO date and time by the clock where it was taken; None where it is not known.
        is_new: it was not there when somebody looked last. False if nobody has.
        digest: SHA-256 of its bytes.
        image_id: of its content.
    """

    path: str
    score: float | None
    taken_at: str | None
    copies: tuple[str, ...] = ()
    is_new: bool = False
    digest: bytes = field(default=b"", repr=False)
    image_id: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "path": self.path,
            "score": self.score,
            "taken_at": self.taken_at,
            "copies": list(self.copies),
            "is_new": self.is_new,
            "image_id": self.image_id,
        }


@dataclass(frozen=True)
class AlbumPhotos:
    """What an album holds now.

    Attributes:
        album: as it was before this look.
        photos: best first if it has a query, else newest first.
        went: paths of photos that it held when somebody looked last, and holds no more, as they were then.
    """

    album: Album
    photos: tuple[AlbumPhoto, ...]
    went: tuple[str, ...]

    @property
    def paths(self) -> list[str]:
        """Of the photos, in order."""
        return [photo.path for photo in self.photos]

    @property
    def came(self) -> list[AlbumPhoto]:
        """Photos that are new in it."""
        return [photo for photo in self.photos if photo.is_new]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "album": self.album.to_dict(),
            "photos": [photo.to_dict() for photo in self.photos],
            "went": list(self.went),
        }


def playlist(contents: AlbumPhotos) -> str:
    """A list as of M3U, in UTF-8, which slideshow programs and players take. It has a line for each name, and so leaves
    out photos whose names have several.
    """
    lines = ["#EXTM3U", f"#PLAYLIST:{contents.album.name}"]
    for photo in contents.photos:
        if len(photo.path.splitlines()) > 1:
            continue
        name = os.path.basename(photo.path)
        lines += [f"#EXTINF:-1,{name}", photo.path]
    return "\n".join(lines) + "\n"


def link(folder: Path, album: str, paths: Sequence[str]) -> tuple[int, int]:
    """Make a folder hold links to an album's photos, and none that an earlier call has made to others.

    Whatever else lies there stays. Of several photos of one name all but the first get a number behind it.

    Args:
        folder: made if it is not there.
        paths: absolute ones.

    Returns:
        How many links were made, and how many were removed.

    Raises:
        AlbumFolderTaken: it holds other things, and no links of this album.
        OSError
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        before, of = dict(found["links"]), found["album"]
    except FileNotFoundError:
        if any(folder.iterdir()):
            raise AlbumFolderTaken(folder, _OTHERS) from None
        before, of = {}, album
    except (ValueError, KeyError, TypeError) as error:
        raise AlbumFolderTaken(folder, _OTHERS) from error
    if of != album:
        raise AlbumFolderTaken(folder, f"holds the links of the album {of}")
    ours = {
        name: path for name, path in before.items() if os.path.basename(name) == name and _leads_to(folder / name, path)
    }
    taken = {entry.name.casefold() for entry in folder.iterdir() if entry.name not in ours}
    named = _names(paths, taken, ours)
    # Before anything changes it names all that is or will be the album's: one that is interrupted is gone on with.
    _write(manifest, album, ours | named)
    removed = [name for name, path in ours.items() if named.get(name) != path]
    for name in removed:
        (folder / name).unlink(missing_ok=True)
    made = [name for name, path in named.items() if ours.get(name) != path]
    for name in made:
        (folder / name).symlink_to(named[name])
    _write(manifest, album, named)
    return len(made), len(removed)


def _leads_to(link: Path, path: str) -> bool:
    return link.is_symlink() and str(link.readlink()) == path


def _names(paths: Iterable[str], taken: set[str], ours: Mapping[str, str]) -> dict[str, str]:
    """Names of links for photos; those that are there keep theirs. File systems may not tell upper from lower case."""
    kept = {path: name for name, path in ours.items()}
    taken = taken | {name.casefold() for name in kept.values()}
    named = {}
    for path in dict.fromkeys(paths):
        name = kept.get(path)
        if name is None:
            file, n = Path(path), 1
            name = file.name
            while name.casefold() in taken:
                n += 1
                name = f"{file.stem}-{n}{file.suffix}"
            taken.add(name.casefold())
        named[name] = path
    return named


def _write(manifest: Path, album: str, links: Mapping[str, str]) -> None:
    with atomic.writing(manifest, encoding="utf-8") as out:
        json.dump({"album": album, "links": dict(links)}, out, ensure_ascii=False)
