"""`library.ci`: whether label sets keep the bounds of a committed file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from zsindex.arguments import text_files
from zsindex.config import absolute
from zsindex.errors import BadCiFile, UnknownModel
from zsindex.lab import ci_file
from zsindex.lab.ci_file import CiFile
from zsindex.records import Progress
from zsindex.services import ci_files, ci_measured
from zsindex.services.ci_plan import Planned, Planning
from zsindex.services.ingest import Ingest
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.lab.ci_report import CiReport


class Ci:
    """Holds label sets to bounds, as `zsindex ci` does."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._planning = Planning(session)

    def run(
        self,
        file: str | os.PathLike[str] = ci_file.NAME,
        *,
        git: str | None = None,
        accept: bool = False,
        progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> CiReport:
        """Bring the library up to date with the photos that a file names, and check the label sets that it names.

        Nothing but the photos and their vectors is taken from the library, unless the file names label sets that are
        saved there: a new one gives the same report. docs/ci.md describes the file.

        Args:
            file: the file; paths in it are relative to its folder.
            git: a revision, used instead of the one of each baseline of kind ``git``.
            accept: write the tables of answers that the file has as baselines, from the answers now.
            progress, should_stop: as for `Library.sync`.

        Raises:
            BadCiFile: the file, or one that it names, cannot be used; nothing was encoded.
            ModelError, PromptTooLong, LibraryBusy, LibraryReadOnly, NoVectors, StorageFull
        """
        from zsindex.lab import ci
        from zsindex.lab.ci_report import CiReport

        place, source = absolute(file), os.fspath(file)
        folder = os.path.dirname(place)
        read = ci_files.reader(folder)
        try:
            text = read(place)
        except text_files.UnreadableText as error:
            raise BadCiFile(source, "", None, str(error)) from error
        if text is None:
            raise BadCiFile(source, "", None, "there is no such file; docs/ci.md shows how to write one")
        asked = ci_file.parse(text, source=source)
        photos = self._planning.photos(asked, folder)
        planned = [
            one
            for checked in asked.sets
            for one in self._planning.planned(asked, checked, place, read, git=git, may_lack=accept)
        ]
        with self._models(asked, planned) as sessions:
            for session in sessions.values():
                report = Ingest(session).sync_if_needed(photos, progress, should_stop)
                if report.interrupted:
                    return CiReport(source, 0, (), (), (), interrupted=True)
            skipped = tuple(
                (ci_files.shown(skip.path, folder), skip.detail or str(skip.reason))
                for skip in self._session.storage.reads.skipped(photos)
            )
            checks, accepted = [], []
            for one in planned:
                check, answer = ci_measured.measure(asked, one, sessions, photos, folder)
                if accept and (baseline := one.checked.baseline) is not None and baseline.kind == "answers":
                    ci_files.keep_answers(answer, absolute(os.path.join(folder, baseline.value)))
                    accepted.append(baseline.value)
                    check = ci.with_accepted(check)
                checks.append(check)
        return CiReport(
            source=source,
            photos=max((check.photos for check in checks), default=0),
            skipped=skipped,
            bounds=ci.skipped_kept(asked.max_skipped, skipped),
            checks=tuple(checks),
            accepted=tuple(accepted),
        )

    @contextmanager
    def _models(self, asked: CiFile, planned: Sequence[Planned]) -> Iterator[dict[str | None, Session]]:
        """A session for each model."""
        names = dict.fromkeys(one.model for one in planned)
        names |= dict.fromkeys(one.before.model for one in planned if one.before is not None and one.before.labels)
        with ExitStack() as opened:
            sessions = {}
            for name in names:
                try:
                    is_own = name is None
                    sessions[name] = self._session if is_own else opened.enter_context(self._session.beside(name or ""))
                except UnknownModel as error:
                    place = next((one.checked.place for one in planned if one.model == name), ())
                    raise asked.problem((*place, "models"), str(error)) from error
            yield sessions
