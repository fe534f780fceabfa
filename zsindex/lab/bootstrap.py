"""How far off a number could be by chance: the percentile bootstrap over photos. Pure numpy.

Efron 1979, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7; Efron and Tibshirani 1993, "An
introduction to the bootstrap", chapter 13, for percentile intervals. Clopper and Pearson 1934, "The use of confidence
or fiducial limits illustrated in the case of the binomial", Biometrika 26, for shares of which it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: NaN if it is not defined.
        low, high: 95 % of the resamples' values lie between these; NaN if there were none.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0; for a difference, this means it is hardly chance."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, float | None]:
        """Plain data for JSON, in which there is no NaN."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if np.isnan(number) else number for name, number in numbers.items()}


def resamples(n: int, count: int, seed: int) -> Iterator[Values]:
    """How often each of n photos is in a resample: `count` times float64 (n,), each adding up to n.

    Drawing numbers and counting them is several times faster than drawing from a multinomial distribution.
    """
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(random.integers(0, n, size=n), minlength=n).astype(np.float64)


def estimates(values: Values, samples: Values, level: float = LEVEL) -> list[Estimate]:
    """Values (k,) with percentile intervals from their values in r resamples, (r, k).

    A resample in which a value is not defined, such as the recall of a label that none of its photos has, is skipped.
    """
    low = np.full(len(values), np.nan)
    high = low.copy()
    defined = ~np.isnan(samples).all(axis=0) if len(samples) else np.zeros(len(values), dtype=bool)
    if defined.any():
        tail = 100 * (1 - level) / 2
        low[defined], high[defined] = np.nanpercentile(samples[:, defined], [tail, 100 - tail], axis=0)
    return [Estimate(*numbers) for numbers in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)]


def of_share(found: Estimate, n: float, level: float = LEVEL) -> Estimate:
    """A share of n photos, with an interval also where it is 0 or 1: there all resamples agree, however few photos
    there are. Then it is the exact one of a binomial share.
    """
    if np.isnan(found.low) or n < 1 or found.value not in (0.0, 1.0):
        return found
    far = ((1 - level) / 2) ** (1 / n)
    return Estimate(0.0, 0.0, 1 - far) if found.value == 0 else Estimate(1.0, far, 1.0)
