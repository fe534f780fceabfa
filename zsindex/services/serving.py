"""What a service needs besides questions: uploads, and control over memory. Not part of the public API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zsindex.classification import scorers
from zsindex.classification.options import Question
from zsindex.classification.results import Prediction
from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.records import FloatArray
from zsindex.services.labels import Labels
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.photos.sandbox import Decoder


class Serving:
    """Uploads, and memory."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = Labels(session)

    @property
    def decoder(self) -> Decoder:
        """What decodes photos of the library."""
        return self._session.decoder

    @property
    def model_is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._session.model.loaded is not None

    @property
    def last_view(self) -> View | None:
        """The photos as of the last question, kept for the next one."""
        return self._session.index.last_view

    def release_model(self, *, idle_s: float = 0.0) -> bool:
        """Release the model if it has not been used for this many seconds; see `AskedModel.release`."""
        return self._session.model.release(idle_s=idle_s)

    def embed_encoded(
        self, images: bytes | Sequence[bytes], *, decoder: Decoder | None = None, store: bool = False
    ) -> FloatArray:
        """Vectors of encoded images, from the cache if their bytes are known; see `Embedding.encoded`."""
        return self._session.embed.encoded(images, decoder=decoder, store=store)

    def classify_vectors(self, vectors: FloatArray, question: Question) -> list[tuple[Prediction, ...]]:
        """Score images that need not be in the library.

        Args:
            vectors: float32 (n, dim), of `embed_encoded` or `Library.embed_images`.
            question: only its labels, template, top, activation and truncate are used.

        Returns:
            For each image its predictions, best first; ties keep the order of the answers.
        """
        chosen, info = self._labels.of(question), self._session.info
        texts = self._session.embed.concepts(chosen, truncate=question.truncate)
        head = Head.of(chosen, texts, info, question.activation)
        best, scores = scorers.largest(head(vectors), min(question.top or 3, head.n_answers))
        answers = chosen.answers
        return [
            tuple(Prediction(answers[n], score) for n, score in zip(numbers, values, strict=True))
            for numbers, values in zip(best.tolist(), scores.tolist(), strict=True)
        ]
