"""Training texts: phrases drawn by group and weight, put into templates, as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import yaml

from training.nano.config import CONTEXT
from training.nano.phrases import Phrases
from training.nano.space import Array, unit

FILE = Path(__file__).with_name("templates.yaml")

SHARES = {
    "name": 0.33,
    "name+s": 0.03,
    "above": 0.17,
    "above+s": 0.05,
    "lexicon": 0.09,
    "lexicon+s": 0.02,
    "noun": 0.16,
    "noun+s": 0.04,
    "word": 0.07,
    "gloss": 0.03,
}
"""What part of the training texts comes from each group of phrases."""

KNOWN = ("name", "above", "lexicon")
"""Groups whose targets are known by rule; only these are paired."""

PAIRED, COMPOSED, FILLED = 0.08, 0.45, 0.55
"""A text is a pair up to the first of these shares, then a composed template up to the second, then filler words up to
the third, and a fixed template from there on."""
WITH_ADJECTIVE = 0.95
"""Above this share the fixed template gets an adjective."""

PHRASE_TOKENS = CONTEXT - 6
"""A phrase is cut to this, to leave room for some of its template."""

BUCKETS = 3
"""A batch is sorted by length and split into so many parts, each padded to its own longest text."""

Tokens = npt.NDArray[np.int64]


class Bucket(NamedTuple):
    """A part of a batch.

    Attributes:
        tokens: int64, shape (n, longest), start and end tokens included, padded with zeros.
        targets: float32, shape (n, dim), unit rows.
    """

    tokens: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True, slots=True)
class Templates:
    """`templates.yaml`, which says what each list is, as tokens: a template is the parts around its placeholders."""

    singles: list[list[Tokens]]
    pairs: list[list[Tokens]]
    compose: list[list[Tokens]]
    endings: list[Tokens]
    filler: list[Tokens]
    adjectives: list[Tokens]


def load_templates(tokenizer: Any, path: Path = FILE) -> Templates:
    """Read the templates and encode them once: joining token ids is much faster than encoding joined texts."""
    table = yaml.safe_load(path.read_text(encoding="utf-8"))

    def encode(texts: Sequence[str]) -> list[Tokens]:
        return [np.array(tokenizer.encode(text), np.int64) for text in texts]

    return Templates(
        singles=[encode(template.split("{}")) for template in table["singles"]],
        pairs=[encode(template.split("{}")) for template in table["pairs"]],
        compose=[encode(slot) for slot in table["compose"]],
        endings=encode(table["endings"]),
        filler=encode(table["filler"]),
        adjectives=encode(table["adjectives"]),
    )


class TextSampler:
    """Draws batches of training texts. The same generator state gives the same batches."""

    def __init__(self, phrases: Phrases, templates: Templates, tokenizer: Any, rng: np.random.Generator) -> None:
        self._targets, self._templates, self._rng = phrases.targets, templates, rng
        self._tokens = [np.array(tokenizer.encode(text)[:PHRASE_TOKENS], np.int64) for text in phrases.texts]
        self._start, self._end = tokenizer.sot_token_id, tokenizer.eot_token_id
        self._members = {group: np.flatnonzero(phrases.groups == group) for group in SHARES}
        self._cumulative = {
            group: np.cumsum(phrases.weights[members]) / phrases.weights[members].sum()
            for group, members in self._members.items()
        }
        self._known = np.flatnonzero(np.isin(phrases.groups, KNOWN))

    def batch(self, n: int) -> list[Bucket]:
        """Draw n texts, shortest first."""
        shares = np.array(list(SHARES.values()))
        texts, targets = [], np.empty((n, self._targets.shape[1]), np.float32)
        for row, group in enumerate(self._rng.choice(list(SHARES), n, p=shares / shares.sum())):
            tokens, targets[row] = self._draw(group)
            texts.append(tokens)
        by_length = np.array(sorted(range(n), key=lambda row: len(texts[row])))
        return [
            Bucket(torch.from_numpy(self._pad([texts[row] for row in rows])), torch.from_numpy(targets[rows]))
            for rows in np.array_split(by_length, BUCKETS)
        ]

    def _draw(self, group: str) -> tuple[Tokens, Array]:
        """Draw one text of a group: its tokens without start and end, and its target."""
        rng, templates = self._rng, self._templates
        phrase = self._members[group][np.searchsorted(self._cumulative[group], rng.random())]
        tokens, target, kind = self._tokens[phrase], self._targets[phrase], rng.random()
        if group == "gloss":
            parts = [tokens]
        elif kind < PAIRED and group in KNOWN:
            other = self._any(self._known)
            before, between, after = self._any(templates.pairs)
            parts = [before, tokens, between, self._tokens[other], after]
            target = unit(1.1 * target + 0.9 * self._targets[other])  # the first named is the more important
        elif kind < COMPOSED:
            parts = [*(self._any(slot) for slot in templates.compose), tokens, self._any(templates.endings)]
        elif kind < FILLED:
            n_before, n_after = rng.integers(0, 4, 2)
            parts = [
                *(self._any(templates.filler) for _ in range(n_before)),
                tokens,
                *(self._any(templates.filler) for _ in range(n_after)),
            ]
        else:
            before, after = self._any(templates.singles)
            adjective = [self._any(templates.adjectives)] if kind > WITH_ADJECTIVE else []
            parts = [before, *adjective, tokens, after]
        return np.concatenate(parts)[: CONTEXT - 2], target

    def _any(self, choices: Sequence[Any] | Tokens) -> Any:
        # Generator.choice would make an array of the choices first, for each of a few draws per text.
        return choices[int(self._rng.random() * len(choices))]

    def _pad(self, texts: list[Tokens]) -> Tokens:
        padded = np.zeros((len(texts), len(texts[-1]) + 2), np.int64)
        for row, tokens in zip(padded, texts, strict=True):
            row[0], row[1 : 1 + len(tokens)], row[1 + len(tokens)] = self._start, tokens, self._end
        return padded
