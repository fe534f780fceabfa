"""The seam between zsindex and a model: the `Encoder` protocol.

`zsindex.openclip` implements it for real models. Tests implement it with a few lines of numpy, so that everything from
the store to the command line runs without torch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from zsindex.records import FloatArray, ModelInfo

if TYPE_CHECKING:
    from PIL import Image


class Encoder(Protocol):
    """A loaded dual encoder.

    `preprocess` is called from several threads at once; the two encode methods from one thread at a time.
    """

    @property
    def info(self) -> ModelInfo:
        """What the model is; its fingerprint identifies every vector that it makes."""
        ...

    def preprocess(self, image: Image.Image) -> FloatArray:
        """Turn an upright image, of any mode, into one model input.

        Returns:
            float32, shape (3, height, width) with `info.image_size`, normalised as the model was trained.
        """
        ...

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        """Encode preprocessed images.

        Args:
            pixels: results of `preprocess`; at least one.

        Returns:
            float32, shape (len(pixels), dim), L2-normalised rows in the order given.
        """
        ...

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        """Encode prompts as they are; templates have been applied and duplicates removed by the caller.

        Returns:
            float32, shape (len(texts), dim), L2-normalised rows in the order given.

        Raises:
            PromptTooLong: a text has more tokens than the model reads and `truncate` is False.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, start and end tokens included, before any truncation."""
        ...


class OneAtATime:
    """An encoder whose two encode methods are called by one thread at a time, however many threads ask."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        """See `Encoder`."""
        return self._encoder.info

    def preprocess(self, image: Image.Image) -> FloatArray:
        """See `Encoder`."""
        return self._encoder.preprocess(image)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        """See `Encoder`."""
        with self._lock:
            return self._encoder.encode_images(pixels)

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        """See `Encoder`."""
        with self._lock:
            return self._encoder.encode_texts(texts, truncate=truncate)

    def count_tokens(self, text: str) -> int:
        """See `Encoder`."""
        return self._encoder.count_tokens(text)
