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

from zsindex.photos.scaling import RESAMPLING, Fitting
from zsindex.records import FloatArray


@dataclass(frozen=True)
class Preprocessing:
    """From an upright image to a model's input.

    Attributes:
        fitting: the input's size, and how a picture is brought to it.
        mean, std: of each channel, of values between 0 and 1.
    """

    fitting: Fitting
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

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
        return cls(Fitting(int(height), int(width), interpolation, mode), mean, std)

    def __call__(self, image: Image.Image) -> FloatArray:
        """Resize, cut out, convert to RGB, normalise, in this order.

        Returns:
            float32, shape (3, height, width), contiguous. Safe to call from several threads.
        """
        pixels = np.asarray(self.fitting(image))
        out = np.empty((3, self.fitting.height, self.fitting.width), dtype=np.float32)
        for channel, values in enumerate(self._normalised):
            np.take(values, pixels[:, :, channel], out=out[channel], mode="clip")  # "raise" would buffer
        return out

    @cached_property
    def _normalised(self) -> FloatArray:
        """What each of the 256 values of a channel becomes: float32 (3, 256). A table gives the very same results as
        computing them for every pixel, in the float32 arithmetic of the original.
        """
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        table: FloatArray = (values[None, :] - mean[:, None]) / std[:, None]
        return table
