"""What callers pass as the truth: folders, keywords, a table, a mapping, or corrections."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from zsindex.arguments.paths import PathsLike, absolute_all, is_under
from zsindex.config import absolute
from zsindex.records import LabelSet
from zsindex.services.filters import Filters
from zsindex.services.labels import Labels
from zsindex.session.session import Session
from zsindex.where import Where

if TYPE_CHECKING:
    from zsindex.lab.truth import Truth

# ``folders``, ``keywords``, ``corrections`` or ``corrections:LABEL_SET``; a CSV file; a mapping of paths to labels; or
# a `Truth`.
TruthLike: TypeAlias = "str | os.PathLike[str] | Mapping[str, str | Sequence[str]] | Truth"
FOLDERS, KEYWORDS, CORRECTIONS = "folders", "keywords", "corrections"


class Truths:
    """Looks up what photos show."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)

    def of(self, truth: TruthLike, labels: LabelSet, paths: PathsLike | None, where: Where | None = None) -> Truth:
        """What photos at or below `paths` show, of those that fit.

        Raises:
            BadTruth: it cannot be read.
            UnknownLabelSet: corrections of a label set that does not exist.
            NoFacts, UnknownLabel: of `where`.
        """
        from zsindex.arguments import text_files
        from zsindex.errors import BadTruth
        from zsindex.lab import truth as truths

        if isinstance(truth, truths.Truth):
            found = truth
        elif isinstance(truth, Mapping):
            found = truths.from_mapping({absolute(path): said for path, said in truth.items()})
        elif truth == FOLDERS:
            found = truths.from_folders(self._session.storage.reads.files(None).paths)
        elif truth == KEYWORDS:
            found = self._keywords(labels)
        elif isinstance(truth, str) and truth.partition(":")[0] == CORRECTIONS:
            name = truth.partition(":")[2] or labels.name
            if not name:
                raise BadTruth(CORRECTIONS, "they belong to a label set; name it: corrections:NAME")
            found = self._corrected(name)
        elif os.path.isdir(file := absolute(truth)):
            found = truths.from_folders(self._session.storage.reads.files([file]).paths)
        else:
            try:
                text = text_files.read(Path(file))
            except text_files.UnreadableText as error:
                raise BadTruth(str(truth), str(error)) from error
            found = truths.from_csv(text, source=str(truth), folder=os.path.dirname(file))
        if where is not None:
            fitting = set(Filters(self._session).files(where, None).all())
            found = truths.Truth({path: said for path, said in found.labels.items() if path in fitting}, found.source)
        if paths is None:
            return found
        places = absolute_all(paths)
        return truths.Truth(
            {path: said for path, said in found.labels.items() if any(is_under(path, place) for place in places)},
            found.source,
        )

    def _keywords(self, labels: LabelSet) -> Truth:
        """What people called photos: each keyword, and of a hierarchy each of its levels, as a photo of an owl also
        shows a bird; spelt as the labels are, where they differ only in case.

        Raises:
            BadTruth: no photo has any.
        """
        from zsindex.errors import BadTruth
        from zsindex.lab import truth as truths
        from zsindex.lab.keywords import names_of
        from zsindex.services.keywords import people_gave

        spelt = {name.casefold(): name for name in (*labels.concepts, *labels.answers)}
        by_path = {
            path: [spelt.get(name.casefold(), name) for keyword in keywords for name in names_of(keyword)]
            for path, keywords in people_gave(self._session).items()
        }
        if not by_path:
            raise BadTruth(KEYWORDS, "no photo has keywords that a person gave; zsindex sync reads them")
        return truths.from_mapping(by_path, KEYWORDS)

    def _corrected(self, name: str) -> Truth:
        from zsindex.lab import truth as truths
        from zsindex.lab.corrections import fold

        self._labels.get(name)  # raises if there is none, and names the existing ones
        name = name if self._session.storage.reads.label_set_versions(name) else name.rpartition("@")[0]
        labels = fold(self._session.storage.labels.corrections(name)).labels
        ids = self._session.storage.photos.images_of(labels)
        shown = {image: labels[digest] for digest, image in ids.items()}
        files = self._session.storage.reads.files_of(shown)
        by_path = {path: shown[image] for path, image in zip(files.paths, files.image_ids.tolist(), strict=True)}
        # Photos that are gone are named by their digest.
        there = set(files.image_ids.tolist())
        gone = {f"sha256:{digest.hex()}": label for digest, label in labels.items() if ids.get(digest, -1) not in there}
        return truths.from_mapping(by_path | gone, f"corrections of {name}")
