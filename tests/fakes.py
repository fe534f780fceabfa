"""A deterministic encoder in a few lines of numpy, so that everything but the model itself is tested without torch.

It knows colours: the vector of a photo is its average colour, the vector of a text is the average of the colour words
in it. So "red" finds red photos, and scores can be computed by hand.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from zsindex.errors import PromptTooLong
from zsindex.models.fingerprint import sha256_of
from zsindex.records import DecodeMode, FloatArray, IccMode, ModelInfo, ModelSpec, TransparencyMode

DIM = 8
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}


def vector_of(rgb: Sequence[float]) -> FloatArray:
    """A unit vector for a colour: its three components around middle grey, and a constant."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[:3] = np.asarray(rgb, dtype=np.float32) / 127.5 - 1
    vector[3] = 0.25
    return vector / np.linalg.norm(vector)


@dataclass
class FakeEncoder:
    """Implements `zsindex.models.encoder.Encoder`; counts what it is asked for.

    Attributes:
        name: part of the fingerprint: two encoders with other names are two models.
        image_count, batches, texts: everything that went through, in order; of images only how many.
    """

    name: str = "fake"
    logit_scale: float = 10.0
    logit_bias: float | None = None
    context_length: int = 16
    decode: DecodeMode = DecodeMode.EXACT
    icc: IccMode = IccMode.IGNORE
    transparency: TransparencyMode = TransparencyMode.REFERENCE
    image_count: int = 0
    batches: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def info(self) -> ModelInfo:
        spec = ModelSpec(self.name, decode=self.decode, icc=self.icc, transparency=self.transparency)
        return ModelInfo(
            spec=spec,
            fingerprint=sha256_of({"name": self.name, "seen as": spec.seen_as}),
            dim=DIM,
            logit_scale=self.logit_scale,
            logit_bias=self.logit_bias,
            context_length=self.context_length,
            image_size=(8, 8),
            weights_sha256="0" * 64,
        )

    def preprocess(self, image: Image.Image) -> FloatArray:
        small = image.convert("RGB").resize((8, 8), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32).transpose(2, 0, 1)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        with self._lock:
            self.image_count += len(pixels)
            self.batches.append(len(pixels))
        return np.stack([vector_of(p.mean(axis=(1, 2))) for p in pixels])

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        for text in texts:
            tokens = self.count_tokens(text)
            if tokens > self.context_length and not truncate:
                raise PromptTooLong(text, tokens=tokens, context_length=self.context_length, model=self.name)
        self.texts.extend(texts)
        return np.stack([self._text_vector(text.split()[: self.context_length - 2]) for text in texts])

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    @staticmethod
    def _text_vector(words: Sequence[str]) -> FloatArray:
        named = [COLOURS[w] for w in (word.strip(".,!").lower() for word in words) if w in COLOURS]
        if named:
            return vector_of(np.mean(named, axis=0))
        noise = np.random.default_rng(int.from_bytes(hashlib.sha256(" ".join(words).encode()).digest()[:8], "big"))
        vector = noise.standard_normal(DIM).astype(np.float32)
        return vector / np.linalg.norm(vector)
