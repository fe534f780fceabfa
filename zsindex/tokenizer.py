"""CLIP's tokenizer without torch: open_clip's `SimpleTokenizer`, its byte-pair encoding done by the library tokenizers.

Cleaning and splitting are a few calls to the libraries that open_clip itself uses for them. `zsindex.export` compares
the ids with open_clip's before it relies on them.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import regex
from tokenizers import Tokenizer, models

from zsindex.records import IdArray

_START, _END = "<start_of_text>", "<end_of_text>"
_WORDS = regex.compile(
    rf"{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE
)
_CACHED_WORDS = 100_000


def letters_of_bytes() -> dict[int, str]:
    """A printable character for each of the 256 bytes, as GPT-2 chose them: byte-pair encoding works on text."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


_LETTERS = letters_of_bytes()
_BYTES = {letter: byte for byte, letter in _LETTERS.items()}


def text_of(token: str) -> str:
    """What a token of byte-pair encoding stands for; of letters that it does not hold whole, nothing."""
    return bytes(_BYTES[letter] for letter in token.removesuffix("</w>") if letter in _BYTES).decode("utf-8", "ignore")


class ClipTokenizer:
    """From texts to token ids.

    Attributes:
        context_length: tokens that the model reads, start and end included.
    """

    def __init__(self, tokenizer: Tokenizer, *, context_length: int) -> None:
        self.context_length = context_length
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._start, self._end = vocabulary[_START], vocabulary[_END]
        self._known: dict[str, list[int]] = {_START: [self._start], _END: [self._end]}

    @property
    def vocabulary(self) -> list[str]:
        """All tokens, in the letters that stand for bytes."""
        return list(self._tokenizer.get_vocab())

    @classmethod
    def build(cls, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, context_length: int) -> Self:
        """Make one from open_clip's vocabulary (`encoder`) and merges, in order of rank."""
        model = models.BPE(vocab=dict(vocabulary), merges=list(merges), end_of_word_suffix="</w>")
        return cls(Tokenizer(model), context_length=context_length)

    @classmethod
    def open(cls, file: Path, *, context_length: int) -> Self:
        """Read what `save` wrote."""
        return cls(Tokenizer.from_file(str(file)), context_length=context_length)

    def save(self, file: Path) -> None:
        """Write the vocabulary and merges in the library's JSON format."""
        self._tokenizer.save(str(file), pretty=False)

    def ids(self, text: str) -> list[int]:
        """Ids of a text after cleaning, without start and end tokens, before any truncation."""
        found: list[int] = []
        for word in _WORDS.findall(_clean(text)):
            known = self._known.get(word)
            if known is None:
                letters = "".join(map(_LETTERS.__getitem__, word.encode("utf-8")))
                known = [token.id for token in self._tokenizer.model.tokenize(letters)]
                if len(self._known) < _CACHED_WORDS:
                    self._known[word] = known
            found += known
        return found

    def count(self, text: str) -> int:
        """Tokens of a text, start and end tokens included, before any truncation."""
        return len(self.ids(text)) + 2

    def __call__(self, texts: Sequence[str]) -> tuple[IdArray, IdArray]:
        """Tokenise texts; what does not fit is cut, and ends with the end token.

        Returns:
            Ids int64, shape (len(texts), context_length), padded with 0; and how many tokens each text has uncut,
            int64, shape (len(texts),).
        """
        tokens = np.zeros((len(texts), self.context_length), dtype=np.int64)
        counts = np.empty(len(texts), dtype=np.int64)
        for row, text in enumerate(texts):
            ids = [self._start, *self.ids(text), self._end]
            counts[row] = len(ids)
            if len(ids) > self.context_length:
                ids[self.context_length - 1 :] = [self._end]
            tokens[row, : len(ids)] = ids
        return tokens, counts


def _clean(text: str) -> str:
    # Usual prompts are nothing to either of these, and importing ftfy takes as long as encoding them.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
