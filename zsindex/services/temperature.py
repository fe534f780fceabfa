"""`library.temperature`: how confident scores are, fitted to photos with known content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zsindex.arguments import bounds
from zsindex.arguments.paths import PathsLike, absolute_all
from zsindex.classification.options import FITTED, WhichLabels
from zsindex.errors import NoTemperature
from zsindex.services.labels import Labels
from zsindex.services.truths import FOLDERS, TruthLike, Truths
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.lab.temperature import TemperatureFit
    from zsindex.records import Activation


class Temperature:
    """The temperature that a model's logits are divided by."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)
        self._truths = Truths(session)

    def fit(
        self,
        labels: WhichLabels,
        truth: TruthLike = FOLDERS,
        *,
        template: str | Sequence[str] | None = None,
        names: Mapping[str, str | Sequence[str]] | None = None,
        others_are_none: bool = False,
        paths: PathsLike | None = None,
        activation: Activation | str | None = None,
        truncate: bool = False,
        folds: int = 5,
        seed: int = 0,
        save: bool = True,
    ) -> TemperatureFit:
        """Fit the model's temperature to photos with known content, by negative log-likelihood (Guo et al. 2017).

        Which answers are right does not change, only how confident they are. What the temperature brings is measured
        on photos that it was not fitted to. Copies of a photo count once.

        Args:
            labels, truth, template, names, others_are_none, paths: as for `evaluate`.
            activation: ``softmax`` or ``sigmoid``. Default: as the model was trained.
            truncate: cut prompts that the model cannot read in full, rather than refuse them.
            folds: parts that are left out in turn.
            seed: of the parts; and of the choice of photos, where there are more than are needed.
            save: keep it with the model, in place of an earlier one: `classify` with ``temperature="fitted"`` uses it.

        Raises:
            BadTruth: it cannot be read, or is too little to fit to.
            LibraryReadOnly: it cannot be saved.
        """
        from zsindex.lab import gather, temperature

        if save:
            self._session.storage.require_writable("keep a temperature")
        chosen = self._labels.resolve(labels, template)
        paths = None if paths is None else absolute_all(paths)
        view = self._session.view_of(paths, truncate=truncate)
        sample = gather.sample(
            view,
            chosen,
            self._truths.of(truth, chosen, paths),
            names=names or {},
            others_are_none=others_are_none,
            at_most=max(1000, temperature.MAX_CELLS // len(chosen.concepts)),
            seed=seed,
        )
        fitted = temperature.fit(
            sample.logits(activation),
            sample.right,
            activation=sample.activation(activation),
            answer_of=sample.answer_of,
            own=1 / view.info.logit_scale,
            folds=folds,
            seed=seed,
            source=sample.source,
        )
        if save:
            about = {"label_set": chosen.name, "labels": list(chosen.labels), "truth": sample.source}
            fit = {**fitted.to_dict(), **about}
            self._session.model.store(
                lambda model_id: self._session.storage.labels.save_temperature(model_id, fitted.temperature, fit)
            )
        return fitted

    def get(self) -> tuple[float, dict[str, Any]] | None:
        """The temperature that was fitted for the model, and what it was fitted to; None if there is none."""
        return self._session.storage.labels.temperature(self._session.model.row().id)

    def remove(self) -> None:
        """Forget the temperature that was fitted for the model.

        Raises:
            NoTemperature, LibraryReadOnly
        """
        if not self._session.storage.labels.remove_temperature(self._session.model.row().id):
            raise NoTemperature(str(self._session.info.spec))

    def resolve(self, asked: float | str) -> float:
        """The number that an option stands for.

        Raises:
            NoTemperature: it is ``fitted``, and none was.
            ValueError: it is out of bounds.
        """
        if asked == FITTED:
            found = self.get()
            if found is None:
                raise NoTemperature(str(self._session.info.spec))
            return found[0]
        return bounds.temperature(asked)
