"""Tokenizers without torch: open_clip's `SimpleTokenizer`, and the fast ones of transformers.

Of the first, byte-pair encoding is done by the library tokenizers; cleaning and splitting are a few calls to the
libraries that open_clip itself uses for them. The others are that library's altogether.
`zsindex.models.openvino.export` compares the ids with the original's before it relies on them.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
# In a row of tokens, a place that the model is told to look away from.
MASKED = -1


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


@dataclass(frozen=True)
class Layout:
    """How a fast tokenizer of transformers is asked for what its model is given.

    Attributes:
        pad_token: what fills a row up.
        unknown_token: what stands for all that the vocabulary lacks; None where there is none.
        pad_side: ``right`` or ``left``.
        cut_side: where what is too long is cut.
        is_masked: whether the model is told which places are filled up.
        is_whole: whether every row is filled up to the context length, rather than to the longest beside it.
    """

    pad_token: int
    unknown_token: int | None
    pad_side: str
    cut_side: str
    is_masked: bool
    is_whole: bool


class FastTokenizer:
    """A fast tokenizer of transformers, without transformers.

    Attributes:
        context_length: tokens that the model reads, special ones included.
        layout: see there.
    """

    def __init__(self, tokenizer: Tokenizer, layout: Layout, *, context_length: int) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.context_length = context_length
        self.layout = layout
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # while it cuts, it would cut for everybody

    @classmethod
    def parse(cls, serialised: str, layout: Layout, *, context_length: int) -> Self:
        """Make one from the library's JSON format."""
        return cls(Tokenizer.from_str(serialised), layout, context_length=context_length)

    @classmethod
    def open(cls, file: Path, layout: Layout, *, context_length: int) -> Self:
        """Read what `save` wrote."""
        return cls(Tokenizer.from_file(str(file)), layout, context_length=context_length)

    def save(self, file: Path) -> None:
        """Write it in the library's JSON format."""
        self._tokenizer.save(str(file), pretty=False)

    @property
    def vocabulary(self) -> dict[str, int]:
        """All tokens, with their ids."""
        return self._tokenizer.get_vocab()

    def tokens(self, text: str) -> list[tuple[int, str]]:
        """Ids and tokens of a text, without special ones."""
        with self._lock:
            found = self._tokenizer.encode(text, add_special_tokens=False)
        return list(zip(found.ids, found.tokens, strict=True))

    def count(self, text: str) -> int:
        """Tokens of a text, special ones included, before any truncation."""
        with self._lock:
            return len(self._tokenizer.encode(text).ids)

    def __call__(self, texts: Sequence[str]) -> tuple[IdArray, IdArray]:
        """Tokenise texts; what does not fit is cut, and special tokens are kept.

        Returns:
            Ids int64, shape (len(texts), context_length), where a row is filled up `MASKED`, or the padding token if
            the model is not told; and how many tokens each text has uncut, int64, shape (len(texts),).
        """
        layout, length = self.layout, self.context_length
        filling = MASKED if layout.is_masked else layout.pad_token
        tokens = np.full((len(texts), length), filling, dtype=np.int64)
        counts = np.empty(len(texts), dtype=np.int64)
        with self._lock:
            for row, text in enumerate(texts):
                ids = self._tokenizer.encode(text).ids
                counts[row] = len(ids)
                if len(ids) > length:
                    self._tokenizer.enable_truncation(length, direction=layout.cut_side)
                    try:
                        ids = self._tokenizer.encode(text).ids
                    finally:
                        self._tokenizer.no_truncation()
                start = length - len(ids) if layout.pad_side == "left" else 0
                tokens[row, start : start + len(ids)] = ids
        return tokens, counts


def _clean(text: str) -> str:
    # Usual prompts are nothing to either of these, and importing ftfy takes as long as encoding them.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
