"""`library.reviews`: finding all photos that show a label, with a promise of how many of them were found."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.arguments.several import several
from zsindex.classification import prompts
from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.errors import BadQuery, UnknownLabel, UnknownSurvey
from zsindex.records import Activation, FloatArray, IdArray, LabelSet
from zsindex.services.filters import Filters
from zsindex.services.labels import Labels, saved_name
from zsindex.services.surveys import Surveys, say_answered_elsewhere
from zsindex.session.session import Session
from zsindex.where import Where, WhereLike

if TYPE_CHECKING:
    from zsindex.lab.review import Certificate, ReviewState
    from zsindex.lab.surveys import Look

KIND = "review"
# So many photos are drawn at a time, as long as it is clear which come next.
_AT_A_TIME = 16
# What may be asked for.
LEAST, MOST = 0.5, 0.999


class Reviews:
    """Reviews: looks at photos, those first that most likely show a label, until enough of those that show it were
    seen. Each is a survey, which keeps its looks and is gone on with.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._surveys = Surveys(session)

    def begin(
        self,
        label: str,
        *,
        recall: float = 0.95,
        confidence: float = 0.95,
        label_set: str | None = None,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        truncate: bool = False,
        seed: int = 0,
    ) -> ReviewInProgress:
        """Begin a review, or go on with the one of the same question that has not ended.

            review = library.reviews.begin("owl", recall=0.95)
            while (look := review.look()) is not None:
                review.answer("yes" if shows_an_owl(look.path) else "no")
            print(review.certificate().statement)

        Args:
            label: what photos are to show.
            recall: the share of the photos that show it that must have been seen, from 0.5 to 0.999.
            confidence: how often the promise must hold, from 0.5 to 0.999.
            label_set: a saved one that has the label: photos are ranked by how much better it fits than the others, and
                answers are kept as corrections of the set, too.
            template: one or several, or names of template sets; they replace the set's own prompts.
            paths: files and folders to restrict to. Default: all photos.
            where: only photos that fit, see `zsindex.where`.
            truncate: truncate prompts that are too long for the model, instead of refusing them.
            seed: another one draws other photos by chance.

        Raises:
            UnknownLabelSet, UnknownLabel, EmptyLabel, BadTemplate, PromptTooLong, NotInLibrary, NoVectors, BadFilter
            NoFacts, LibraryReadOnly
            ValueError: a number is out of range.
        """
        recall = bounds.real("recall", recall, least=LEAST, most=MOST)
        confidence = bounds.real("confidence", confidence, least=LEAST, most=MOST)
        seed = bounds.whole("seed", seed)
        self._session.storage.require_writable("begin a survey")
        labels, label = self._labels(label, label_set, template)
        where = Where.of(where)
        texts = dict(zip(labels.concepts, labels.concept_prompts, strict=True))
        question: dict[str, Any] = {
            "label": label,
            "label_set": None if label_set is None else f"{saved_name(labels)}@{labels.version}",
            "template": None if template is None else several(template),
            "prompts": [text for concept in self._concepts(labels, label) for text in texts[concept]],
            "paths": None if paths is None else sorted(absolute_all(paths)),
            "where": None if where is None else where.to_json(),
            "model": self._session.info.fingerprint,
            "truncate": truncate,
            "recall": recall,
            "confidence": confidence,
            "seed": seed,
        }
        view = self._view(question)
        words = self._words(view, labels, label)
        survey = self._surveys.begin(
            KIND, question, corrections=None if label_set is None else (saved_name(labels), label)
        )
        return ReviewInProgress(self._session, survey.id, view, words)

    def open(self, survey_id: int) -> ReviewInProgress:
        """A review by the number of its survey, also one that has ended.

        Raises:
            UnknownSurvey: there is none, or it is not of a review.
            BadQuery: it was begun with another model.
        """
        survey = self._surveys.get(survey_id)
        if survey.kind != KIND:
            raise UnknownSurvey(survey_id, known=[one.id for one in self._surveys.list(KIND) if one.ended_at is None])
        asked = dict(survey.question)
        if asked["model"] != self._session.info.fingerprint:
            raise BadQuery(f"review {survey_id} was begun with another model; open the library with that one")
        labels, label = self._labels(asked["label"], asked["label_set"], asked["template"])
        view = self._view(asked)
        return ReviewInProgress(self._session, survey_id, view, self._words(view, labels, label))

    def ask(
        self,
        label: str,
        answer: Callable[[Look], str | bool | None],
        *,
        recall: float = 0.95,
        confidence: float = 0.95,
        label_set: str | None = None,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        truncate: bool = False,
        seed: int = 0,
    ) -> Certificate:
        """Begin a review or go on with it, and ask until what is asked for can be promised.

            library.reviews.ask("owl", lambda look: input(f"{look.path}: y/n? "), recall=0.9)

        Args:
            answer: is called with one photo after another; returns True or False, or an answer in words as
                `zsindex.lab.surveys.ask` takes it. None stops; every answer so far is kept.
            label, recall, confidence, label_set, template, paths, where, truncate, seed: as for `begin`.

        Returns:
            What may be said now.

        Raises:
            BadAnswer
        """
        from zsindex.lab.surveys import NO, YES, ask

        def said(look: Look) -> str | None:
            given = answer(look)
            return (YES if given else NO) if isinstance(given, bool) else given

        review = self.begin(
            label,
            recall=recall,
            confidence=confidence,
            label_set=label_set,
            template=template,
            paths=paths,
            where=where,
            truncate=truncate,
            seed=seed,
        )
        ask(review, said)
        return review.certificate()

    def _labels(self, label: str, label_set: str | None, template: str | Sequence[str] | None) -> tuple[LabelSet, str]:
        """The label set, and the name in it."""
        from zsindex.lab.corrections import concepts_named

        label = prompts.normalise(label)
        if label_set is None:
            return Labels(self._session).resolve([label], template), label
        labels = Labels(self._session).resolve(label_set, template)
        named = concepts_named(labels)
        if not named.get(label):
            raise UnknownLabel(label, known=[name for name, concepts in named.items() if concepts])
        return labels, label

    def _concepts(self, labels: LabelSet, label: str) -> builtins.list[str]:
        from zsindex.lab.corrections import concepts_named

        return [labels.concepts[number] for number in concepts_named(labels)[label]]

    def _view(self, question: Mapping[str, Any]) -> View:
        where = None if question["where"] is None else Where.from_json(question["where"])
        return Filters(self._session).view_of(question["paths"], where, truncate=question["truncate"])

    def _words(self, view: View, labels: LabelSet, label: str) -> FloatArray:
        """How much better the label fits than all others, of each image, in the order of `view.unique`."""
        head = Head.of(labels, view.text_vectors(labels), view.info)
        own = np.isin(labels.concepts, self._concepts(labels, label))
        scores = np.empty(len(view.unique[0]), dtype=np.float32)
        for where, block in view.blocks():
            logits = head.logits(block)
            best = logits[:, own].max(axis=1)
            if head.activation is Activation.SOFTMAX and not own.all():
                others = logits[:, ~own]
                top = others.max(axis=1)
                best = best - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
            scores[where] = best
        return scores


