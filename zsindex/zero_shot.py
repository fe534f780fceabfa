"""A drop-in for the transformers pipeline "zero-shot-image-classification", with the cache behind it.

    detector = zsindex.pipeline("zero-shot-image-classification", model="nano")
    detector("owl.jpg", candidate_labels=["fox", "bear", "seagull", "owl"])

Same arguments, same result shape, same order, same defaults; each image is encoded once, however often it is asked
about.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import os
import tempfile
import urllib.error
import urllib.request
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import zsindex
from zsindex import classify, prompts, template_sets
from zsindex.errors import FetchError, ImageError, NoLabels
from zsindex.library import Library
from zsindex.records import SkipReason
from zsindex.sources import ImageLike

TASK = "zero-shot-image-classification"
MAX_DOWNLOAD_BYTES = 256 << 20


class ZeroShotImageClassifier:
    """Classifies images by labels given with each call. Made by `pipeline`.

    Attributes:
        library: where vectors are cached.
    """

    def __init__(self, library: Library) -> None:
        self.library = library

    def __call__(
        self,
        image: ImageLike | Sequence[ImageLike] | None = None,
        candidate_labels: Sequence[str] | str | None = None,
        *,
        hypothesis_template: str = template_sets.DEFAULT_TEMPLATE,
        timeout: float | None = None,
        images: ImageLike | Sequence[ImageLike] | None = None,
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """Score one image, or each of several, against labels.

        Args:
            image: a path, a PIL image, an http(s) URL, base64 text or a ``data:`` URI; or a list of these.
            candidate_labels: names, or one text with commas between them.
            hypothesis_template: with ``{}`` where the label goes.
            timeout: seconds to wait for a URL; None waits for ever.
            images: another name for `image`, as in transformers.

        Returns:
            ``[{"score": …, "label": …}, …]`` for every label, best first, ties in the order given; for a list of images
            a list of such lists. Scores are softmax probabilities, or sigmoid ones for models trained so.

        Raises:
            NoLabels, BadTemplate, PromptTooLong, ImageError, FetchError
        """
        image = images if image is None else image
        if image is None:
            raise ValueError("give an image, or a list of images")
        if isinstance(candidate_labels, str):
            candidate_labels = [label.strip() for label in candidate_labels.split(",") if label.strip()]
        if not candidate_labels:
            raise NoLabels()
        several = isinstance(image, Sequence) and not isinstance(image, (str, bytes))
        given: Sequence[Any] = image if several else [image]  # type: ignore[assignment]
        info = self.library.model
        text_vectors = self.library.embed_texts(prompts.prompts_for(candidate_labels, hypothesis_template))
        image_vectors = self.library.embed_images([_image(one, timeout) for one in given])
        logits = classify.logits(image_vectors, text_vectors, logit_scale=info.logit_scale, logit_bias=info.logit_bias)
        answers = [
            [
                {"score": score, "label": label}
                for score, label in sorted(zip(scores, candidate_labels, strict=True), key=lambda pair: -pair[0])
            ]
            for scores in classify.probabilities(logits, info.activation).tolist()
        ]
        return answers if several else answers[0]


def pipeline(
    task: str = TASK,
    model: str | None = None,
    *,
    library: Library | str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> ZeroShotImageClassifier:
    """Make a classifier that is called like the transformers pipeline.

    Args:
        task: only ``zero-shot-image-classification``.
        model: as for `Library.open`; for a library that exists, its own is the default.
        library: where to cache: an open library, or the folder of one. Default: a temporary one, which lives as long as
            the classifier.
        device: as for `Library.open`.

    Raises:
        ValueError: another task.
    """
    if task != TASK:
        raise ValueError(f"zsindex has the task {TASK!r} only, not {task!r}")
    if isinstance(library, Library):
        if model is not None or device != "auto":
            raise ValueError("an open library has its model and device; leave them out")
        return ZeroShotImageClassifier(library)
    if library is not None:
        opened = Library.open(library, model=model, device=device)
        classifier = ZeroShotImageClassifier(opened)
        weakref.finalize(classifier, opened.close)
        return classifier
    folder = tempfile.TemporaryDirectory(prefix="zsindex-")
    opened = Library.open(
        Path(folder.name, "library"), model=model, device=device, icc="ignore", transparency="reference"
    )
    classifier = ZeroShotImageClassifier(opened)
    weakref.finalize(classifier, _discard, opened, folder)
    return classifier


def _discard(library: Library, folder: tempfile.TemporaryDirectory[str]) -> None:
    library.close()
    folder.cleanup()


def _image(image: ImageLike, timeout: float | None) -> ImageLike:
    """What a text stands for: a URL, a data URI, a file or base64, in this order."""
    if isinstance(image, (Image.Image, bytes)) or not isinstance(image, str):
        return image
    if image.startswith(("http://", "https://")):
        return _fetch(image, timeout)
    if image.startswith("data:"):
        return _from_base64(image.partition(",")[2], image)
    if os.path.exists(os.path.expanduser(image)):  # not Path.exists, which raises for a name as long as base64
        return image
    return _from_base64(image, image)


def _from_base64(text: str, shown: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        shown = shown if len(shown) < 80 else f"{shown[:60]}…"
        raise ImageError(
            SkipReason.NOT_AN_IMAGE,
            "neither an existing file, nor an http(s) URL, nor base64 of an image",
            path=shown,
        ) from None


def _fetch(url: str, timeout: float | None) -> bytes:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"zsindex/{zsindex.__version__}"})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            data: bytes = response.read(MAX_DOWNLOAD_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(url, f"the server answers {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError and InvalidURL: it is no URL
        raise FetchError(url, str(getattr(error, "reason", error))) from error
    if len(data) > MAX_DOWNLOAD_BYTES:
        raise FetchError(url, f"it is larger than {MAX_DOWNLOAD_BYTES >> 20} MB")
    return data
