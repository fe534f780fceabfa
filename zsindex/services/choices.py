"""`library.choices`: which model, which words are best, found out in few looks of a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.several import several
from zsindex.classification import prompts
from zsindex.classification.options import Question, QuestionOptions, WhichLabels
from zsindex.errors import BadAnswer, BadQuestion
from zsindex.lab import surveys
from zsindex.lab.surveys import SEVERAL, UNSURE, Look
from zsindex.records import NONE, IdArray, LabelSet
from zsindex.services.corrections import Corrections
from zsindex.services.lab import set_name, template_name
from zsindex.services.labels import Labels, saved_name
from zsindex.services.questions import Questions
from zsindex.services.surveys import Surveys, say_answered_elsewhere
from zsindex.session.session import Session
from zsindex.storage.rows import CorrectionEntry

if TYPE_CHECKING:
    from zsindex.classification.results import Classification
    from zsindex.lab.choose import Race, Standing

KIND = "choose"
# Options of a question that do not change which answer is best, or that make it other than one label.
_REFUSED = ("label_set", "thresholds", "multi_label", "smooth", "one_per", "record", "unknown", "top", "sync")


class Choices:
    """Finds the best of several models, label sets or template sets by asking about the photos on which they differ."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(
        self,
        labels: WhichLabels,
        *,
        against: WhichLabels | Sequence[WhichLabels] = (),
        models: str | Sequence[str] = (),
        templates: str | Sequence[str | Sequence[str]] = (),
        names: Mapping[str, str] | None = None,
        confidence: float = 0.95,
        within: float = 0.01,
        seed: int = 0,
        **options: Unpack[QuestionOptions],
    ) -> Choice:
        """Begin a choice between all label sets with all template sets and all models given, or go on with it.

        All photos are answered by each candidate, from the cache. A look is asked for only where that tells something:
        at photos, drawn by chance, on which a candidate that may be the best differs from the one that seems to be.
        Photos that come later do not change a choice that has begun.

        Args:
            labels: the labels to answer with; a string is the name of a saved label set.
            against: more label sets.
            models: models that the library holds vectors of. Default: the library's.
            templates: template sets, each used instead of the label sets' own prompts.
            names: names of answers, mapped to the names that they are asked about by: answers with the same name are
                the same answer.
            confidence: with which the best shall be known, in [0.5, 1).
            within: candidates whose accuracies are no further apart than this are equally good, in [0, 1).
            seed: of the draws.
            options: as for `Library.classify`: `paths`, `where`, `activation`, `temperature`, `truncate`.

        Raises:
            BadQuestion: fewer than two candidates, or an option that gives photos more or less than one answer.
            NoVectors, NoLabels, UnknownLabelSet, UnknownModel, BadTemplate, PromptTooLong, LibraryReadOnly
            ValueError: a number is out of bounds.
        """
        if refused := [name for name in _REFUSED if options.get(name)]:
            raise BadQuestion([refused[0]], "a choice is about the best answer to each photo")
        if options.get("with_corrections"):
            raise BadQuestion(["with_corrections"], "what is answered here would change the candidates")
        if not 0.5 <= confidence < 1:
            raise ValueError(f"confidence must be at least 0.5 and below 1, not {confidence}")
        if not 0 <= within < 1:
            raise ValueError(f"within must be at least 0 and below 1, not {within}")
        seed = bounds.whole("seed", seed, least=0)
        renamed = {prompts.normalise(old): prompts.normalise(new) for old, new in (names or {}).items()}
        sets = [labels, *([against] if isinstance(against, Mapping) else several(against))]
        found = self._candidates(sets, several(models), several(templates), options)
        if len(found) < 2:
            raise BadQuestion(["models"], "there is nothing to choose between: name two or more candidates")
        question = {
            "candidates": list(found),
            "runs": [_asked(answer) for answer, _ in found.values()],
            "names": renamed,
            "confidence": confidence,
            "within": within,
            "seed": seed,
        }
        answers = {name: _labels_of(answer) for name, (answer, _) in found.items()}
        shared = sorted(set.intersection(*(set(labels_of) for labels_of in answers.values())))
        survey = Surveys(self._session).begin(KIND, question, image_ids=np.array(shared, dtype=np.int64))
        about = Surveys(self._session).image_ids(survey.id)
        kept = set(shared)
        images = np.array([i for i in (shared if about is None else about.tolist()) if i in kept], dtype=np.int64)
        said = [[renamed.get(of[image], of[image]) for of in answers.values()] for image in images.tolist()]
        saved = {saved_name(chosen) for _, chosen in found.values() if chosen.name is not None}
        is_saved = len(saved) == 1 and all(chosen.name for _, chosen in found.values()) and not renamed
        paths: dict[int, str] = {}
        for answer, _ in found.values():
            for path, image in zip(answer.paths, answer.image_ids.tolist(), strict=True):
                paths.setdefault(image, path)
        return Choice(
            self._session,
            survey_id=survey.id,
            names=list(found),
            images=images,
            paths=[paths[image] for image in images.tolist()],
            said=said,
            corrected=next(iter(saved)) if is_saved else None,
            confidence=confidence,
            within=within,
            seed=seed,
        )

    def _candidates(
        self,
        sets: Sequence[WhichLabels],
        models: Sequence[str],
        templates: Sequence[str | Sequence[str]],
        options: QuestionOptions,
    ) -> dict[str, tuple[Classification, LabelSet]]:
        """The answers of each candidate, by its name."""
        found: dict[str, tuple[Classification, LabelSet]] = {}
        with ExitStack() as opened:
            for model in models or (None,):
                session = self._session if model is None else opened.enter_context(self._session.with_model(model))
                for number, which in enumerate(sets):
                    for template in templates or (options.get("template"),):
                        chosen = Labels(session).resolve(which, template)
                        parts = [
                            model if len(models) > 1 else None,
                            set_name(chosen.name, chosen.version, number) if len(sets) > 1 else None,
                            template_name(template) if len(templates) > 1 else None,
                        ]
                        name = _another(", ".join(filter(None, parts)) or "labels", found)
                        asked = Question(chosen, **(options | {"template": None, "top": 1, "sync": False}))
                        found[name] = Questions(session).classify(asked), chosen
        return found


