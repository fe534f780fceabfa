"""From the measured rates of a sync's parts to what holds it up, in words. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from zsindex.config import DEFAULT_MODEL

# One part holds the other up if it takes at least this share of the time for a photo.
_HOLDS_UP = 0.6
# A sync slower than this part of what decoding and the model allow waits for something else.
_UNEXPLAINED = 0.6
# Less gain is not worth vectors that differ.
_WORTHWHILE = 1.2


class Bottleneck(StrEnum):
    """What a first sync waits for."""

    DECODING = "decoding"
    MODEL = "model"
    BOTH = "both"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Rates:
    """A sync and its parts, in photos per second.

    Attributes:
        decode_core: read, decode and preprocess, with one thread.
        decode: the same, with all threads of a sync.
        decode_fast: with one thread in `DecodeMode.FAST`; None where that is the mode already.
        encode: the model alone, on pixels in memory.
        sync: a whole sync of photos never seen before.
    """

    decode_core: float
    decode: float
    decode_fast: float | None
    encode: float
    sync: float


def expected_sync(decode: float, encode: float, *, on_cpu: bool) -> float:
    """Photos per second that decoding and the model allow.

    A model on the CPU takes turns with decoding on the same cores, so their times add up; a GPU works beside it, so the
    slower of the two counts.
    """
    return 1 / (1 / decode + 1 / encode) if on_cpu else min(decode, encode)


def find_bottleneck(rates: Rates, *, on_cpu: bool) -> Bottleneck:
    """What a sync waits for."""
    if rates.sync < _UNEXPLAINED * expected_sync(rates.decode, rates.encode, on_cpu=on_cpu):
        return Bottleneck.OTHER
    decoding = rates.encode / (rates.decode + rates.encode)  # its share of the time for a photo
    if decoding >= _HOLDS_UP:
        return Bottleneck.DECODING
    return Bottleneck.MODEL if 1 - decoding >= _HOLDS_UP else Bottleneck.BOTH


def advice(rates: Rates, *, model: str, precision: str, on_cpu: bool) -> str:
    """The bottleneck in words, and what can be done about it."""
    found = find_bottleneck(rates, on_cpu=on_cpu)
    faster = _faster_decoding(rates, on_cpu=on_cpu)
    if found is Bottleneck.OTHER:
        allowed = expected_sync(rates.decode, rates.encode, on_cpu=on_cpu)
        return (
            f"Neither decoding nor the model: they allow {allowed:.1f} photos/s, and a sync gets {rates.sync:.1f}. "
            "A slow disk, or other programs on the same cores? Measure again when it is quiet."
        )
    if found is Bottleneck.DECODING:
        rest = faster or "no option makes that faster; more processor cores would."
        return f"Decoding holds up the model: {rest}"
    if found is Bottleneck.MODEL:
        return f"The model holds up decoding: {_faster_model(model, precision, on_cpu=on_cpu)}"
    rest = faster or _faster_model(model, precision, on_cpu=on_cpu)
    return f"Decoding and the model take about as long as each other: {rest}"


def _faster_decoding(rates: Rates, *, on_cpu: bool) -> str | None:
    """What the fast mode would bring; None where that is little."""
    if rates.decode_fast is None:
        return None
    now = expected_sync(rates.decode, rates.encode, on_cpu=on_cpu)
    then = expected_sync(rates.decode * rates.decode_fast / rates.decode_core, rates.encode, on_cpu=on_cpu)
    if then < _WORTHWHILE * now:
        return None
    return f"--decode fast would make a sync about {then / now:.1f} times as fast; its vectors differ a little."


def _faster_model(model: str, precision: str, *, on_cpu: bool) -> str:
    ways = []
    if on_cpu and precision == "fp32":
        ways.append("--precision auto takes bf16 where this processor is faster in it")
    if on_cpu:
        ways.append("a GPU would be faster")
    if model != DEFAULT_MODEL:
        ways.append("so would a smaller model")
    if not on_cpu and precision == "fp32":
        ways.append("try --precision fp16 or bf16")
    return f"{'; '.join(ways) or 'it is the smallest there is'}."
