"""A few real photographs that are installed with zsindex: the demo shows them, and probes of a model look at them."""

from __future__ import annotations

from importlib import util
from pathlib import Path

from zsindex.errors import ZsindexError

# Inside the scikit-image wheel; its documentation names each as public domain or CC0.
NAMES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "hubble_deep_field.jpg",
    "page.png",
    "rocket.jpg",
)


def photos() -> list[Path]:
    """Their files.

    Raises:
        ZsindexError: scikit-image is not installed.
    """
    spec = util.find_spec("skimage")  # found, not imported: that would take a second
    if spec is None or spec.origin is None:
        raise ZsindexError("the demo's own photos come with scikit-image, which is not installed; name some of yours")
    folder = Path(spec.origin).parent / "data"
    return [folder / name for name in NAMES]
