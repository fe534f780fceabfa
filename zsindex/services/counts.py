"""`library.counts`: how many photos show something, with an interval, from a few that a person looks at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypedDict, Unpack

import numpy as np

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.classification.by import By, grouped
from zsindex.classification.prompts import normalise
from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.errors import BadAnswer, BadQuery, UnknownLabel, UnknownSurvey
from zsindex.lab import counting
from zsindex.lab.corrections import fold
from zsindex.lab.counting import Floats, GroupCount, Looks, PhotoCount
from zsindex.lab.surveys import NO, UNSURE, YES, Look, Survey, ask, read_answer
from zsindex.records import IdArray, LabelSet
from zsindex.services.filters import Filters
from zsindex.services.labels import Labels
from zsindex.services.surveys import Surveys, say_answered_elsewhere
from zsindex.session.session import Session
from zsindex.where import Where, WhereLike

KIND = "count"
# Looks unless it is said how many, or how near one wants to come.
LOOKS = 80
CONFIDENCE = 0.95
# Probabilities of a label set as log-odds, which float32 has no more digits for.
_LEAST = 1e-7


class When(TypedDict, total=False):
    """When a count ends, and how sure it is.

    Attributes:
        looks: answers at most. Default: 80, or with `within` as many as it takes.
        within: end as soon as the interval is at most this far from the estimate on either side (half its width): a
            share of the estimate below 1, a number of photos from 1 on.
        confidence: of the interval.
    """

    looks: int | None
    within: float | None
    confidence: float


def _origin(view: View, labels: LabelSet) -> str:
    """What the scores come from: with another model or other words a count is another one."""
    words = json.dumps([labels.concepts, labels.concept_prompts, labels.groups])
    return hashlib.sha256(f"{view.info.fingerprint}{words}".encode()).hexdigest()[:16]


class Counts:
    """Counts of photos from looks at a few. Each is a survey, which goes on where it stopped."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(
        self,
        label: str,
        *,
        label_set: str | None = None,
        template: str | Sequence[str] | None = None,
        paths: PathsLike | None = None,
        where: WhereLike | None = None,
        seed: int = 0,
        again: bool = False,
        **when: Unpack[When],
    ) -> Count:
        """Begin to count, or go on with the count of the same question.

        Args:
            label: what photos are to show. Without a label set it is a label of its own, compared with nothing.
            label_set: a saved one that has the label: its scores say which photos are looked at, and answers are kept
                as its corrections.
            template: used instead of the label set's own, or of the default.
            paths, where: which photos are counted. Default: all.
            seed: of the draws.
            again: end the count of the same question first. What was answered is known to the new one.
            when: looks, within, confidence: when it ends.

        Raises:
            NotInLibrary, NoVectors, NoFacts, UnknownLabelSet, UnknownLabel, BadTemplate, LibraryReadOnly
        """
        self._session.storage.require_writable("begin a survey")
        where = Where.of(where)
        question: dict[str, Any] = {
            "label": normalise(label),
            "label_set": label_set,
            "template": [template] if isinstance(template, str) else None if template is None else list(template),
            "paths": None if paths is None else absolute_all(paths),
            "where": None if where is None else where.to_json(),
            "seed": bounds.whole("seed", seed, least=0),
        }
        chosen, view, labels = self._asked(question)
        question["scores"] = _origin(view, labels)
        surveys = Surveys(self._session)
        corrections = None if label_set is None else (label_set, chosen)
        if again:
            for one in surveys.list(KIND):
                if one.ended_at is None and question.items() <= one.question.items():
                    surveys.end(one.id)
        known = self._known(question, without=None)
        ids = np.unique(view.image_ids)
        at = self._session.storage.photos.images_of(known)
        population = np.setdiff1d(ids, np.array(list(at.values()), dtype=np.int64))
        survey = surveys.begin(KIND, question, image_ids=population, corrections=corrections)
        return self._count(survey, view, labels, when)

    def open(self, survey: int, **when: Unpack[When]) -> Count:
        """Go on with a count by the number of its survey.

        Raises:
            UnknownSurvey: there is none, or it is no count.
            BadQuery: it was begun with another model, or with other words of its label set.
            NoVectors, UnknownLabelSet, UnknownLabel
        """
        found = Surveys(self._session).get(survey)
        if found.kind != KIND:
            raise UnknownSurvey(survey, known=[one.id for one in Surveys(self._session).list(KIND)])
        _, view, labels = self._asked(found.question)
        if found.question["scores"] != _origin(view, labels):
            raise BadQuery(
                f"count {survey} was begun with another model, or with other words of its label set; begin it anew: "
                "what was answered is known"
            )
        return self._count(found, view, labels, when)

    def run(self, label: str, answer: Callable[[Look], str | bool | None], **options: Any) -> PhotoCount:
        """Count, asking a function about each photo.

            library.counts.run("owl", lambda look: is_owl(look.path), within=0.1)

        Args:
            answer: given a photo, says whether it shows it: True or ``yes``, False or ``no``, ``unsure``, ``undo``;
                None stops.
            options: as for `begin`.
        """
        count = self.begin(label, **options)

        def asked(look: Look) -> str | None:
            said = answer(look)
            return (YES if said else NO) if isinstance(said, (bool, np.bool_)) else said

        ask(count, asked)
        return count.estimate()

    def _count(self, survey: Survey, view: View, labels: LabelSet, when: When) -> Count:
        looks, within = when.get("looks"), when.get("within")
        most = None if looks is None else bounds.whole("looks", looks, least=1)
        if most is None and within is None:
            most = LOOKS
        return Count(
            self._session,
            survey,
            view,
            labels,
            known=self._known(survey.question, without=survey.id),
            looks=most,
            within=None if within is None else bounds.real("within", within, above=0),
            confidence=bounds.real("confidence", when.get("confidence", CONFIDENCE), least=0.5, most=0.9999),
        )

    def _asked(self, question: Mapping[str, Any]) -> tuple[str, View, LabelSet]:
        """The label as the label set spells it, the photos, and the labels."""
        chosen, name = question["label"], question["label_set"]
        labels = Labels(self._session).resolve([chosen] if name is None else name, question["template"])
        if chosen not in labels.answers:
            raise UnknownLabel(chosen, known=labels.answers)
        where = None if question["where"] is None else Where.from_json(question["where"])
        return chosen, Filters(self._session).view_of(question["paths"], where), labels

    def _known(self, question: Mapping[str, Any], *, without: int | None) -> dict[bytes, bool]:
        """Images of which somebody has said whether they show it: in corrections, or in another survey."""
        labels = self._session.storage.labels
        found: dict[bytes, bool] = {}
        for row in labels.surveys():
            asked = row.question
            same = (asked.get("label"), asked.get("label_set")) == (question["label"], question["label_set"])
            if row.id != without and same:
                found |= {o.digest: o.answer == YES for o in labels.looks(row.id) if o.answer in (YES, NO)}
        if question["label_set"] is not None:
            for digest, said in fold(labels.corrections(question["label_set"])).by_digest.items():
                if said.label == question["label"] or question["label"] in said.not_labels:
                    found[digest] = said.label == question["label"]
        return found


