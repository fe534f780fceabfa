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

        The answers do not change, only how confident they are. The gain is measured on photos held out of the fit.
        Copies of a photo count once.

        Args:
            labels, truth, template, names, others_are_none, paths: as for `evaluate`.
            activation: ``softmax`` or ``sigmoid``. Default: as the model was trained.
            truncate: truncate prompts that are too long for the model, instead of refusing them.
            folds: number of folds of the cross-validation.
            seed: of the folds, and of the choice of photos if there are more than needed.
            save: keep it with the model, replacing any earlier one; `classify` with ``temperature="fitted"`` uses it.

        Raises:
            BadTruth: the truth cannot be read, or is too little to fit to.
            LibraryReadOnly: the temperature cannot be saved.
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
        """The model's fitted temperature, and what it was fitted to; None if there is none."""
        return self._session.storage.labels.temperature(self._session.model.row().id)

    def remove(self) -> None:
        """Remove the model's fitted temperature.

        Raises:
            NoTemperature, LibraryReadOnly
        """
        if not self._session.storage.labels.remove_temperature(self._session.model.row().id):
            raise NoTemperature(str(self._session.info.spec))

    def resolve(self, asked: float | str) -> float:
        """The temperature that an option stands for.

        Raises:
            NoTemperature: it is ``fitted``, and none was fitted.
            ValueError: it is out of bounds.
        """
        if asked == FITTED:
            found = self.get()
            if found is None:
                raise NoTemperature(str(self._session.info.spec))
            return found[0]
        return bounds.temperature(asked)
