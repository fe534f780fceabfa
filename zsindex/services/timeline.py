"""`Library.events`, and one photo of each event or burst: photos in the order in which they were taken."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zsindex.classification.options import Per
from zsindex.classification.templates import DEFAULT_TEMPLATE, has_place
from zsindex.classification.view import View
from zsindex.lab import events as lab
from zsindex.lab.events import Burst, Event, Events, Rule
from zsindex.photos import dates
from zsindex.records import FloatArray, IdArray, Progress
from zsindex.session.session import Session
from zsindex.storage.facts_table import NO_TIME, TAKEN_FROM

if TYPE_CHECKING:
    from zsindex.lab.duplicates import Appearance
    from zsindex.storage.rows import FileDetails

_OF_FILE = TAKEN_FROM.index("file")
# Vectors that are compared at a time.
_BLOCK = 8192


@dataclass(frozen=True)
class Grouped:
    """Photos of a view by events and bursts.

    Attributes:
        numbers: int64 (m,), of the photos in the view, in the order in which they were taken.
        taken_us: int64 (m,), microseconds since 1970 by the clock on the wall.
        latitude, longitude: float64 (m,), degrees; NaN where they are not known.
        events, bursts: int64 (m,), numbered from 0.
        from_files, untimed, unread: as in `Events`.
    """

    numbers: IdArray
    taken_us: IdArray
    latitude: lab.Numbers
    longitude: lab.Numbers
    events: IdArray
    bursts: IdArray
    from_files: int
    untimed: int
    unread: int


class Timeline:
    """Groups photos by the time at which they were taken."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def events(
        self,
        view: View,
        *,
        vocabulary: str | os.PathLike[str] | Sequence[str] | None = None,
        template: str = DEFAULT_TEMPLATE,
        look: bool = True,
        file_times: bool = False,
        rule: Rule | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Events:
        """See `Library.events`."""
        from zsindex.lab.vocabulary import chosen

        if not has_place(template):
            raise ValueError(f"{template!r} has no place for the word: write {{}} where it goes")
        words = [] if vocabulary is None else chosen(vocabulary)
        progress = progress or (lambda _: None)
        found = self.grouped(view, file_times=file_times, rule=rule or Rule())
        bursts = lab.members(found.bursts)
        best = self._best(view, found, bursts, look=look, progress=progress)
        taken = [dates.from_microseconds(at) for at in found.taken_us.tolist()]
        paths = [view.paths[number] for number in found.numbers.tolist()]
        of_event = lab.members(found.events[np.array([photos[0] for photos in bursts], dtype=np.int64)])
        names = self._names(
            view, [found.numbers[[best[b] for b in own]] for own in of_event], words, template, progress
        )
        made = []
        for own, name, photos in zip(of_event, names, lab.members(found.events), strict=True):
            shown = [best[burst] for burst in own]
            cover = shown[lab.most_typical(view.take(found.numbers[shown]))]
            made.append(
                Event(
                    name=name,
                    cover=paths[cover],
                    bursts=tuple(
                        Burst(paths[best[b]], tuple(paths[i] for i in bursts[b]), tuple(taken[i] for i in bursts[b]))
                        for b in own
                    ),
                    place=_middle(found.latitude[photos], found.longitude[photos]),
                )
            )
        return Events(len(paths), tuple(made), found.from_files, found.untimed, found.unread)

    def grouped(self, view: View, *, file_times: bool = False, rule: Rule | None = None) -> Grouped:
        """The photos of a view whose time is known.

        Args:
            file_times: also those of which only the file's time is known.
        """
        rule = rule or Rule()
        table = self._session.facts.table()
        rows = table.rows_of(view.paths, view.image_ids)
        known = np.flatnonzero(rows >= 0)
        rows = rows[known]
        timed = table.taken_us[rows] != NO_TIME
        of_file = timed & (table.taken_from[rows] == _OF_FILE)
        used = np.flatnonzero(timed if file_times else timed & ~of_file)
        used = used[np.argsort(table.taken_us[rows[used]], kind="stable")]
        numbers, unread = known[used], int((~table.was_read[rows]).sum())
        rows = rows[used]
        taken_us, latitude, longitude = table.taken_us[rows], table.latitude[rows], table.longitude[rows]
        events = np.cumsum(lab.event_starts(taken_us, latitude, longitude, rule)) - 1

        def cosines(before: IdArray, after: IdArray) -> lab.Numbers:
            found = np.empty(len(before))
            for start in range(0, len(before), _BLOCK):
                part = slice(start, start + _BLOCK)
                one, other = view.take(numbers[before[part]]), view.take(numbers[after[part]])
                found[part] = np.einsum("nd,nd->n", one, other)
            return found

        bursts = lab.bursts(taken_us, events, table.camera.codes[rows].astype(np.int64), cosines, rule)
        left = 0 if file_times else int(of_file.sum())
        untimed = len(view) - len(numbers) - left
        return Grouped(numbers, taken_us, latitude, longitude, events, bursts, left, untimed, unread)

    def one_per(self, view: View, per: Per) -> View:
        """One photo of each burst or event, and all photos whose time is not known.

        Of a burst it is the one with the most pixels, then the largest file; of an event the one of these that is most
        like the whole event. No photo is read.
        """
        found = self.grouped(view)
        groups = lab.members(found.bursts)
        best = np.array(self._best(view, found, groups, look=False, progress=lambda _: None), dtype=np.int64)
        if per == "event":
            of_event = lab.members(found.events[best])
            best = np.array([best[own][lab.most_typical(view.take(found.numbers[best[own]]))] for own in of_event],
                            dtype=np.int64)  # fmt: skip
        fitting = np.ones(len(view), dtype=bool)
        fitting[found.numbers] = False
        fitting[found.numbers[best]] = True
        return view.those(fitting, view.unanswered)

    def groups_of(self, view: View, per: Per) -> dict[int, int]:
        """The number of the burst or event of each image whose time is known, by its id. Of copies with different times
        the first file counts.
        """
        found = self.grouped(view)
        groups = (found.bursts if per == "burst" else found.events).tolist()
        paired = sorted(zip(found.numbers.tolist(), groups, strict=True), reverse=True)
        return {int(view.image_ids[number]): group for number, group in paired}

    def _best(
        self,
        view: View,
        found: Grouped,
        groups: Sequence[Sequence[int]],
        *,
        look: bool,
        progress: Callable[[Progress], None],
    ) -> list[int]:
        """The best photo of each burst."""
        from zsindex.lab import duplicates

        several = [number for group in groups if len(group) > 1 for number in group]
        ids = view.image_ids[found.numbers]
        details: dict[str, FileDetails] = {}
        if several:
            of_images = self._session.storage.photos.details_of(np.unique(ids[several]).tolist())
            details = {file.path: file for file in of_images}
        paths = {number: view.paths[int(found.numbers[number])] for number in several}
        appearances: dict[int, Appearance] = {}
        if look:
            read = {int(ids[n]): details[paths[n]] for n in several if paths[n] in details}
            duplicates.read_appearances(
                [[file] for file in read.values()],
                self._session.appearances,
                self._session.settings,
                self._session.decoder,
                progress,
            )
            appearances = {image_id: self._session.appearances[image_id] for image_id in read
                           if image_id in self._session.appearances}  # fmt: skip

        def quality(number: int) -> tuple[float, ...]:
            file = details.get(paths[number])
            if file is None:  # gone since
                return (1,)
            seen = appearances.get(int(ids[number]))
            return (0, *duplicates.quality(file, None if seen is None else seen.sharpness), number)

        return [group[0] if len(group) == 1 else min(group, key=quality) for group in groups]

    def _names(
        self,
        view: View,
        events: Sequence[IdArray],
        words: Sequence[str],
        template: str,
        progress: Callable[[Progress], None],
    ) -> list[str | None]:
        """The word that is most nearer to each event than to all of them.

        Args:
            events: numbers of the photos that stand for each.
        """
        if not words or not events:
            return [None] * len(events)
        from zsindex.lab.suggest import best_words

        means: FloatArray = np.stack([view.take(own).mean(axis=0) for own in events])
        if len(events) > 1:
            means = means - means.mean(axis=0)
        found, _ = best_words(
            view.embed, words, means, template=template, top=1, progress=progress, should_stop=lambda: False
        )
        return [best[0][1] for best in found]


def _middle(latitude: lab.Numbers, longitude: lab.Numbers) -> tuple[float, float] | None:
    """Where photos were taken, on average: that of their directions from the earth's centre, as longitudes jump at
    180 degrees. None if that is not known of any.
    """
    phi, theta = np.radians(latitude), np.radians(longitude)
    there = ~(np.isnan(phi) | np.isnan(theta))
    if not there.any():
        return None
    x, y, z = (part[there].mean() for part in (np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)))
    return (
        round(float(np.degrees(np.arctan2(z, np.hypot(x, y)))), 6),
        round(float(np.degrees(np.arctan2(y, x))), 6),
    )
