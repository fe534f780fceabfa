"""`Library` fits how confident its scores are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zsindex.arguments import bounds
from zsindex.errors import NoTemperature
from zsindex.facade.core import WhichLabels, absolute_all
from zsindex.facade.truths import FOLDERS, TruthLike, Truths

if TYPE_CHECKING:
    from zsindex.classification.view import View
    from zsindex.lab.temperature import TemperatureFit
    from zsindex.photos.sources import PathsLike
    from zsindex.records import Activation

FITTED = "fitted"


class Tempering(Truths):
    """Methods about the temperature that logits are divided by."""

    def fit_temperature(
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
            self._database.require_writable("keep a temperature")
        chosen = self._labels(labels, template)
        paths = None if paths is None else absolute_all(paths)
        view = self._view_of(paths, truncate=truncate)
        sample = gather.sample(
            view,
            chosen,
            self._truth(truth, chosen, paths),
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
            self._store_under_model(lambda model_id: self._lab.save_temperature(model_id, fitted.temperature, fit))
        return fitted

    def fitted_temperature(self) -> tuple[float, dict[str, Any]] | None:
        """The temperature that was fitted for the model, and what it was fitted to; None if there is none."""
        return self._lab.temperature(self._model().id)

    def remove_temperature(self) -> None:
        """Forget the temperature that was fitted for the model.

        Raises:
            NoTemperature, LibraryReadOnly
        """
        if not self._lab.remove_temperature(self._model().id):
            raise NoTemperature(str(self.model.spec))

    def _temperature(self, asked: float | str) -> float:
        """The number that an option stands for.

        Raises:
            NoTemperature: it is ``fitted``, and none was.
            ValueError: it is out of bounds.
        """
        if asked == FITTED:
            found = self.fitted_temperature()
            if found is None:
                raise NoTemperature(str(self.model.spec))
            return found[0]
        return bounds.real("a temperature", asked, least=bounds.LEAST_TEMPERATURE, most=bounds.MOST_TEMPERATURE)

    @staticmethod
    def _tempered(view: View, temperature: float) -> View:
        """The same photos, as if the model had that temperature. All of a logit is divided, its bias too."""
        own = view.info
        bias = None if own.logit_bias is None else own.logit_bias / (temperature * own.logit_scale)
        return replace(view, info=replace(own, logit_scale=1 / temperature, logit_bias=bias))
