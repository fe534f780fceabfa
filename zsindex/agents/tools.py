"""What agents can ask of a library, and, where they may, change in it. Each method is a tool; its docstring is what the
agent reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from mcp.types import CallToolResult
from pydantic import Field, JsonValue

from zsindex.agents import answers
from zsindex.agents.pictures import Pictures
from zsindex.arguments.filters import KINDS
from zsindex.classification.by import By
from zsindex.classification.options import AUTO, Question
from zsindex.classification.prompts import normalise
from zsindex.errors import BadQuery
from zsindex.library import Library
from zsindex.services.search import Search
from zsindex.services.serving import Serving
from zsindex.where import Where

# More would fill an agent's context with little.
MOST_PHOTOS, MOST_PICTURES, MOST_LABELS = 200, 12, 1000
PICTURE_SIZE = 256

Texts: TypeAlias = Annotated[list[str], Field(max_length=MOST_LABELS)]
Top: TypeAlias = Annotated[int, Field(ge=1, le=MOST_PHOTOS, description="Photos to return, at most.")]
ImageIdsHere: TypeAlias = Annotated[list[int], Field(min_length=1, max_length=MOST_PHOTOS)]
PicturesWanted: TypeAlias = Annotated[
    int, Field(ge=0, le=MOST_PICTURES, description="How many of the first photos to return pictures of.")
]
FolderHere: TypeAlias = Annotated[
    str | None, Field(description="Only photos in this folder or below it; a path of the library.")
]
WhereHere: TypeAlias = Annotated[
    dict[str, JsonValue] | None,
    Field(
        description="Only photos that fit: names of filters with their values, all of which must fit, and"
        ' {"and": […]}, {"or": […]}, {"not": {…}}. Filters: '
        + " ".join(f"{name} ({kind.metavar}): {kind.help}" for name, kind in KINDS.items()),
        examples=[{"since": "2019-06", "not": {"camera": "iPhone"}}],
    ),
]
# Not None: the SDK reads texts for what is not only a text as JSON, and `{}` is a template.
TemplateHere: TypeAlias = Annotated[
    str, Field(description='How a label becomes a prompt: "a photo of a {}". Empty: as usual.')
]
LabelsHere: TypeAlias = Annotated[
    Texts | None, Field(description='What photos may show, such as ["owl", "fox"]; or give label_set.')
]
LabelSetHere: TypeAlias = Annotated[str | None, Field(description="The name of a saved label set, or NAME@VERSION.")]


class Tools:
    """The tools over one library."""

    def __init__(self, library: Library, *, places: bool) -> None:
        """Args:
        places: tell where photos were taken.
        """
        self._library = library
        self._places = places
        self._search = Search(library.session)
        self._serving = Serving(library.session)
        self._pictures = Pictures(library)

    @property
    def reading(self) -> list[Callable[..., CallToolResult]]:
        """Tools that change nothing."""
        return [
            self.library,
            self.search_photos,
            self.similar_photos,
            self.classify_photos,
            self.score_photos,
            self.count_photos,
            self.show_photo,
            self.label_sets,
        ]

    @property
    def writing(self) -> list[Callable[..., CallToolResult]]:
        """Tools that change the library, but no photo."""
        return [self.save_label_set, self.correct_photos, self.save_album, self.sync_library]

    # --- reading ------------------------------------------------------------------------------------------------------

    def library(self) -> Annotated[CallToolResult, answers.LibraryTold]:
        """What there is: how many photos, in which folders, saved label sets and albums. Ask this first."""
        opened = self._library
        status = opened.status()
        return answers.told(
            answers.LibraryTold(
                place=str(opened.place),
                photos=status.files,
                images=status.images,
                folders=status.roots,
                model=str(opened.spec),
                may_write=not opened.read_only,
                label_sets=status.label_sets,
                albums=[
                    answers.AlbumTold(
                        name=album.name,
                        query=album.query,
                        where=None if album.where is None else album.where.to_json(),
                    )
                    for album in opened.albums.list()
                ],
            )
        )

    def search_photos(
        self,
        query: Annotated[str, Field(min_length=1, description="What to look for, in words: “an owl at night”.")],
        top: Top = 10,
        without: Annotated[Texts, Field(description="Leave out photos that show one of these.")] = [],  # noqa: B006
        folder: FolderHere = None,
        where: WhereHere = None,
        all_photos: Annotated[
            bool, Field(description="Also photos that hardly fit. Otherwise it stops where photos no longer fit.")
        ] = False,
        pictures: PicturesWanted = 4,
    ) -> Annotated[CallToolResult, answers.Found]:
        """Find photos by words. Where nothing fits, the nearest are returned, and the note says so."""
        hits = self._library.search(
            _text(query),
            top=top,
            without=[_words(text) for text in without],
            paths=folder,
            where=Where.of(where),
            cut=None if all_photos else AUTO,
        )
        found = [
            answers.FoundPhoto(
                image_id=hit.image_id, path=hit.path, score=hit.score, fits=hit.fits, copies=list(hit.copies)
            )
            for hit in hits
        ]
        return self._found(found, hits.note, pictures)

    def similar_photos(
        self,
        image_id: Annotated[int, Field(description="Of a photo, as other tools return it.")],
        top: Top = 10,
        folder: FolderHere = None,
        where: WhereHere = None,
        pictures: PicturesWanted = 4,
    ) -> Annotated[CallToolResult, answers.Found]:
        """Find photos most like one, without that one and its copies."""
        [vector] = self._library.vectors.of([image_id])
        page = self._search.page(vector, top=top, paths=folder, where=Where.of(where), leave_out=image_id)
        found = [
            answers.FoundPhoto(
                image_id=hit.image_id, path=hit.path, score=hit.score, fits=None, copies=list(hit.copies)
            )
            for hit in page.hits
        ]
        return self._found(found, "", pictures)

    def classify_photos(
        self,
        labels: LabelsHere = None,
        label_set: LabelSetHere = None,
        template: TemplateHere = "",
        folder: FolderHere = None,
        where: WhereHere = None,
        examples: Annotated[int, Field(ge=0, le=20, description="Photos to name of each answer, best first.")] = 3,
        pictures: Annotated[
            int, Field(ge=0, le=MOST_PICTURES, description="Of how many answers to return a picture of the best photo.")
        ] = 0,
    ) -> Annotated[CallToolResult, answers.Classified]:
        """Answer every photo with the label that fits best, and count. A photo that shows none of the labels gets one
        all the same; scores say how sure an answer is among these labels.
        """
        answered = self._library.classify(
            self._question(labels, label_set, template=template, folder=folder, where=where, top=1)
        )
        by_answer = answered.by_answer
        counted: list[answers.AnswerCount] = []
        for number, label in enumerate(answered.labels):
            photos = by_answer.of(number)
            best = [
                answers.Example(
                    image_id=int(answered.image_ids[photo]),
                    path=answered.paths[photo],
                    score=float(by_answer.scores[photo]),
                )
                for photo in photos[:examples].tolist()
            ]
            counted.append(answers.AnswerCount(label=label, photos=len(photos), best=best))
        counted.sort(key=lambda answer: -answer["photos"])
        shown = [answer["best"][0]["image_id"] for answer in counted if answer["best"]][:pictures]
        made, unseen = self._pictures.of(shown, PICTURE_SIZE)
        said = answers.Classified(
            photos=len(answered), answers=counted, run=answered.run.key, pictures=list(made), unseen=unseen
        )
        return answers.told(said, list(made.values()))

    def score_photos(
        self, image_ids: ImageIdsHere, labels: LabelsHere = None, label_set: LabelSetHere = None
    ) -> Annotated[CallToolResult, answers.Scored]:
        """The probabilities of labels for single photos, the best five of each."""
        question = self._question(labels, label_set, top=5)
        predictions = self._serving.classify_vectors(self._library.vectors.of(image_ids), question)
        scored = {
            str(image_id): [(prediction.label, prediction.score) for prediction in best]
            for image_id, best in zip(image_ids, predictions, strict=True)
        }
        return answers.told(answers.Scored(photos=scored))

    def count_photos(
        self,
        by: Annotated[By, Field(description="What to count by. Times are those of the place.")],
        labels: LabelsHere = None,
        label_set: LabelSetHere = None,
        folder: FolderHere = None,
        where: WhereHere = None,
    ) -> Annotated[CallToolResult, answers.Counted]:
        """Count photos by month, camera, folder and so on; and, if labels or a label set are given, by the label that
        fits best.
        """
        if labels is None and label_set is None:
            counts = self._library.photos.counts(by, paths=folder, where=Where.of(where))
        else:
            counts = self._library.classify(self._question(labels, label_set, folder=folder, where=where, top=1)).by(by)
        return answers.told(answers.Counted(by=str(by), rows=[row for row in counts.to_dicts() if row["photos"]]))

    def show_photo(
        self,
        image_id: Annotated[int, Field(description="Of a photo, as other tools return it.")],
        size: Annotated[Literal[256, 512, 1024], Field(description="Pixels of the picture's longer side.")] = 512,
    ) -> Annotated[CallToolResult, answers.PhotoTold]:
        """Look at a photo: a picture of it, its files, when and with what it was taken, rating, keywords, caption."""
        photo = self._library.photos.get(image_id)
        facts = {path: found.to_dict() for path, found in self._library.photos.facts_of(image_id).items()}
        if not self._places:
            for said in facts.values():
                del said["place"]
        made, unseen = self._pictures.of([image_id], size)
        told = answers.PhotoTold(
            image_id=image_id,
            width=photo.width,
            height=photo.height,
            format=photo.format,
            paths=list(photo.paths),
            facts=facts,
            pictures=list(made),
            unseen=unseen,
        )
        return answers.told(told, list(made.values()))

    def label_sets(self) -> Annotated[CallToolResult, answers.LabelSets]:
        """Saved label sets with their labels."""
        found = [
            answers.LabelSetTold(
                name=labels.name or "",
                version=labels.version or 1,
                labels=list(labels.labels),
                groups={group: list(members) for group, members in labels.groups},
                negatives=list(labels.negatives),
                templates=list(labels.templates),
            )
            for labels in self._library.labels.list()
        ]
        return answers.told(answers.LabelSets(label_sets=found))

    # --- writing ------------------------------------------------------------------------------------------------------

    def save_label_set(
        self,
        name: str,
        labels: Annotated[Texts, Field(min_length=1)],
        template: TemplateHere = "",
    ) -> Annotated[CallToolResult, answers.LabelSetTold]:
        """Save labels under a name; earlier versions of that name are kept."""
        saved = self._library.labels.save(name, labels, template=template or None)
        return answers.told(
            answers.LabelSetTold(
                name=name,
                version=saved.version or 1,
                labels=list(saved.labels),
                groups={},
                negatives=[],
                templates=list(saved.templates),
            )
        )

    def correct_photos(
        self,
        label_set: Annotated[str, Field(description="The name of a saved label set.")],
        image_ids: ImageIdsHere,
        label: Annotated[str, Field(description="One of its labels, or “(none of these)”.")],
        shows_it: Annotated[bool, Field(description="False: the photos do not show it.")] = True,
    ) -> Annotated[CallToolResult, answers.Corrected]:
        """Record what photos show, or do not show, as a person said. All are recorded, or none."""
        paths = [self._a_path_of(image_id) for image_id in image_ids]
        self._library.corrections.add_all(label_set, [(path, label, not shows_it) for path in paths])
        return answers.told(answers.Corrected(label_set=label_set, photos=len(paths)))

    def save_album(
        self,
        name: str,
        query: Annotated[str | None, Field(description="What to look for, in words.")] = None,
        where: WhereHere = None,
        top: Annotated[int | None, Field(ge=1, description="Photos in it, at most.")] = None,
    ) -> Annotated[CallToolResult, answers.AlbumTold]:
        """Save a search, filters, or both under a name, in place of an album of that name."""
        words = None if query is None else _text(query)
        filters = Where.of(where)
        if top is None:
            album = self._library.albums.save(name, words, where=filters, cut=None if words is None else AUTO)
        else:
            album = self._library.albums.save(name, words, where=filters, top=top)
        return answers.told(
            answers.AlbumTold(
                name=album.name, query=album.query, where=None if album.where is None else album.where.to_json()
            )
        )

    def sync_library(self) -> Annotated[CallToolResult, answers.Synced]:
        """Bring the library up to date with its folders: encode photos that are new. May take long."""
        report = self._library.sync()
        return answers.told(
            answers.Synced(
                scanned=report.scanned,
                added=report.added,
                changed=report.changed,
                moved=report.moved,
                missing=report.missing,
                skipped=report.skipped,
                encoded=report.encoded,
            )
        )

    # --- what they share ----------------------------------------------------------------------------------------------

    def _question(
        self,
        labels: Sequence[str] | None,
        label_set: str | None,
        *,
        top: int,
        template: str = "",
        folder: str | None = None,
        where: Mapping[str, JsonValue] | None = None,
    ) -> Question:
        return Question(
            labels,
            label_set=label_set,
            template=template or None,
            top=top,
            paths=folder,
            where=Where.of(where),
            sync=False,  # a folder that is not in the library is refused, even where adding is allowed
        )

    def _found(self, photos: list[answers.FoundPhoto], note: str, pictures: int) -> CallToolResult:
        made, unseen = self._pictures.of([photo["image_id"] for photo in photos[:pictures]], PICTURE_SIZE)
        said = answers.Found(photos=photos, note=note, pictures=list(made), unseen=unseen)
        return answers.told(said, list(made.values()))

    def _a_path_of(self, image_id: int) -> str:
        paths = self._library.photos.get(image_id).paths
        if not paths:
            raise BadQuery(f"no file of the library shows image {image_id} anymore")
        return paths[0]


def _words(text: str) -> str:
    """A text that is one: not the path of a file, which a search would read."""
    words = normalise(text)
    if not words:
        raise BadQuery("the query is empty")
    return words


def _text(query: str) -> str:
    return f"text:{_words(query)}"
