"""Where a search in words stops: which photos fit a text, and whether any does. Pure numpy.

For every text some photo is the nearest one. Whether it fits is judged by everyday words, which compete with the text
for the photo, as the negatives of NegLabel (Jiang et al. 2024) do with labels. What a photo x has to exceed is

    everyday(x) = log Σ_w exp(s · cos(w, x)) / s

with the model's logit scale s and the words w of a vocabulary: how near the photo is to all of them together. Of a few
hundred words, hardly one may fit a photo, so this is drawn towards its mean over the library, as estimates from little
are (James and Stein 1961). And texts differ in how near they are to all photos, whatever these show, so a part of that
nearness is taken off, as in local scaling (Jégou et al. 2007), but no more than for nearly all of the everyday words:
where most photos show the same thing, the text for it is near because it fits. So a text t exceeds the words by

    s · (cos(t, x) - NEARNESS · (min(mean cos(t, ·), COMMON quantile over w) - mean over w)
         - SHARE · max(everyday(x), LEAST quantile) - (1 - SHARE) · mean everyday)

natural logarithms of odds. There are two thresholds (hysteresis: Canny 1986): something fits if the best photo is above
`OPEN`, and then everything above `FITS` does. docs/lab.md has what these numbers achieve, with other photos and texts
than those that they were chosen with.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zsindex.records import FloatArray, IdArray

# The part that a photo's own nearness to everyday words has in what a text must exceed; the rest is the library's mean.
SHARE = 0.3
# The part of a text's nearness to all photos that is taken off, and the quantile of the words' that limits it.
NEARNESS, COMMON = 0.25, 0.9
# Photos that all words are far from, such as blank ones, would fit anything: this quantile limits that.
LEAST = 0.1
# In logarithms of odds: something fits if a photo exceeds the words by the first, and then all that do by the second.
OPEN, FITS = -1.0, -3.0
# Among so many of the nearest photos is the best one.
LOOKED_AT = 100
# With fewer photos, what is usual among them says nothing.
MIN_PHOTOS = 20
# From so many photos, spread over the library, what is usual is measured.
SAMPLE = 4096
_BLOCK = 4096


def sample(ids: IdArray) -> IdArray:
    """Image ids to measure by, always the same of the same library: int64, ascending.

    Args:
        ids: of all images with a vector, int64 (n,).
    """
    ids = np.sort(ids)
    return ids if len(ids) <= SAMPLE else ids[np.linspace(0, len(ids) - 1, SAMPLE).astype(np.int64)]


@dataclass(frozen=True)
class Usual:
    """What is usual in a library, as of one state of it.

    Attributes:
        words: float32 (w, dim), unit vectors of everyday words.
        scale: logit scale of the model.
        mean: float64 (dim,), the mean vector of the photos.
        n: how many photos it was measured by.
        nearness, common: of the words' mean cosines with photos the mean, and the `COMMON` quantile.
        everyday, least: of the photos' nearness to all words the mean, and the `LEAST` quantile.
    """

    words: FloatArray
    scale: float
    mean: npt.NDArray[np.float64]
    n: int
    nearness: float
    common: float
    everyday: float
    least: float

    @classmethod
    def of(cls, images: FloatArray, words: FloatArray, scale: float) -> Usual:
        """Measure it.

        Args:
            images: float32 (n, dim), unit vectors of one photo or more.
            words: as the attribute.
        """
        mean = images.mean(axis=0, dtype=np.float64)
        of_words = words.astype(np.float64) @ mean
        of_photos = everyday(images, words, scale)
        return cls(
            words,
            scale,
            mean,
            len(images),
            float(of_words.mean()),
            float(np.quantile(of_words, COMMON)),
            float(of_photos.mean()),
            float(np.quantile(of_photos, LEAST)),
        )

    @classmethod
    def of_none(cls, words: FloatArray, scale: float) -> Usual:
        """Of a library without photos, which tells nothing."""
        return cls(words, scale, np.zeros(words.shape[1]), 0, 0.0, 0.0, 0.0, 0.0)

    @property
    def tells(self) -> bool:
        """Whether there are photos enough to tell what is usual."""
        return self.n >= MIN_PHOTOS

    def of_text(self, text: FloatArray) -> float:
        """What a cosine with a text has to exceed for an ordinary photo, apart from the photo's own part.

        Args:
            text: float32 (dim,), a unit vector.
        """
        near = min(float(self.mean @ text.astype(np.float64)), self.common) - self.nearness
        return NEARNESS * near + (1 - SHARE) * self.everyday

    def own(self, images: FloatArray) -> npt.NDArray[np.float64]:
        """How near photos are to the words, as far as that counts: float64 (n,), of float32 (n, dim)."""
        return np.maximum(everyday(images, self.words, self.scale), self.least)

    def exceeds(self, of_text: float, own: npt.NDArray[np.float64], cosines: FloatArray) -> npt.NDArray[np.float64]:
        """By how much a text exceeds everyday words in photos, in logarithms of odds: float64 (n,).

        Args:
            of_text, own: what the two methods returned.
            cosines: float32 (n,), of the text with the photos.
        """
        return self.scale * (cosines.astype(np.float64) - of_text - SHARE * own)

    def lowest(self, of_text: float) -> float:
        """A cosine below which no photo fits a text."""
        return of_text + SHARE * self.least + FITS / self.scale

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the words."""
        mean = base64.b64encode(self.mean.astype("<f8").tobytes()).decode()
        return {name: getattr(self, name) for name in ("n", "nearness", "common", "everyday", "least")} | {"mean": mean}

    @classmethod
    def from_json(cls, found: dict[str, Any], words: FloatArray, scale: float) -> Usual:
        """What `to_json` returned, with the words and the scale that it was measured with."""
        mean = np.frombuffer(base64.b64decode(found["mean"]), dtype="<f8").astype(np.float64)
        numbers = [float(found[name]) for name in ("nearness", "common", "everyday", "least")]
        return cls(words, scale, mean, int(found["n"]), *numbers)


def everyday(images: FloatArray, words: FloatArray, scale: float) -> npt.NDArray[np.float64]:
    """How near photos are to all of some words together: float64 (n,), in the unit of a cosine.

    Args:
        images: float32 (n, dim).
        words: float32 (w, dim).
    """
    found = np.empty(len(images))
    for start in range(0, len(images), _BLOCK):
        values = scale * (images[start : start + _BLOCK] @ words.T).astype(np.float64)
        greatest = values.max(axis=1)
        totals = np.exp(values - greatest[:, None]).sum(axis=1)
        found[start : start + _BLOCK] = (greatest + np.log(totals)) / scale
    return found