class Count:
    """A count that goes on. It asks about photo after photo, as `zsindex.lab.surveys.Asking` says."""

    def __init__(
        self,
        session: Session,
        survey: Survey,
        view: View,
        labels: LabelSet,
        *,
        known: Mapping[bytes, bool],
        looks: int | None,
        within: float | None,
        confidence: float,
    ) -> None:
        self.survey = survey
        self.label = str(survey.question["label"])
        self._session = session
        self._surveys = Surveys(session)
        self._view = view
        self._labels = labels
        self._most_looks = looks
        self._within = within
        self._alpha = 1 - confidence
        self._looks = self._surveys.looks(survey.id)
        self._estimated: tuple[list[Look], PhotoCount] | None = None
        rows = view.unique[0]
        self._ids: IdArray = view.vectors.ids[rows]
        population = self._surveys.image_ids(survey.id)
        assert population is not None
        self._population = population
        self._in_population = np.isin(self._ids, population)
        at = session.storage.photos.images_of(known)
        self._answer_of = {image_id: known[digest] for digest, image_id in at.items()}
        outside = [i for i in self._ids[~self._in_population].tolist() if i in self._answer_of]
        self._outside = len(outside), sum(self._answer_of[i] for i in outside)

    # --- asking -------------------------------------------------------------------------------------------------------

    def look(self) -> Look | None:
        """The photo that waits for an answer; None when it has ended, by `looks`, by `within`, or for want of photos.

        Raises:
            LibraryReadOnly
        """
        while not self._ended():
            waiting = self.waiting() or self._draw()
            if waiting is None:
                return None
            if waiting.image_id is not None and waiting.image_id in self._place:
                said = self._answer_of.get(waiting.image_id)
                if said is None:
                    return waiting
                self._keep(waiting, YES if said else NO)  # somebody has answered it elsewhere meanwhile
            else:
                self._keep(waiting, UNSURE)  # it has gone before anybody looked
        return None

    def waiting(self) -> Look | None:
        """The photo that waits for an answer already, if there is one; none is drawn."""
        return next((look for look in self._looks if look.answer is None), None)

    def answer(self, answer: str) -> None:
        """Whether the photo that waits shows it: ``yes``, ``no``, or ``unsure``, also as `read_answer` reads them.

        Raises:
            BadAnswer: or no photo waits.
            LibraryReadOnly
        """
        waiting = self.look()
        if waiting is None:
            raise BadAnswer(answer, ["nothing: the count has ended"])
        if not self._keep(waiting, read_answer(answer)):
            say_answered_elsewhere(waiting)

    def answer_first(self, number: int, answer: str) -> bool:
        """Answer the photo that waits if it is still look `number`; False if somebody else was faster.

        Raises:
            BadAnswer, UnknownSurvey, LibraryReadOnly
        """
        said, waiting = read_answer(answer), self.look()
        if waiting is None or waiting.number != number:
            return False
        return self._keep(waiting, said)

    def undo(self) -> bool:
        """Take the last answer back; False if there is none.

        Raises:
            LibraryReadOnly
        """
        undone = self._surveys.undo(self.survey.id)
        self._looks = self._surveys.looks(self.survey.id)
        if undone:
            waiting = self.waiting()
            if waiting is not None and waiting.image_id is not None:
                self._answer_of.pop(waiting.image_id, None)
        return undone

    def _keep(self, look: Look, answer: str) -> bool:
        """Keep an answer, unless somebody has answered meanwhile; take up what others said."""
        kept = self._surveys.answer(self.survey.id, look.number, answer, waiting=True)
        self._looks = self._surveys.looks(self.survey.id)
        return kept

    def _ended(self) -> bool:
        found = self.estimate()
        return found.reached or (self._most_looks is not None and found.looks >= self._most_looks)

    # --- drawing ------------------------------------------------------------------------------------------------------

    @cached_property
    def _scale(self) -> tuple[float, float]:
        mean, spread = counting.scale_of(self._scores[self._in_population])
        return float(mean[0]), float(spread[0])

    @cached_property
    def _z(self) -> Floats:
        """Standardised scores of the photos that there are: float64 (u,)."""
        return counting.standardised(self._scores, *self._scale)

    @cached_property
    def _scores(self) -> Floats:
        view, labels = self._view, self._labels
        texts = view.text_vectors(labels)
        found = np.empty(len(self._ids))
        number = labels.answers.index(self.label)
        if len(labels.answers) == 1:
            for where, block in view.blocks():
                found[where] = block @ texts[0]
            return found
        head = Head.of(labels, texts, view.info)
        for where, block in view.blocks():
            p = np.clip(head(block)[:, number].astype(np.float64), _LEAST, 1 - _LEAST)
            found[where] = np.log(p) - np.log1p(-p)
        return found

    @cached_property
    def _place(self) -> dict[int, int]:
        """Where each photo of the population stands among those that there are, by its id."""
        places = np.flatnonzero(self._in_population)
        return dict(zip(self._ids[places].tolist(), places.tolist(), strict=True))

    def _draw(self) -> Look | None:
        """Draw a photo; None if all were."""
        is_open = self._in_population.copy()
        is_open[[self._place[one.image_id] for one in self._looks if one.image_id in self._place]] = False
        if not is_open.any():
            return None
        looks = self._answers()
        beta = self._fit(looks)
        number = len(self._looks) + 1
        random = np.random.default_rng([int(self.survey.question["seed"]), self.survey.id, number])
        chosen, drawn = counting.draw(counting.predicted(beta, self._z), is_open, np.asarray(random.random()))
        evidence = looks.evidence()
        middle = (evidence.least + evidence.most) / 2
        variance = counting.expected_variance(drawn.variance, evidence.variance, middle)
        about = float(counting.mean_of(evidence.variance, middle)) if len(looks) else float(drawn.rest)
        bet = counting.bet(variance, self._width(about), self._most_looks, self._alpha)
        how = {**replace(drawn, variance=variance).to_dict(), "bet": float(bet), "gone": self._gone()}
        how |= {"beta": beta.tolist(), "mean": self._scale[0], "spread": self._scale[1]}
        image_id = int(self._ids[chosen])
        path = self._view.paths[int(np.argmax(self._view.image_ids == image_id))]
        self._looks = self._surveys.draw(self.survey.id, [(path, how)])
        return self.waiting()

    def _fit(self, looks: Looks) -> Floats:
        """What the answers say of the scores."""
        sure = (looks.place >= 0) & ~looks.unsure
        return counting.fit(self._z[looks.place[sure]], looks.yes[sure].astype(np.float64))

    def _width(self, estimate: float) -> float:
        """How far from an estimate the interval may reach; 0 if nothing is wanted."""
        wanted = self._within or 0.0
        return wanted if wanted >= 1 else wanted * max(estimate, 1.0)

    def _gone(self) -> int:
        """Photos that went before anybody looked at them."""
        return len(self._lost.difference(look.image_id for look in self._looks))

    @cached_property
    def _lost(self) -> frozenset[int]:
        """Ids of the population that are not there."""
        return frozenset(np.setdiff1d(self._population, self._ids[self._in_population]).tolist())

    # --- what is known ------------------------------------------------------------------------------------------------

    def _answers(self) -> Looks:
        """The answers as numbers."""
        answered = [look for look in self._looks if look.answer is not None]

        def of(name: str) -> Floats:
            return np.array([look.drawn[name] for look in answered], dtype=np.float64)

        return Looks(
            place=np.array([self._place.get(look.image_id or -1, -1) for look in answered], dtype=np.int64),
            yes=np.array([look.answer == YES for look in answered], dtype=np.bool_),
            unsure=np.array([look.answer == UNSURE for look in answered], dtype=np.bool_),
            beta=of("beta").reshape(-1, 2),
            **{
                name: of(name)
                for name in (
                    *("mean", "spread", "chance", "predicted", "rest", "low", "high", "variance", "bet", "gone"),
                )
            },
        )

    def estimate(self) -> PhotoCount:
        """What the answers so far tell."""
        if self._estimated is None or self._estimated[0] is not self._looks:
            self._estimated = self._looks, self._estimate()
        return self._estimated[1]

    def _estimate(self) -> PhotoCount:
        looks = self._answers()
        yes, n = int(looks.yes.sum()), len(self._population)
        no = len(looks) - yes - int(looks.unsure.sum())
        known, known_yes = self._outside
        evidence = looks.evidence()
        low, high = (int(one) for one in counting.interval(evidence, yes, n - no, self._alpha))
        if len(looks):
            best = float(counting.mean_of(evidence.variance, (evidence.least + evidence.most) / 2))
        else:
            best = float(counting.predicted(self._fit(looks), self._z)[self._in_population].sum()) if n else 0.0
        best = min(max(best, low), high) + known_yes
        reached = self._within is not None and (high - low) / 2 <= self._width(best)
        return PhotoCount(
            survey=self.survey.id,
            label=self.label,
            estimate=best,
            low=low + known_yes,
            high=high + known_yes,
            confidence=1 - self._alpha,
            reached=reached,
            looks=len(looks),
            yes=yes,
            no=no,
            known=known,
            known_yes=known_yes,
            photos=n + known,
            files=self._files,
            gone=self._gone(),
            came=int((~self._in_population).sum()) - known,
        )

    @cached_property
    def _files(self) -> int:
        counted = self._in_population | np.isin(self._ids, np.array([*self._answer_of], dtype=np.int64))
        return int(np.isin(self._view.image_ids, self._ids[counted]).sum())

    # --- by groups ----------------------------------------------------------------------------------------------------

    def by(self, by: str) -> list[GroupCount]:
        """The same for the photos of each year, month, folder and so on; a photo is in the group of its first file.

        Each group's interval holds by itself, from the same answers: with few of them in a group it is wide. Its
        estimate is moved from what the scores expect towards what its own answers say, see
        `zsindex.lab.counting.shrunk`.

        Args:
            by: ``year``, ``month``, ``day``, ``hour``, ``camera``, ``folder`` or ``keyword``.
        """
        photo, group, keys = grouped(self._first_paths, By(by), self._session.facts.table())
        looks, population = self._answers(), self._in_population
        known = np.array(
            [
                not there and i in self._answer_of
                for i, there in zip(self._ids.tolist(), population.tolist(), strict=True)
            ],
            dtype=np.bool_,
        )
        yes = np.array([self._answer_of.get(i, False) for i in self._ids.tolist()], dtype=np.bool_) & known
        looked, said_yes, said_no = (np.zeros(len(self._ids), dtype=np.bool_) for _ in range(3))
        there = looks.place >= 0
        looked[looks.place[there]] = True
        said_yes[looks.place[there & looks.yes]] = True
        said_no[looks.place[there & ~looks.yes & ~looks.unsure]] = True

        def total(of: counting.Bools | Floats) -> Floats:
            return np.bincount(group, of[photo].astype(np.float64), len(keys)).astype(np.float64)

        n = self._most_looks or max(LOOKS, len(looks))
        evidence = looks.of_groups(self._scores, population, photo, group, len(keys), n, self._alpha)
        low, high = counting.interval(
            evidence, total(said_yes).astype(np.int64), total(population & ~said_no).astype(np.int64), self._alpha
        )
        p = counting.predicted(self._fit(looks), self._z) if len(self._population) else np.zeros(len(self._ids))
        best = total(said_yes) + total(p * (population & ~looked))
        if len(looks):
            direct = counting.mean_of(evidence.variance, (evidence.least + evidence.most) / 2)
            best = best + counting.shrunk(direct - best, 1 / (1 / evidence.variance).sum(axis=1))
        more, photos = total(yes), total(population | known)
        columns = (photos, total(known | looked), np.clip(best, low, high) + more, low + more, high + more)
        return [
            GroupCount(key, int(n), int(n_known), estimate, int(least), int(most))
            for key, n, n_known, estimate, least, most in zip(keys, *(one.tolist() for one in columns), strict=True)
            if n
        ]

    @cached_property
    def _first_paths(self) -> list[str]:
        """A file of each photo."""
        first: dict[int, str] = {}
        for path, image_id in zip(self._view.paths, self._view.image_ids.tolist(), strict=True):
            first.setdefault(image_id, path)
        return [first[image_id] for image_id in self._ids.tolist()]
