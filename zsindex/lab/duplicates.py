"""Identical and near-identical photos, and which of them to keep.

Every file suggested for removal exists, and so does the one kept instead, as a different file: see
`zsindex.lab.on_disk`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from math import log
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from zsindex.classification.view import View
from zsindex.errors import ImageError
from zsindex.lab import on_disk
from zsindex.lab.decisions import Decided
from zsindex.lab.neighbours import Graph, Pairs
from zsindex.lab.on_disk import Seen
from zsindex.photos import sources
from zsindex.photos.codec_errors import codec_errors
from zsindex.photos.sandbox import Decoder
from zsindex.photos.scaling import resized
from zsindex.records import AS_SEEN, DecodeMode, IdArray, Progress, Settings
from zsindex.storage.rows import FileDetails

# Sharpness is measured in a picture whose longer side has this many pixels. In larger ones the edges of JPEG blocks
# count: a copy at quality 50 would be the sharper one.
SHARPNESS_SIDE = 192
# A step of sharpness: of copies on the same step, the larger file is the better one. Blur of half a percent of the
# picture's side is two steps or more; compression alone is a tenth of one.
_SHARPER = 3.0
# Pictures are compared as grey squares with this many pixels per side.
_THUMBNAIL_SIDE = 32
# Minimum correlation of two copies of the same picture.
SAME_PICTURE = 0.97
# Levels of grey. A picture that varies less shows nothing.
_FLAT = 2.0
LEVELS = (0.999, 0.995, 0.99, 0.98, 0.97, 0.96, 0.95, 0.93, 0.9, 0.85, 0.8)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A photo of a group.

    Attributes:
        cosine: of the vectors of this photo and the one to keep.
        correlation: of their pixels; None if one of the two was not read.
        exact: whether their bytes are equal.
        width, height: upright, in pixels; 0 if it was never decoded.
        size: of the file in bytes.
        sharpness: variance of the Laplacian; None if the photo was not read.
        seen: what the path led to when the group was made.
        kept: whether somebody decided that it is to be kept.
    """

    path: str
    cosine: float
    correlation: float | None
    exact: bool
    width: int
    height: int
    size: int
    sharpness: float | None
    seen: Seen
    kept: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "seen"}


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Photos that are alike: the one to keep, and the others, most similar first."""

    keep: Duplicate
    others: tuple[Duplicate, ...]

    def still_there(self) -> DuplicateGroup | None:
        """The group without files that have changed or gone since; None if nothing is left to choose from, or the one
        to keep is gone.
        """
        if on_disk.seen(self.keep.path) != self.keep.seen:
            return None
        others = tuple(other for other in self.others if on_disk.seen(other.path) == other.seen)
        return replace(self, others=others) if others else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"keep": self.keep.to_dict(), "others": [other.to_dict() for other in self.others]}


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What `Library.neighbours.duplicates` found.

    Attributes:
        threshold: minimum cosine of near-duplicates.
        photos: number of photos compared.
        groups: in the order of the photos to keep.
        unread: number of photos that have near-duplicates by their vectors but could not be read; None if reading was
            not requested.
        left_out: number of photos with duplicates that are in no group: missing from this disk, changed since the last
            sync, or another name of a file already counted.
        apart: number of pairs of near-duplicates, by their vectors, that somebody called different.
    """

    threshold: float
    photos: int
    groups: tuple[DuplicateGroup, ...]
    unread: int | None
    left_out: int = 0
    apart: int = 0

    def still_there(self) -> Duplicates:
        """The same for the present state of the disk; call it right before acting on the result."""
        left = [group for old in self.groups if (group := old.still_there()) is not None]
        gone = sum(1 + len(group.others) for group in self.groups) - sum(1 + len(group.others) for group in left)
        return replace(self, groups=tuple(left), left_out=self.left_out + gone)

    @property
    def removable(self) -> list[str]:
        """Paths of all photos except those to keep."""
        return [other.path for group in self.groups for other in group.others]

    @property
    def removable_bytes(self) -> int:
        """Total size of those files."""
        return sum(other.size for group in self.groups for other in group.others)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "threshold": self.threshold,
            "photos": self.photos,
            "removable": len(self.removable),
            "removable_bytes": self.removable_bytes,
            "unread": self.unread,
            "left_out": self.left_out,
            "apart": self.apart,
            "groups": [group.to_dict() for group in self.groups],
        }