class ReviewInProgress:
    """A review of a library: which photo comes next, answers, and what may be said.

    Photos that come into the library while it is held are not in it; those that go stay.

    Attributes:
        survey_id: the number of its survey.
        snapshot: of the library's photos, as in `View`.
    """

    def __init__(self, session: Session, survey_id: int, view: View, words: FloatArray) -> None:
        """A review with the answers that its survey has.

        Args:
            words: float32, how well the words fit the images of `view.unique`.
        """
        from zsindex.lab.review import DiscriminantRanking, Review, by_chance

        self.survey_id = survey_id
        self.snapshot = view.snapshot
        self._surveys = Surveys(session)
        self._survey = self._surveys.get(survey_id)
        self._model = view.info
        question = self._survey.question
        rows = view.unique[0]
        self._image_ids: IdArray = view.vectors.ids[rows]
        first = np.unique(view.rows, return_index=True)[1]
        self._paths = [view.paths[number] for number in first.tolist()]
        digests = session.digests_of(self._paths, "only photos that it holds can be looked at")
        chance = by_chance([digests[path] for path in self._paths], f"{question['seed']} {question['label']}")
        ranking = DiscriminantRanking.of(view.vectors, rows, words)
        self._number = {image_id: number for number, image_id in enumerate(self._image_ids.tolist())}
        self._review = Review(ranking, chance, recall=question["recall"], confidence=question["confidence"])
        self._looks: dict[int, Look] = {}
        self._learn(self._surveys.looks(survey_id))

    @property
    def label(self) -> str:
        """What photos are to show."""
        return str(self._survey.question["label"])

    def look(self) -> Look | None:
        """The photo that waits for an answer. None: what was asked for can be promised.

        Raises:
            UnknownSurvey, LibraryReadOnly
        """
        while (upcoming := self._review.upcoming_ones(_AT_A_TIME)) is not None:
            why, some = upcoming
            if some[0] in self._looks:
                return self._looks[some[0]]
            self.refresh()  # somebody else may have drawn and answered meanwhile
            if self._review.upcoming_ones(_AT_A_TIME) != upcoming or some[0] in self._looks:
                continue
            after = self._review.standing().looks
            drawn = [(self._paths[one], {"by": why, "after": after}) for one in some if one not in self._looks]
            self._learn(self._surveys.draw(self.survey_id, drawn))
            if some[0] not in self._looks and self._surveys.get(self.survey_id).ended_at is not None:
                raise UnknownSurvey(self.survey_id, known=())
        return None

    def waiting(self) -> Look | None:
        """The photo that waits for an answer, if one is drawn already; nothing is written."""
        upcoming = self._review.upcoming()
        return None if upcoming is None else self._looks.get(upcoming[0])

    def answer(self, answer: str) -> None:
        """Answer the photo that waits: yes, no, or unsure. It is kept at once, by the label set's corrections, too.

        Raises:
            BadAnswer, UnknownSurvey, LibraryReadOnly
        """
        from zsindex.lab.surveys import read_answer

        said = read_answer(answer)
        look = self.look()
        if look is not None:
            kept = self._surveys.answer(self.survey_id, look.number, said, waiting=True)
            if kept:
                self._say(self._number_of(look), said)
            else:
                self.refresh()
                say_answered_elsewhere(look)

    def answer_first(self, number: int, answer: str) -> bool:
        """Answer the photo that waits if it is still look `number`; False if somebody else was faster.

        Raises:
            BadAnswer, UnknownSurvey, LibraryReadOnly
        """
        from zsindex.lab.surveys import read_answer

        said, waiting = read_answer(answer), self.look()
        if waiting is None or waiting.number != number:
            return False
        kept = self._surveys.answer(self.survey_id, number, said, waiting=True)
        self.refresh()
        return kept

    def undo(self) -> bool:
        """Take the last answer back, so that its photo waits again; False if there is none.

        Raises:
            UnknownSurvey, LibraryReadOnly
        """
        if not self._surveys.undo(self.survey_id):
            return False
        self.refresh()
        return True

    def refresh(self) -> None:
        """Take up what others answered meanwhile."""
        self._learn(self._surveys.looks(self.survey_id))

    def standing(self) -> ReviewState:
        """How far it is."""
        return self._review.standing()

    def certificate(self) -> Certificate:
        """What may be said now, with all that it rests on."""
        from zsindex.lab.review import Certificate, statement

        now = self._review.standing()
        return Certificate(
            statement(self.label, now),
            self.survey_id,
            self._survey.question,
            str(self._model.spec),
            now,
            self._survey.begun_at,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def found(self) -> builtins.list[str]:
        """The photos that show it: a path of each, in the order of paths. Its copies are not listed."""
        return sorted(self._paths[number] for number in self._review.found())

    def end(self) -> Certificate:
        """End it: its looks and its certificate stay in the survey; the same question begins a new review.

        Raises:
            UnknownSurvey, LibraryReadOnly
        """
        said = self.certificate()
        self._surveys.end(self.survey_id, said.to_dict())
        return said

    # --- what the survey has ------------------------------------------------------------------------------------------

    def _learn(self, looks: Sequence[Look]) -> None:
        """Take up the survey's looks, as they are now."""
        before, self._looks = self._looks, {}
        for look in looks:
            number = None if look.image_id is None else self._number.get(look.image_id)
            # Two that draw at once may draw the same photo: an answer to either is one.
            if number is not None and (number not in self._looks or look.answer is not None):
                self._looks[number] = look
        for number, look in self._looks.items():
            if look.answer is None:
                self._review.take_back(number)
            elif number not in before or before[number].answer != look.answer:
                self._say(number, look.answer)
        for number in before.keys() - self._looks.keys():
            self._review.take_back(number)

    def _say(self, number: int, answer: str) -> None:
        from zsindex.lab.surveys import UNSURE, YES

        self._review.answer(number, None if answer == UNSURE else answer == YES)

    def _number_of(self, look: Look) -> int:
        assert look.image_id is not None
        return self._number[look.image_id]
