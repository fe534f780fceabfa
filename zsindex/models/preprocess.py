"""open_clip's evaluation transform with Pillow and numpy alone: the same pixels, bit for bit, without torch.

It covers what nearly all models use: the shorter side resized and the centre cut out, or the whole image squashed.
`zsindex.models.openvino.export` compares it with the original before it relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from PIL import Image

from zsindex.photos import scaling
from zsindex.records import FloatArray

# By open_clip's names.
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Preprocessing:
    """From an upright image to a model's input.

    Attributes:
        height, width: of the input, in pixels.
        mean, std: of each channel, of values between 0 and 1.
        interpolation: ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest`` (square inputs only) or ``squash``.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self | None:
        """Read the fields of open_clip's PreprocessCfg; None for one that asks for more than this class can do."""
        size = config["size"]
        height, width = size if isinstance(size, Sequence) else (size, size)
        mode = config["resize_mode"] or "shortest"
        interpolation = config["interpolation"] or "bicubic"
        if (
            config["mode"] != "RGB"
            or interpolation not in RESAMPLING
            or mode not in ("shortest", "squash")
            or (mode == "shortest" and height != width)
        ):
            return None
        mean, std = tuple(map(float, config["mean"])), tuple(map(float, config["std"]))
        if len(mean) != 3 or len(std) != 3:
            return None
        return cls(int(height), int(width), mean, std, interpolation, mode)

    def __call__(self, image: Image.Image) -> FloatArray:
        """Resize, cut out, convert to RGB, normalise, in this order.

        Returns:
            float32, shape (3, height, width), contiguous. Safe to call from several threads.
        """
        rgb = self._fitted(image).convert("RGB")
        pixels = np.asarray(rgb)
        out = np.empty((3, self.height, self.width), dtype=np.float32)
        for channel, values in enumerate(self._normalised):
            np.take(values, pixels[:, :, channel], out=out[channel], mode="clip")  # "raise" would buffer
        return out

    def _fitted(self, image: Image.Image) -> Image.Image:
        resampling = RESAMPLING[self.interpolation]
        size = self.height, self.width
        image = scaling.fitted_if_thin(image, size, resampling, resize_mode=self.resize_mode)
        if self.resize_mode == "squash":
            return _resized(image, self.width, self.height, resampling)
        width, height = image.size
        if width <= height:
            width, height = self.width, int(self.width * height / width)
        else:
            width, height = int(self.height * width / height), self.height
        image = _resized(image, width, height, resampling)
        left, top = round((width - self.width) / 2.0), round((height - self.height) / 2.0)
        return image.crop((left, top, left + self.width, top + self.height))

    @cached_property
    def _normalised(self) -> FloatArray:
        """What each of the 256 values of a channel becomes: float32 (3, 256). A table gives the very same results as
        computing them for every pixel, in the float32 arithmetic of the original.
        """
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        table: FloatArray = (values[None, :] - mean[:, None]) / std[:, None]
        return table


def _resized(image: Image.Image, width: int, height: int, resampling: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), resampling)