@dataclass(frozen=True, slots=True)
class Level:
    """Example pairs at a cosine.

    Attributes:
        cosine: of the level.
        pairs: number of pairs at or above it, as far as the ten nearest of each photo show.
        examples: (path, path, cosine) of some pairs nearest to the level and below the next higher one.
    """

    cosine: float
    pairs: int
    examples: tuple[tuple[str, str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        shown = [{"paths": [one, other], "cosine": cosine} for one, other, cosine in self.examples]
        return {"cosine": self.cosine, "pairs": self.pairs, "examples": shown}


class Appearance(NamedTuple):
    """What was learnt by looking at an image: its sharpness, and a grey square of it, uint8."""

    sharpness: float
    thumbnail: npt.NDArray[np.uint8]


def find(
    view: View,
    pairs: Pairs,
    *,
    threshold: float,
    decided: Decided,
    details: Callable[[Collection[int]], Sequence[FileDetails]],
    known: dict[int, Appearance] | None,
    settings: Settings,
    decoder: Decoder,
    progress: Callable[[Progress], None],
) -> Duplicates:
    """Group photos.

    Args:
        view: the photos.
        pairs: of its images (``view.unique``) that are near-duplicates.
        decided: what people decided about images.
        details: looks up the files that show some images.
        known: appearances of images, by id; new ones are added. None to read no photos.
    """
    photos_of = _photos_of(view)
    image_ids = view.vectors.ids[view.unique[0]]
    apart, kept = _by_number(decided, image_ids)
    n_pairs = len(pairs.first)
    pairs = _without(pairs, apart)
    n_apart = n_pairs - len(pairs.first)
    paired = np.union1d(pairs.first, pairs.second).tolist()
    copied = [image for image, photos in photos_of.items() if len(photos) > 1]
    by_path = {found.path: found for found in details(image_ids[sorted({*paired, *copied})].tolist())}
    # A file that has gone since the view was made has no details, and is no longer a duplicate.
    candidates = {
        image: [by_path[path] for photo in photos_of[image] if (path := view.paths[photo]) in by_path]
        for image in sorted({*paired, *copied})
    }
    seen = on_disk.distinct(file for files in candidates.values() for file in files)
    links = {path for path in seen if os.path.islink(path)}
    there = {
        # Deleting a link keeps its file, but not the other way round: prefer to keep files over links to them.
        image: sorted(found, key=lambda file: (file.path != kept.get(image), file.path in links))
        for image, files in candidates.items()
        if (found := [file for file in files if file.path in seen])
    }
    left_out = sum(map(len, candidates.values())) - sum(map(len, there.values()))
    unread = None
    if known is not None:
        read_appearances([there[image] for image in paired if image in there], known, settings, decoder, progress)
        unread = sum(len(there[image]) for image in paired if image in there and image_ids[image] not in known)
    appearances = {
        image: appearance for image in there if (appearance := (known or {}).get(int(image_ids[image]))) is not None
    }
    if appearances:
        pairs = _same_pictures(pairs, appearances)

    def better(image: int) -> tuple[float, ...]:
        appearance = appearances.get(image)
        best = there[image][0]
        return (
            image not in kept,
            best.path in links,
            *quality(best, None if appearance is None else appearance.sharpness),
            photos_of[image][0],
        )

    groups = []
    for best, members in stars(pairs, sorted(there, key=better), apart=apart, kept=kept):
        shown = [
            Duplicate(
                path=file.path,
                cosine=cosine,
                correlation=None
                if not {best, image} <= appearances.keys()
                else correlation(appearances[best], appearances[image]),
                exact=image == best,
                width=file.width,
                height=file.height,
                size=file.size,
                sharpness=appearances[image].sharpness if image in appearances else None,
                seen=seen[file.path],
                kept=image in kept and file is there[image][0],
            )
            for image, cosine in [(best, 1.0), *members]
            for file in there[image]
        ]
        if len(shown) > 1:
            groups.append((photos_of[best][0], DuplicateGroup(shown[0], tuple(shown[1:]))))
    groups.sort(key=lambda group: group[0])
    # Reading takes time, and files may have changed meanwhile.
    made = tuple(group for _, group in groups)
    return Duplicates(threshold, len(view), made, unread, left_out, n_apart).still_there()


def _by_number(decided: Decided, image_ids: IdArray) -> tuple[set[tuple[int, int]], dict[int, str]]:
    """Decisions by the numbers of images: which two are different, the smaller number first, and the path to keep."""
    if not decided.different and not decided.keep:
        return set(), {}
    number = {image_id: n for n, image_id in enumerate(image_ids.tolist())}
    numbered = (sorted((number[a], number[b])) for a, b in decided.different if a in number and b in number)
    keep = {number[image_id]: path for image_id, path in decided.keep.items() if image_id in number}
    return {(a, b) for a, b in numbered}, keep


def _without(pairs: Pairs, apart: Collection[tuple[int, int]]) -> Pairs:
    """The pairs that nobody called different."""
    if not apart:
        return pairs
    both = zip(
        np.minimum(pairs.first, pairs.second).tolist(), np.maximum(pairs.first, pairs.second).tolist(), strict=True
    )
    keep = np.array([pair not in apart for pair in both], dtype=bool)
    return Pairs(pairs.first[keep], pairs.second[keep], pairs.cosines[keep])


def _same_pictures(pairs: Pairs, appearances: Mapping[int, Appearance]) -> Pairs:
    """Pairs whose pictures look the same; pairs that were not read are kept."""
    keep = np.array(
        [
            one not in appearances
            or other not in appearances
            or correlation(appearances[one], appearances[other]) >= SAME_PICTURE
            for one, other in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        ],
        dtype=bool,
    )
    return Pairs(pairs.first[keep], pairs.second[keep], pairs.cosines[keep])


def stars(
    pairs: Pairs,
    order: Sequence[int],
    *,
    apart: Collection[tuple[int, int]] = frozenset(),
    kept: Collection[int] = frozenset(),
) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Groups around the best images: each image is in one group, paired with the image in its middle.

    Connected components would chain: on a walk through a town each photo is like the next, and all would be one group.

    Args:
        order: images, the best first.
        apart: two images, the smaller number first, that may not be in one group, not even by way of a third. The one
            that is more like the middle stays with it.
        kept: images that may only be in the middle. They come first in `order`.

    Yields:
        The image in the middle, and the others with their cosines to it, most similar first.
    """
    near: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    listed = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.cosines.tolist(), strict=True)
    for one, other, cosine in listed:  # most similar first, and so is each list
        near[one].append((other, cosine))
        near[other].append((one, cosine))
    not_with: defaultdict[int, set[int]] = defaultdict(set)
    for one, other in apart:
        not_with[one].add(other)
        not_with[other].add(one)
    left = dict.fromkeys(order)
    for image in order:
        if image in left:
            del left[image]
            members: list[tuple[int, float]] = []
            shut_out = set(not_with[image])
            for other, cosine in near[image]:
                if other in left and other not in kept and other not in shut_out:
                    del left[other]
                    members.append((other, cosine))
                    shut_out |= not_with[other]
            yield image, members


def quality(file: FileDetails, sharpness: float | None) -> tuple[float, ...]:
    """Sorts better images first: more pixels, then clearly sharper (or readable at all), then more bytes."""
    step = -1 if sharpness is None else round(log(max(sharpness, 1e-6)) / log(_SHARPER))
    return (-file.width * file.height, sharpness is None, -step, -file.size)


def _photos_of(view: View) -> Mapping[int, list[int]]:
    """The photos, in order, that show each image of ``view.unique``."""
    numbers: IdArray = np.arange(len(view.unique[0]))[view.unique[1]]
    photos: defaultdict[int, list[int]] = defaultdict(list)
    for photo, image in enumerate(numbers.tolist()):
        photos[image].append(photo)
    return photos


# --- looking at pictures ----------------------------------------------------------------------------------------------


def appearance_of(image: Image.Image) -> Appearance:
    """Measure how sharp a picture is, and what it looks like from afar.

    Sharpness is the variance of the Laplacian of the grey picture (0 to 255), whose longer side is scaled down to
    `SHARPNESS_SIDE`: Pech-Pacheco, Cristóbal, Chamorro-Martínez, Fernández-Valdivia, "Diatom autofocusing in
    brightfield microscopy: a comparative study", ICPR 2000. 0 for a picture without inner pixels.
    """
    grey = image.convert("L")
    thumbnail = np.asarray(resized(grey, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX))
    scale = SHARPNESS_SIDE / max(grey.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize((width, height), Image.Resampling.BOX)
    p = np.asarray(grey, dtype=np.float32)
    if min(p.shape) < 3:
        return Appearance(0.0, thumbnail)
    laplacian = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * p[1:-1, 1:-1]
    return Appearance(float(laplacian.var(dtype=np.float64)), thumbnail)


def correlation(one: Appearance, other: Appearance) -> float:
    """Pearson correlation of two pictures from afar. For two flat pictures it is 1 if they are equally bright."""
    a, b = (appearance.thumbnail.astype(np.float64) for appearance in (one, other))
    brightness = float(abs(a.mean() - b.mean()))
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if max(a.std(), b.std()) < _FLAT:
        return 1.0 if brightness < _FLAT else 0.0
    return float((a * b).sum()) / norms if norms > 0 else 0.0


def read_appearances(
    images: Sequence[Sequence[FileDetails]],
    known: dict[int, Appearance],
    settings: Settings,
    decoder: Decoder,
    progress: Callable[[Progress], None],
) -> None:
    """Add the missing appearances, from the first readable file of each image."""
    new = [files for files in images if files[0].image_id not in known]

    def first(files: Sequence[FileDetails]) -> Appearance | None:
        return next(
            (appearance for file in files if (appearance := _appearance_in(file, settings, decoder)) is not None), None
        )

    with ThreadPoolExecutor(settings.workers) as pool:
        for done, (files, appearance) in enumerate(zip(new, pool.map(first, new), strict=True), start=1):
            if appearance is not None:
                known[files[0].image_id] = appearance
            progress(Progress("look", done, len(new)))


def _appearance_in(file: FileDetails, settings: Settings, decoder: Decoder) -> Appearance | None:
    """None if the file cannot be read, or no longer shows the image."""
    try:
        source = replace(sources.read(file.path), decoder=decoder)
        if source.digest != file.digest:
            return None
        # Fast decoding keeps at least twice this size.
        size = (SHARPNESS_SIDE, SHARPNESS_SIDE)
        decoded = source.decode(
            mode=DecodeMode.FAST, input_size=size, max_pixels=settings.max_pixels, rendering=AS_SEEN
        )
        with codec_errors():
            return appearance_of(decoded.image)
    except ImageError:
        return None


# --- choosing a threshold ---------------------------------------------------------------------------------------------


def examples(view: View, graph: Graph, *, each: int, levels: Sequence[float] = LEVELS) -> list[Level]:
    """Pairs at several cosines, from each image's nearest neighbours.

    Args:
        view: the photos.
        graph: of its images.
        each: pairs per level.
        levels: cosines, descending.
    """
    photos_of = _photos_of(view)
    one = np.repeat(np.arange(len(graph)), graph.k)
    other = graph.neighbours.ravel()
    _, once = np.unique(np.minimum(one, other) * len(graph) + np.maximum(one, other), return_index=True)
    cosines = graph.cosines.ravel()[once]
    order = np.argsort(cosines, kind="stable")
    once, cosines = once[order], cosines[order]
    found = []
    upper = len(cosines)
    for level in levels:
        start = int(np.searchsorted(cosines, np.float32(level)))
        shown = range(start, min(start + each, upper))
        found.append(
            Level(
                level,
                len(cosines) - start,
                tuple(
                    (
                        view.paths[photos_of[int(one[once[i]])][0]],
                        view.paths[photos_of[int(other[once[i]])][0]],
                        float(cosines[i]),
                    )
                    for i in shown
                ),
            )
        )
        upper = start
    return found
