"""Words that a model has hardly seen, judged from its tokenizer alone.

Of a script that a model was trained on, the vocabulary holds many tokens. Where it holds few, and a word comes out as
letters or bytes, or as the token for what is unknown, nothing was learned of that word, and its vector means little.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from zsindex.models.tokenizer import ClipTokenizer, FastTokenizer, letters_of_bytes, text_of

# Tokens from which on a script counts as seen: so many, or this part of a small vocabulary. CLIP's 49,408 hold 47,000
# in Latin letters, 1,185 emoji, and less than 60 of any other script.
_MANY, _PART = 2000, 0.05
# Pictographs begin with the arrows; before them are ° and ™.
_PICTOGRAPHS_FROM = 0x2190
# Scripts of which a single letter is a symbol among other words: α7, 5 µm, 8 Ω.
_SYMBOLS = ("GREEK", "MICRO")


class Familiarity:
    """What a tokenizer says of words."""

    def __init__(self, vocabulary: Iterable[str], tokens: Callable[[str], Sequence[str | None]]) -> None:
        """Args:
        vocabulary: the text of each token.
        tokens: those of a word; None for an unknown one.
        """
        self._vocabulary = vocabulary
        self._tokens = tokens
        self._counted: Counter[str] | None = None
        self._size = 0

    @classmethod
    def of_clip(cls, tokenizer: ClipTokenizer) -> Familiarity:
        """Of CLIP's own tokenizer."""
        return cls(map(text_of, tokenizer.vocabulary), lambda word: list(map(str, tokenizer.ids(word))))

    @classmethod
    def of_transformers(cls, tokenizer: Any) -> Familiarity:
        """Of a tokenizer of transformers."""

        def tokens(word: str) -> list[tuple[int, str]]:
            ids = tokenizer(word, add_special_tokens=False, verbose=False)["input_ids"]
            return list(zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True))

        return cls._of_pieces(tokenizer.get_vocab(), tokens, tokenizer.unk_token_id)

    @classmethod
    def of_fast(cls, tokenizer: FastTokenizer) -> Familiarity:
        """Of one of transformers, without it."""
        return cls._of_pieces(tokenizer.vocabulary, tokenizer.tokens, tokenizer.layout.unknown_token)

    @classmethod
    def _of_pieces(
        cls, vocabulary: Mapping[str, int], pieces: Callable[[str], list[tuple[int, str]]], unknown: int | None
    ) -> Familiarity:
        def tokens(word: str) -> list[str | None]:
            return [None if number == unknown else token for number, token in pieces(word) if token != "▁"]

        in_bytes = set(letters_of_bytes().values()) <= vocabulary.keys()
        return cls(map(text_of, vocabulary) if in_bytes else vocabulary, tokens)

    def unfamiliar(self, texts: Sequence[str]) -> list[str]:
        """Words of texts that the model has hardly seen, each once, in order. Plain ASCII is taken for seen."""
        words = dict.fromkeys(word for text in texts if not text.isascii() for word in _words(text))
        return [word for word in words if self._is_unfamiliar(word)]

    def _is_unfamiliar(self, word: str) -> bool:
        tokens = self._tokens(word)
        if None in tokens:
            return True
        letters = sum(_script(letter) is not None for letter in word)
        return len(tokens) >= letters and not self._is_seen(_script(word[0]))

    def _is_seen(self, of: str | None) -> bool:
        if self._counted is None:
            self._counted = Counter()
            for token in self._vocabulary:
                self._size += 1
                scripts = {_script(letter) for letter in token if not letter.isascii()}
                self._counted.update(script for script in scripts if script is not None)
                if token.isascii():
                    self._counted["LATIN"] += 1
        return of is None or self._counted[of] >= min(_MANY, _PART * self._size)


def _words(text: str) -> Iterator[str]:
    """Runs of letters of one script, and of pictographs; each with the marks that belong to them."""
    for script, letters in groupby(_with_marks(text), key=lambda pair: pair[0]):
        if script is not None:
            word = "".join(letter for _, letter in letters)
            if not word.isascii() and not (len(word) == 1 and script in _SYMBOLS):
                yield word


def _with_marks(text: str) -> Iterator[tuple[str | None, str]]:
    """Each character with its script; marks, joiners and the like with that of what stands before them."""
    script = None
    for letter in unicodedata.normalize("NFC", text):
        if unicodedata.category(letter) not in ("Mn", "Mc", "Me", "Cf", "Sk", "Lm"):
            script = _script(letter)
        yield script, letter


def _script(letter: str) -> str | None:
    """The first word of a letter's name; one name for all pictographs; None for digits, punctuation and the like."""
    category = unicodedata.category(letter)
    if category in ("Lu", "Ll", "Lt", "Lo"):
        return unicodedata.name(letter, "NONE").split()[0]
    return "PICTOGRAPH" if category == "So" and ord(letter) >= _PICTOGRAPHS_FROM else None
