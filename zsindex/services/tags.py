"""`library.tags`: answers as tags in XMP sidecars next to the photos, and their removal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all, is_under
from zsindex.arguments.several import several
from zsindex.classification.prompts import normalise
from zsindex.classification.results import Classification
from zsindex.errors import BadQuery
from zsindex.records import NONE, Progress
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.lab.tags import TagReport


class Tags:
    """Tags that zsindex writes, and remembers having written."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def write(
        self,
        answers: Classification,
        *,
        min_score: float = 0.0,
        top: int | None = None,
        groups: Mapping[str, str | Sequence[str]] | None = None,
        root: str = "zsindex",
        style: str = "photo.jpg.xmp",
        apply: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TagReport:
        """Write answers as tags to XMP sidecars next to the photos, which are not touched; see docs/methods.md.

        Every prediction becomes a tag; with ``top=1``, only the best answer. Tags that an earlier call wrote to these
        sidecars for the same label set, and that are no longer answers, are removed; what others wrote never is.

        Args:
            answers: what `classify` returned. Label sets are the same if they have the same name, or no name.
            min_score: no tags for predictions below it. Photos that `Classification.filtered` dropped keep their tags.
            top: predictions of each photo that become tags, at most. Default: all.
            groups: names, with the labels below them in the hierarchy.
            root: top of the hierarchy; several levels as ``A|B``; empty for none.
            style: name of the sidecar of photo.jpg: ``photo.jpg.xmp`` or ``photo.xmp``.
            apply: write. Otherwise the report says what would be written.
            progress, should_stop: as for `sync`; called between sidecars.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull: with `apply`.
        """
        from zsindex.lab import tags

        _require_style(style)
        min_score = bounds.real("min_score", min_score)
        if top is not None:
            top = bounds.whole("top", top, least=0)
        group_of = {label: group for group, labels in (groups or {}).items() for label in several(labels)}
        of_label = [
            {} if label == NONE else tags.tags_of(label, group=group_of.get(label), root=root)
            for label in answers.labels
        ]

        def wanted() -> Iterator[tuple[str, Mapping[str, list[str]]]]:
            for block in answers.blocks():
                for photo, (path, count) in enumerate(zip(block.paths, block.counts, strict=True)):
                    good = [
                        of_label[block.labels[rank][photo]]
                        for rank in range(count if top is None else min(count, top))
                        if block.scores[rank][photo] >= min_score
                    ]
                    yield path, tags.merged(good)

        with self._writing_tags(apply=apply):
            return tags.write(
                self._session.storage.labels,
                wanted(),
                label_set=answers.run.label_set or "",
                style=style,
                shared=self._shared(answers.paths, style),
                apply=apply,
                progress=_reporting(progress, len(answers)),
                should_stop=should_stop or (lambda: False),
            )

    def put(
        self,
        name: str,
        keyword: str,
        paths: Sequence[str],
        *,
        style: str = "photo.jpg.xmp",
        apply: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TagReport:
        """Have some photos, and no others, carry a keyword in their sidecars. `retract` removes it again.

        Args:
            name: what the keyword is written for; takes the place of a label set's name, also for `retract`.
            keyword: another one that was written for the same is removed.
            paths: of the photos, absolute.
            style, apply, progress, should_stop: as for `write`.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull: with `apply`.
        """
        from zsindex.lab import tags

        _require_style(style)
        theirs = {tags.sidecar_of(path, style) for path in paths}
        others = [path for path in self._session.storage.labels.sidecar_paths() if path not in theirs]
        of_photo = tags.tags_of(keyword, root="")
        return self._one_tag(name, of_photo, paths, others, style, progress, should_stop, apply=apply)

    def add(
        self,
        keyword: str,
        paths: Sequence[str],
        *,
        style: str = "photo.jpg.xmp",
        apply: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TagReport:
        """Give some photos a keyword in their sidecars, beside whatever they have. `retract` with the label set
        ``keyword:KEYWORD`` takes it away.

        Args:
            keyword: hierarchies as ``Animals|Owl``.
            paths: of the photos, absolute.
            style, apply, progress, should_stop: as for `write`.

        Raises:
            BadQuery: the keyword is empty, or has characters that no line can have.
            LibraryReadOnly, LibraryBusy, StorageFull: with `apply`.
        """
        from zsindex.lab import tags

        _require_style(style)
        keyword = "|".join(filter(None, (level.strip() for level in normalise(keyword).split("|"))))
        if not keyword or not keyword.isprintable():
            raise BadQuery("a keyword needs letters, and no line breaks")
        root, _, leaf = keyword.rpartition("|")
        of_photo = tags.tags_of(leaf, root=root)
        return self._one_tag(f"keyword:{keyword}", of_photo, paths, (), style, progress, should_stop, apply=apply)

    def _one_tag(
        self,
        label_set: str,
        of_photo: Mapping[str, list[str]],
        paths: Sequence[str],
        others: Sequence[str],
        style: str,
        progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        *,
        apply: bool,
    ) -> TagReport:
        """Write the same into the sidecars of some photos; from those in `others` what was written is removed."""
        from zsindex.lab import tags

        with self._writing_tags(apply=apply):
            return tags.write(
                self._session.storage.labels,
                ((path, of_photo) for path in paths),
                label_set=label_set,
                style=style,
                shared=self._shared(paths, style),
                others=others,
                apply=apply,
                progress=_reporting(progress, len(paths) + len(others)),
                should_stop=should_stop or (lambda: False),
            )

    def retract(
        self,
        paths: PathsLike | None = None,
        *,
        label_set: str | None = None,
        apply: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TagReport:
        """Remove what `write` wrote, and nothing else; see docs/methods.md.

        A sidecar that no one else has changed since is restored byte for byte; one that was created for the tags is
        deleted.

        Args:
            paths: only sidecars at or below these files and folders. Default: all.
            label_set: only tags of this label set; "" for those of labels without a name. Default: all.
            apply: do it. Otherwise the report says what would be done.
            progress, should_stop: as for `write`.

        Raises:
            LibraryReadOnly, LibraryBusy, StorageFull: with `apply`.
        """
        from zsindex.lab import tags

        found = self._session.storage.labels.sidecar_paths()
        if paths is not None:
            below = absolute_all(paths)
            found = [path for path in found if any(is_under(path, place) for place in below)]
        with self._writing_tags(apply=apply):
            return tags.retract(
                self._session.storage.labels,
                found,
                label_set=label_set,
                apply=apply,
                progress=_reporting(progress, len(found)),
                should_stop=should_stop or (lambda: False),
            )

    def _shared(self, paths: Sequence[str], style: str) -> Callable[[str], str | None]:
        """Says of a photo why it cannot have its own sidecar, if so."""
        from zsindex.lab import tags

        owners = Counter(
            tags.sidecar_of(path, style) for path in {*self._session.storage.reads.files(None).paths, *paths}
        )

        def shared(path: str) -> str | None:
            others = owners[tags.sidecar_of(path, style)] - 1
            if not others:
                return None
            have = "other photo has" if others == 1 else "other photos have"
            return f"{others} {have} the same sidecar; use the style photo.jpg.xmp"

        return shared

    @contextmanager
    def _writing_tags(self, *, apply: bool) -> Iterator[None]:
        """One process at a time: each relies on a sidecar staying as it was when read."""
        if not apply:
            yield
            return
        self._session.storage.require_writable("write tags")
        with self._session.storage.sync_lock.hold("write tags"):
            yield


def _require_style(style: str) -> None:
    from zsindex.lab import tags

    if style not in tags.STYLES:
        raise ValueError(f"style must be one of {', '.join(tags.STYLES)}, not {style!r}")


def _reporting(progress: Callable[[Progress], None] | None, total: int) -> Callable[[int], None]:
    return (lambda done: None) if progress is None else (lambda done: progress(Progress("tag", done, total)))
