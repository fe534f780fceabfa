"""The second half of transformers' guide, by hand: model and processor, inputs, logits, softmax; backed by the cache.

    model = AutoModelForZeroShotImageClassification.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    inputs = processor(images=image, text=texts, return_tensors="pt", padding=True)
    logits = model(**inputs).logits_per_image[0]
    probs = logits.softmax(dim=-1).numpy()

The names are those of transformers, so that its code runs with a different import. Results are numpy arrays, and a
processor only records its arguments: images that the library knows are never decoded.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsindex.arguments.several import several
from zsindex.classification import scores
from zsindex.library import Library
from zsindex.photos.sources import ImageLike
from zsindex.zero_shot import inputs, pipeline
from zsindex.zero_shot.inputs import Picture


class Logits(np.ndarray[Any, np.dtype[np.float32]]):
    """A float32 array with the few methods of torch tensors that lead from logits to scores."""

    def softmax(self, dim: int = -1) -> Logits:
        """Probabilities along a dimension."""
        rows = np.moveaxis(np.asarray(self), dim, -1)
        found = scores.softmax(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape)
        return np.moveaxis(found, -1, dim).view(Logits)

    def sigmoid(self) -> Logits:
        """The probability of each on its own, as SigLIP models are trained."""
        return scores.sigmoid(np.asarray(self)).view(Logits)

    def numpy(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """A plain array with the same numbers."""
        return np.asarray(self)

    def detach(self) -> Logits:
        """Returns itself: there is no gradient."""
        return self

    cpu = detach


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model for images and texts.

    Attributes:
        logits_per_image: float32 (images, texts): ``s · cos + b``.
        logits_per_text: the same, (texts, images).
        image_embeds, text_embeds: the L2-normalised vectors, float32 (n, dim).
    """

    logits_per_image: Logits
    logits_per_text: Logits
    image_embeds: Logits
    text_embeds: Logits


class Inputs(dict[str, Any]):
    """The inputs of a model; ``model(**inputs)``."""

    def to(self, *_: Any, **__: Any) -> Inputs:
        """Returns itself: nothing has been computed yet, and the model knows its device."""
        return self


class AutoProcessor:
    """Records images and texts for a model. Made by `from_pretrained`."""

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        use_fast: bool = True,
        revision: str | None = None,
        token: str | bool | None = None,
        trust_remote_code: bool | None = None,
    ) -> AutoProcessor:
        """A processor. It loads nothing: sizes, colours and tokens are up to the model, which is made with the same
        `checkpoint` and `revision`. No argument has an effect here.
        """
        pipeline.model_name(checkpoint)
        return cls()

    def __call__(
        self,
        images: Picture | Iterable[Picture] | None = None,
        text: str | Iterable[str] | None = None,
        *,
        return_tensors: str | None = None,
        padding: bool | str = True,
        truncation: bool | str = False,
        max_length: int | None = None,
        timeout: float | None = None,
    ) -> Inputs:
        """Inputs for a model.

        Args:
            images: one or several, in any form that `pipeline`'s classifiers take.
            text: final prompts, one or several.
            return_tensors, padding: without effect: prompts are padded as their model was trained.
            truncation: truncate prompts that are too long for the model, instead of refusing them.
            max_length: must be the model's own.
            timeout: seconds within which a URL must be read; None waits forever.

        Raises:
            ValueError: there are neither images nor texts.
            TypeError, ImageError, FetchError: something is not an image.
        """
        if images is None and text is None:
            raise ValueError("give images, or text, or both")
        given = None
        if images is not None:
            given = inputs.to_images([images] if inputs.is_one(images) else inputs.each(images), timeout=timeout)
        texts = None if text is None else several(text)
        return Inputs(images=given, text=texts, truncation=truncation, max_length=max_length)


class AutoModelForZeroShotImageClassification:
    """A model backed by the cache of a library. Made by `from_pretrained`.

    Attributes:
        library: where vectors are cached.
    """

    def __init__(self, library: Library) -> None:
        self.library = library

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | os.PathLike[str] | None,
        *,
        library: Library | str | os.PathLike[str] | None = None,
        device_map: Any = None,
        dtype: Any = "auto",
        torch_dtype: Any = None,
        revision: str | None = None,
        token: str | bool | None = None,
        trust_remote_code: bool | None = None,
        local_files_only: bool = False,
        **model_kwargs: Any,
    ) -> AutoModelForZeroShotImageClassification:
        """A model, with its library as for `zsindex.pipeline`: a temporary one by default.

        Args:
            checkpoint: as the pipeline's `model`; None for that of an open library.
            library: where to cache.
            device_map: as the pipeline's `device`.
            dtype, torch_dtype, revision, token, local_files_only, model_kwargs: as for the pipeline.
            trust_remote_code: without effect: code that comes with a checkpoint is never run.

        Raises:
            ModelError: there is no such model, or it cannot be loaded.
            ValueError, TypeError: an argument cannot be used here; names it.
        """
        name = pipeline.model_name(checkpoint)
        place = pipeline.device_name(device_map)
        precision = pipeline.precision_of(dtype, torch_dtype, model_kwargs)
        name = pipeline.of_revision(name, revision, local_files_only)
        if isinstance(library, Library):
            pipeline.require_bare(name, place, precision)
            return cls(library)
        opened, close = pipeline.open_library(library, name, device=place, precision=precision, token=token)
        model = cls(opened)
        weakref.finalize(model, close)
        return model

    def eval(self) -> AutoModelForZeroShotImageClassification:
        """Returns itself; there is nothing to switch."""
        return self

    @property
    def device(self) -> str:
        """The requested torch device; ``auto`` for the first accelerator, or else the CPU."""
        return self.library.device

    def __call__(
        self,
        images: Iterable[ImageLike] | None = None,
        text: Iterable[str] | None = None,
        truncation: bool | str = False,
        max_length: int | None = None,
    ) -> Outputs:
        """Logits of images and texts, as recorded by a processor; ``model(**inputs)``.

        Raises:
            ValueError: there are no images, or no text.
            ImageError, PromptTooLong, ModelError
        """
        if images is None or text is None:
            raise ValueError("logits need images and text: give the processor both")
        info = self.library.model
        how: Mapping[str, Any] = {"truncation": truncation, "max_length": max_length}
        image_vectors = self.library.embed_images(images)
        text_vectors = self.library.embed_texts(text, truncate=pipeline.truncates(how, info))
        logits = scores.logits(
            image_vectors, text_vectors, logit_scale=info.logit_scale, logit_bias=info.logit_bias
        ).view(Logits)
        return Outputs(logits, logits.T, image_vectors.view(Logits), text_vectors.view(Logits))