class Choice:
    """A choice that goes on: asks about photo after photo until the best is known. Implements what
    `zsindex.lab.surveys.ask` asks by; every answer is kept when it is given.

    Attributes:
        survey_id: of the survey that keeps the looks.
        candidates: names.
    """

    def __init__(
        self,
        session: Session,
        *,
        survey_id: int,
        names: Sequence[str],
        images: IdArray,
        paths: Sequence[str],
        said: Sequence[Sequence[str]],
        corrected: str | None,
        confidence: float,
        within: float,
        seed: int,
    ) -> None:
        """For `Choices.begin`."""
        self._surveys = Surveys(session)
        self._corrections = Corrections(session)
        self._session = session
        self.survey_id = survey_id
        self.candidates = tuple(names)
        self._paths = paths
        self._said = said
        self._at = {image: n for n, image in enumerate(images.tolist())}
        self._corrected = corrected
        number: dict[str, int] = {}
        codes = [[number.setdefault(answer, len(number)) for answer in row] for row in said]
        self._codes = np.array(codes, dtype=np.int64).reshape(-1, len(names))
        self._how = confidence, within, seed
        self._shown: Look | None = None
        self._race = self._replayed()

    def _replayed(self) -> Race:
        """The race with all answers so far. Looks at photos that are gone are passed over."""
        from zsindex.lab.choose import Race

        confidence, within, seed = self._how
        race = Race(self._codes, confidence=confidence, within=within, seed=seed)
        self._taken = 0
        for look in self._surveys.looks(self.survey_id):
            photo = self._at.get(-1 if look.image_id is None else look.image_id)
            self._taken += look.answer is not None
            if look.answer is not None and photo is not None:
                race.take(photo, self._right(photo, look.answer))
        return race

    def _right(self, photo: int, answer: str) -> list[bool] | None:
        if answer == UNSURE:
            return None
        right = set(answer.split(SEVERAL))
        return [said in right for said in self._said[photo]]

    def waiting(self) -> Look | None:
        """The photo that waits for an answer, if one is drawn already; nothing is written."""
        return next((look for look in self._surveys.looks(self.survey_id) if look.answer is None), None)

    def look(self) -> Look | None:
        """The photo that waits for an answer, the same one until it has one; None when the best is known, or no photo
        is left that could tell more.
        """
        self.refresh()
        waiting = self.waiting()
        if waiting is None and (photo := self._race.next()) is not None:
            self._surveys.draw(self.survey_id, [(self._paths[photo], {"answers": self.answers_to(photo)})])
            waiting = self.waiting()
        self._shown = waiting
        return waiting

    def refresh(self) -> None:
        """Take up what others answered meanwhile."""
        if sum(look.answer is not None for look in self._surveys.looks(self.survey_id)) != self._taken:
            self._race = self._replayed()

    def answers_to(self, photo: int) -> list[str]:
        """The different answers of the candidates to a photo, those that most give first."""
        said = self._said[photo]
        return sorted(dict.fromkeys(said), key=lambda answer: (-said.count(answer), said.index(answer)))

    def answer(self, answer: str) -> None:
        """What the photo that waits shows: the answers that are right, with ``|`` between several; anything else, such
        as `zsindex.records.NONE`, if none is; ``unsure`` if the person cannot tell.

        Where all candidates have one saved label set, that is kept as its corrections, too.

        Raises:
            BadAnswer: it is empty.
        """
        look = self._shown or self.look()  # what was seen, whatever others have answered since
        if look is not None and not self._keep(look, answer):
            say_answered_elsewhere(look)

    def answer_first(self, number: int, answer: str) -> bool:
        """Answer the photo that waits if it is still look `number`; False if somebody else was faster.

        Args:
            answer: as `answer` takes it.

        Raises:
            BadAnswer, UnknownSurvey, LibraryReadOnly
        """
        look = self.look()
        return look is not None and look.number == number and self._keep(look, answer)

    def _keep(self, look: Look, answer: str) -> bool:
        """Keep an answer, unless somebody has answered meanwhile."""
        names = [prompts.normalise(name) for name in answer.split(SEVERAL)]
        if not any(names):
            raise BadAnswer(answer, [*look.drawn["answers"], NONE, UNSURE])
        said = SEVERAL.join(name for name in names if name)
        self._shown = None
        if not self._surveys.answer(self.survey_id, look.number, said, waiting=True):
            return False
        self._taken += 1
        if self._corrected is not None and (entries := self._entries(look, said)):
            self._session.storage.labels.add_corrections(self._corrected, entries)
        photo = self._at.get(-1 if look.image_id is None else look.image_id)
        if photo is not None:  # else it is gone, and tells nothing any more
            self._race.take(photo, self._right(photo, said))
        return True

    def undo(self) -> bool:
        """Take the last answer back, so that its photo waits again; False if there is none."""
        answered = [look for look in self._surveys.looks(self.survey_id) if look.answer is not None]
        if not answered:
            return False
        last = max(answered, key=lambda look: look.number)
        entries = self._entries(last, last.answer or "")
        self._surveys.undo(self.survey_id)
        self._shown = None
        labels = self._session.storage.labels
        if self._corrected is not None and entries and labels.corrections(self._corrected)[-len(entries) :] == entries:
            labels.undo_corrections(self._corrected)
        self._race = self._replayed()
        return True

    def _entries(self, look: Look, answer: str) -> list[CorrectionEntry]:
        """What an answer says about the photo by the label set: its label, or that it shows none of the answers."""
        digest, answers = bytes.fromhex(look.digest), look.drawn["answers"]
        right = [one for one in answers if one in answer.split(SEVERAL)]
        if answer == UNSURE or len(right) > 1:
            return []
        if right:
            return [CorrectionEntry(digest, right[0], False)]
        return [CorrectionEntry(digest, one, True) for one in answers if one != NONE]

    def standing(self) -> Standing:
        """What is known so far."""
        return self._race.standing(self.candidates)

    def ask(self, answer: Callable[[Look], str | None]) -> Standing:
        """Ask until the best is known.

        Args:
            answer: given a photo, whose ``drawn["answers"]`` are the answers to judge, gives what `Choice.answer`
                takes; `zsindex.lab.surveys.UNDO` takes the last answer back, None stops.
        """
        surveys.ask(self, answer)
        return self.standing()


def _labels_of(answer: Classification) -> dict[int, str]:
    """The best answer to each image."""
    best = answer.ranked[0][:, 0].tolist()
    return {image: answer.labels[label] for image, label in zip(answer.image_ids.tolist(), best, strict=True)}


def _asked(answer: Classification) -> dict[str, Any]:
    """What a candidate is, whatever photos there are."""
    run = answer.run
    return {"model": run.fingerprint, "labels": run.labels_sha256, "options": dict(run.options)}


def _another(name: str, taken: Mapping[str, object]) -> str:
    n = 2
    while name in taken:
        name, n = f"{name} ({n})", n + 1
    return name
