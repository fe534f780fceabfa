"""The seam between zsindex and a model: the `Encoder` protocol.

`zsindex.models.openclip` implements it for real models. Tests implement it with a few lines of numpy, so that
everything from the store to the command line runs without torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from zsindex.errors import ImageError, ZsindexError
from zsindex.records import FloatArray, ModelInfo, SkipReason

if TYPE_CHECKING:
    from PIL import Image

    from zsindex.photos.scaling import Fitting

__all__ = [
    "Encoder",
    "FitsPictures",
    "JudgeOfWords",
    "OneAtATime",
    "WantsMany",
    "around_model",
    "fitting_of",
    "images_at_once",
    "is_out_of_memory",
    "may_keep",
    "out_of_memory",
    "preprocessed",
    "unfamiliar_words",
]


# What is entered while a thread waits for a model, to be loaded or to encode. A service lets others work meanwhile.
around_model: ContextVar[Callable[[], AbstractContextManager[None]]] = ContextVar("around_model", default=nullcontext)

# Asked before so many bytes are kept that only spare work: prompts, and what was derived from them. A service does not
# let readers fill the disk.
may_keep: ContextVar[Callable[[int], bool]] = ContextVar("may_keep", default=lambda n_bytes: True)


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


@runtime_checkable
class JudgeOfWords(Protocol):
    """What an `Encoder` may do besides: tell which words its model can hardly know."""

    def unfamiliar(self, texts: Sequence[str]) -> list[str]:
        """Words of texts that the model has hardly seen, each once, in order; see `zsindex.models.familiarity`."""
        ...


def unfamiliar_words(encoder: Encoder, texts: Sequence[str]) -> list[str]:
    """Words of texts that an encoder's model has hardly seen; none where it cannot tell."""
    return encoder.unfamiliar(texts) if isinstance(encoder, JudgeOfWords) else []


@runtime_checkable
class FitsPictures(Protocol):
    """What an `Encoder` may have besides: how its preprocessing begins, so that this is done where photos are decoded,
    and a large picture need not come from there.
    """

    @property
    def fitting(self) -> Fitting | None:
        """`preprocess` gives the same for a picture and for what this makes of it, bit for bit."""
        ...


@runtime_checkable
class WantsMany(Protocol):
    """What an `Encoder` may have besides: with how many images at a time it is well employed."""

    @property
    def images_at_once(self) -> int:
        """So many `encode_images` is best given, where nobody has said how many."""
        ...


def images_at_once(encoder: Encoder) -> int:
    """With how many images at a time an encoder is well employed; 1 where it cannot tell."""
    return encoder.images_at_once if isinstance(encoder, WantsMany) else 1


def fitting_of(encoder: Encoder) -> Fitting | None:
    """How an encoder's preprocessing begins, where it can tell."""
    return encoder.fitting if isinstance(encoder, FitsPictures) else None


def preprocessed(encoder: Encoder, image: Image.Image) -> FloatArray:
    """`Encoder.preprocess`; a picture that memory is too short for is an `ImageError`."""
    try:
        return encoder.preprocess(image)
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine's memory was short. torch says so in the words of a RuntimeError."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def out_of_memory() -> ImageError:
    """What becomes of a photo that memory was too short for."""
    return ImageError(SkipReason.OUT_OF_MEMORY, "there was not enough memory for it")


@dataclass(eq=False)
class _Asked:
    """Texts that a thread waits for, and what came of them."""

    texts: Sequence[str]
    truncate: bool
    vectors: FloatArray | None = None
    error: Exception | None = None

    @property
    def answered(self) -> bool:
        return self.vectors is not None or self.error is not None


class OneAtATime:
    """An encoder whose two encode methods are called by one thread at a time, however many threads ask.

    Texts that are asked for while the model is at work wait, and are then encoded together, equal ones once: for a text
    tower eight prompts cost little more than one.

    Attributes:
        text_requests, text_calls: how often texts were asked for, and how often the model was for all that.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._waiting: list[_Asked] = []
        self._last_used = time.monotonic()
        self.text_requests = self.text_calls = 0

    @property
    def info(self) -> ModelInfo:
        """See `Encoder`."""
        return self._encoder.info

    @property
    def fitting(self) -> Fitting | None:
        """See `FitsPictures`."""
        return fitting_of(self._encoder)

    @property
    def images_at_once(self) -> int:
        """See `WantsMany`."""
        return images_at_once(self._encoder)

    @property
    def idle_s(self) -> float:
        """Seconds since it was last at work; 0 while it is."""
        return 0.0 if self._lock.locked() else time.monotonic() - self._last_used

    def preprocess(self, image: Image.Image) -> FloatArray:
        """See `Encoder`."""
        self._last_used = time.monotonic()
        return self._encoder.preprocess(image)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        """See `Encoder`."""
        with around_model.get()(), self._lock:
            try:
                return self._encoder.encode_images(pixels)
            finally:
                self._last_used = time.monotonic()

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        """See `Encoder`."""
        mine = _Asked(texts, truncate)
        self._waiting.append(mine)
        with around_model.get()(), self._lock:
            # Whoever had the lock before may have answered this, too.
            if not mine.answered:
                asked = [self._waiting.pop(0) for _ in range(len(self._waiting))]
                if mine not in asked:
                    asked.append(mine)  # that one took it, and was interrupted
                try:
                    for cut in {one.truncate for one in asked}:
                        self._answer([one for one in asked if one.truncate == cut], truncate=cut)
                finally:
                    self._last_used = time.monotonic()
        if mine.error is not None:
            raise mine.error
        assert mine.vectors is not None
        return mine.vectors

    def unfamiliar(self, texts: Sequence[str]) -> list[str]:
        """See `unfamiliar_words`."""
        return unfamiliar_words(self._encoder, texts)

    def _answer(self, asked: Sequence[_Asked], *, truncate: bool) -> None:
        """Encode the texts of all in one call; those of each by themselves if one of them cannot be encoded."""
        texts = list(dict.fromkeys(text for one in asked for text in one.texts))
        self.text_requests += len(asked)
        self.text_calls += 1
        try:
            vectors = self._encoder.encode_texts(texts, truncate=truncate)
        except ZsindexError as error:
            if len(asked) == 1:
                asked[0].error = error
                return
            self.text_requests -= len(asked)
            for one in asked:
                self._answer([one], truncate=truncate)
            return
        except Exception as error:  # noqa: BLE001  it is raised again, in every thread that waits for it
            for one in asked:
                one.error = error
            return
        row = {text: number for number, text in enumerate(texts)}
        for one in asked:
            one.vectors = vectors[[row[text] for text in one.texts]]

    def count_tokens(self, text: str) -> int:
        """See `Encoder`."""
        return self._encoder.count_tokens(text)
