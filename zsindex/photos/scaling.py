"""Scaling pictures of any shape in memory that their own size bounds.

Models see a square. Their preprocessing scales the shorter side of a picture to it and then cuts out the centre, so of
one of 1 x 500,000 pixels it makes 25,000 million first. And Pillow scales one side after the other: what is in between
can be far larger than what comes in and what goes out.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from PIL import Image

# Pixels that scaling may make on the way. Up to here a picture is scaled as the reference does it, bit for bit; for an
# input of 224 pixels that are pictures up to 334 : 1. Beyond, values next to black and white may differ, where the two
# sides are scaled in another order: Pillow cuts values off at both ends after each.
MOST_PIXELS = 1 << 24

# How far the filters reach that models are trained with, in pixels of the smaller picture: bicubic 2, bilinear 1.
_REACH = 2


def resized(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    """``image.resize(size, resampling)``, where that would make too much in between with the other side first.

    Args:
        size: width and height.
    """
    width, height = size
    if width * image.height > MOST_PIXELS and width > image.width and height < image.height:
        image = image.resize((image.width, height), resampling)
    elif height * image.width > MOST_PIXELS and height > image.height and width < image.width:
        image = image.resize((width, image.height), resampling)
    return image if image.size == size else image.resize(size, resampling)


def fitted_if_thin(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling, *, resize_mode: str = "shortest"
) -> Image.Image:
    """Scale a picture to a model's input where preprocessing could not, for it is too thin; any other stays as it is.

    What comes back is of the input's size, so that preprocessing, which comes next all the same, has nothing to scale
    or cut out any more.

    Args:
        image: of any mode.
        size: height and width of the input.
        resize_mode: in open_clip's words: ``shortest`` cuts out the centre, ``squash`` takes all and gives up the
            shape, ``longest`` takes all and leaves the rest of the input empty; there only that side comes to its size.
    """
    height, width = size
    if resize_mode == "squash":
        is_thin = max(width * image.height, height * image.width) > MOST_PIXELS
        return resized(image, (width, height), resampling) if is_thin and _is_mixed(image, size) else image
    if resize_mode == "longest":
        ratio = max(image.width / width, image.height / height)
        if min(image.width, image.height) > ratio / 2:
            return image
        return resized(image, (max(1, round(image.width / ratio)), max(1, round(image.height / ratio))), resampling)
    ratio = min(image.width / width, image.height / height)
    full_width, full_height = (
        max(side, int(of / ratio)) for side, of in ((width, image.width), (height, image.height))
    )
    if full_width * full_height <= MOST_PIXELS or (full_width <= image.width and full_height <= image.height):
        return image
    left, right = _middle(image.width, full_width, width)
    upper, lower = _middle(image.height, full_height, height)
    # First whole pixels, as many as the filter reaches: Pillow keeps a box in 32 bits, too coarse for long sides.
    reach = ceil(_REACH * max(1.0, ratio)) + 1
    x, y = max(0, int(left) - reach), max(0, int(upper) - reach)
    part = image.crop((x, y, min(image.width, ceil(right) + reach), min(image.height, ceil(lower) + reach)))
    box = (left - x, upper - y, min(right - x, part.width), min(lower - y, part.height))
    return part.resize((width, height), resampling, box=box)


# By open_clip's names.
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class Fitting(NamedTuple):
    """What open_clip's evaluation transform begins with: any picture is made the input's size, in RGB.

    To a picture that it has made it does nothing.

    Attributes:
        height, width: of the input, in pixels.
        interpolation: ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest`` (square inputs only) or ``squash``.
    """

    height: int
    width: int
    interpolation: str
    resize_mode: str

    def __call__(self, image: Image.Image) -> Image.Image:
        """Resize, cut out the centre, convert to RGB, in this order."""
        if image.size == (self.width, self.height) and image.mode == "RGB":
            return image
        resampling = RESAMPLING[self.interpolation]
        image = fitted_if_thin(image, (self.height, self.width), resampling, resize_mode=self.resize_mode)
        if self.resize_mode == "squash":
            return _resized(image, self.width, self.height, resampling).convert("RGB")
        width, height = image.size
        if width <= height:
            width, height = self.width, int(self.width * height / width)
        else:
            width, height = int(self.height * width / height), self.height
        image = _resized(image, width, height, resampling)
        left, top = round((width - self.width) / 2.0), round((height - self.height) / 2.0)
        return image.crop((left, top, left + self.width, top + self.height)).convert("RGB")

    def if_smaller(self, image: Image.Image) -> Image.Image:
        """The input for a picture that takes more bytes than that, and any other picture as it is."""
        takes = image.width * image.height * len(image.getbands())
        return self(image) if takes > 3 * self.width * self.height else image


def _resized(image: Image.Image, width: int, height: int, resampling: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), resampling)


def _is_mixed(image: Image.Image, size: tuple[int, int]) -> bool:
    """Whether one side becomes longer, and the other one shorter."""
    height, width = size
    return (width > image.width) != (height > image.height)


def _middle(original: int, full: int, wanted: int) -> tuple[float, float]:
    """What of a side of the original makes the middle `wanted` pixels of it once it is scaled to `full`."""
    start = round((full - wanted) / 2.0)
    return start * original / full, (start + wanted) * original / full
