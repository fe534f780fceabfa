"""Looking closely: why a photo got its answer, and which files show the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zsindex.classification.results import Classification
from zsindex.errors import UnknownImage
from zsindex.facade.core import Core
from zsindex.records import Activation

if TYPE_CHECKING:
    from zsindex.facade.core import WhichLabels
    from zsindex.lab.explain import Why


@dataclass(frozen=True, slots=True)
class Copies:
    """Files with the same bytes.

    Attributes:
        image_id: of their content.
        paths: two or more.
    """

    image_id: int
    paths: tuple[str, ...]


class Looking(Core):
    """Single photos, and what is in the library more than once."""

    def explain(
        self,
        image_id: int,
        labels: WhichLabels | Classification,
        *,
        template: str | Sequence[str] | None = None,
        activation: Activation | str | None = None,
        truncate: bool = False,
        most: int = 8,
        most_prompts: int = 8,
    ) -> Why:
        """Why a photo gets the answer that `classify` gives it.

        Its scores come from the mean of each label's prompts. Beside them stand the cosines of single prompts, and what
        each template alone would answer: where these disagree, the answer hangs on the wording.

        Args:
            image_id: of the photo's content.
            labels: labels, or the name of a saved set. Or an answer of `classify`: then its scores are told, with all
                that it was asked with, such as corrections, a temperature or an `unknown`.
            template: in place of the label set's own.
            activation, truncate: as for `classify`. An answer has its own.
            most: answers to tell, the best ones.
            most_prompts: prompts to tell, the nearest ones.

        Raises:
            UnknownImage: it is unknown, has no vector yet, or is not in the answer.
            NoLabels, EmptyLabel, DuplicateLabels, BadTemplate, UnknownLabelSet, PromptTooLong
            ValueError: an answer of another model; or one with other options beside it.
        """
        from zsindex.lab.explain import why

        found = None
        if isinstance(labels, Classification):
            if template is not None or activation is not None or truncate:
                raise ValueError("an answer has a template and options of its own")
            asked = labels.run.asked
            if asked is None or labels.run.fingerprint != self.model.fingerprint:
                raise ValueError("only an answer that this library gave, by its model, can be explained")
            [numbers] = np.nonzero(labels.image_ids == image_id)
            if not len(numbers):
                raise UnknownImage(image_id)
            chosen, truncate = asked.labels, bool(asked.arguments["truncate"])
            found = labels.labels, labels.scores_of(numbers[:1])[0]
            how = labels.run.logit_scale, labels.run.logit_bias, labels.run.activation
        else:
            chosen, info = self._labels(labels, template), self.model
            how = (
                info.logit_scale,
                info.logit_bias,
                info.activation if activation is None else Activation(activation),
            )
        [image] = self.vectors_of([image_id])
        scale, bias, activation = how
        return why(
            image,
            chosen,
            self.embed_texts([text for texts in chosen.concept_prompts for text in texts], truncate=truncate),
            logit_scale=scale,
            logit_bias=bias,
            activation=activation,
            found=found,
            most=most,
            most_prompts=most_prompts,
        )

    def copies(self) -> list[Copies]:
        """Photos that several files show, byte for byte, in the order of their first files."""
        view = self.view()
        images, first, back, counts = np.unique(
            view.image_ids, return_index=True, return_inverse=True, return_counts=True
        )
        paths: dict[int, list[str]] = {int(n): [] for n in np.flatnonzero(counts > 1).tolist()}
        for photo in np.flatnonzero(counts[back] > 1).tolist():
            paths[int(back[photo])].append(view.paths[photo])
        return [
            Copies(int(images[n]), tuple(found)) for n, found in sorted(paths.items(), key=lambda one: first[one[0]])
        ]
