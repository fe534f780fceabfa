"""What a service needs beside questions: images that are no files, and what cache and memory hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments.several import several
from zsindex.facade.core import Core
from zsindex.records import Activation, FloatArray

if TYPE_CHECKING:
    from zsindex.classification.prompts import LabelsLike
    from zsindex.classification.results import Prediction
    from zsindex.classification.view import View
    from zsindex.photos.sources import Decoder


class Serving(Core):
    """Uploads, keys, memory."""

    @property
    def usage(self) -> dict[str, int]:
        """What was encoded and what was found in the cache since the library was opened.

        ``images_encoded``, ``images_reused``, ``prompts_encoded``, ``prompts_reused``, ``model_loads``; and of the
        model that is loaded now ``text_requests``, and ``text_calls`` that answered them together.
        """
        names = ("images_encoded", "images_reused", "prompts_encoded", "prompts_reused", "model_loads")
        with self._lock:
            usage = {name: self._usage[name] for name in names}
            usage["text_requests"] = 0 if self._loaded is None else self._loaded.text_requests
            usage["text_calls"] = 0 if self._loaded is None else self._loaded.text_calls
            return usage

    @property
    def max_pixels(self) -> int:
        """Photos with more pixels are not decoded."""
        return self._settings.max_pixels

    @property
    def model_is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._loaded is not None

    @property
    def last_view(self) -> View | None:
        """The photos as the last question found them, which are kept for the next one."""
        return self._last_view

    def release_model(self, *, idle_s: float = 0.0) -> bool:
        """Let go of the model; what must be encoded later loads it again. What is cached is answered as before.

        Args:
            idle_s: only if it has not been used for so many seconds.

        Returns:
            Whether it was let go of. An encoder that was given to `Library.open` is kept: nobody could load it again.
        """
        with self._lock:
            if self._loaded is None or not self._can_load_again or self._loaded.idle_s < idle_s:
                return False
            self._loaded = None
            return True

    def embed_encoded(
        self, images: bytes | Sequence[bytes], *, decoder: Decoder | None = None, store: bool = False
    ) -> FloatArray:
        """Vectors of encoded images, from the cache where their bytes are known; others are encoded.

        Args:
            images: encoded bytes, each; or one.
            decoder: decodes those that are not known. Default: `zsindex.photos.decode.decode`, in this process.
            store: keep the vectors of those that are not known.

        Returns:
            float32, shape (len(images), dim), L2-normalised rows.

        Raises:
            ImageError: one cannot be read; it is named by its number.
            ModelError, LibraryReadOnly
        """
        from zsindex.photos.decode import digest
        from zsindex.photos.sources import Source

        model = self._model()
        if store:
            self._database.require_writable("store vectors")
        sources = [
            Source(digest(data), data, f"image number {number}", decoder)
            for number, data in enumerate(several(images), start=1)
        ]
        found = self._reader.image_vectors({source.digest for source in sources}, model)
        new = list({source.digest: source for source in sources if source.digest not in found}.values())
        self._count(images_reused=len(sources) - len(new), images_encoded=len(new))
        if new:
            records = self._encode(new)
            if store:
                self._store_under_model(partial(self._store.save_images, records))
            found.update((r.digest, r.vector) for r in records if r.vector is not None)
        return np.array([found[s.digest] for s in sources], dtype=np.float32).reshape(len(sources), model.info.dim)

    def classify_vectors(
        self,
        vectors: FloatArray,
        labels: LabelsLike | None = None,
        *,
        label_set: str | None = None,
        template: str | Sequence[str] | None = None,
        top: int = 3,
        activation: Activation | str | None = None,
        truncate: bool = False,
    ) -> list[tuple[Prediction, ...]]:
        """Score images that need not be in the library; arguments as for `Library.classify`.

        Args:
            vectors: float32 (n, dim), of `embed_encoded` or `embed_images`.

        Returns:
            For each image its predictions, best first; ties keep the order of the answers.
        """
        from zsindex.classification import scorers
        from zsindex.classification.results import Prediction

        chosen = self._label_set(labels, label_set, template)
        info = self.model
        head = scorers.Head.zero_shot(
            self._text_vectors(chosen, truncate=truncate),
            logit_scale=info.logit_scale,
            logit_bias=info.logit_bias,
            activation=info.activation if activation is None else Activation(activation),
            answer_of=chosen.answer_of,
        )
        best, scores = scorers.largest(head(vectors), max(1, min(top, head.n_answers)))
        answers = chosen.answers
        return [
            tuple(Prediction(answers[n], score) for n, score in zip(numbers, values, strict=True))
            for numbers, values in zip(best.tolist(), scores.tolist(), strict=True)
        ]
