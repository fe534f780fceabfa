"""Words that a model has hardly seen: judged from its tokenizer, told once, and no false alarms."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
from PIL import Image

from zsindex import Library
from zsindex.classification.prompts import WordsUnfamiliar
from zsindex.models import loading, openclip
from zsindex.models.familiarity import Familiarity
from zsindex.models.tokenizer import ClipTokenizer
from zsindex.records import ModelSpec

SEEN = (
    "café naïve Zoë München jalapeño crème brûlée Łódź Dvořák façade Ñandú 3.14 100% °C x² ½ — “quotes” ﬁancé über "
    "smørrebrød Škoda Đorđe İstanbul Việt phở Rhododendron antidisestablishmentarianism №5 !!! å ß straße Æther ™ € £5 "
    "Ångström Ťažký żółć Reykjavík þú Kyōto Hawaiʻi don’t … ¿qué? one·two ©2024 dog"
)
UNSEEN = ["柴犬", "ラーメン", "собака", "كلب", "שלום", "강아지", "ελληνικά", "हिन्दी", "ไทย", "ქართული", "🐶", "🦊"]


@pytest.fixture(scope="module")
def clip() -> Familiarity:
    simple = open_clip.SimpleTokenizer()
    return Familiarity.of_clip(ClipTokenizer.build(simple.encoder, list(simple.bpe_ranks), context_length=77))


def test_words_of_latin_letters_signs_and_digits_raise_no_alarm(clip: Familiarity) -> None:
    assert clip.unfamiliar([SEEN, "Sony α7 III", "50 µm", "8 Ω", "8 \u2126", "π"]) == []


def test_words_of_other_scripts_and_emoji_do(clip: Familiarity) -> None:
    for word in UNSEEN:
        assert clip.unfamiliar([f"This is a photo of {word}."]) == [word]
    assert clip.unfamiliar(["a 柴犬, a dog", "柴犬 and 猫"]) == ["柴犬", "猫"]


class Words:
    """A tokenizer with the interface of transformers', that knows whole words."""

    unk_token_id = 0

    def __init__(self, vocabulary: list[str]) -> None:
        self._vocabulary = ["<unk>", *vocabulary]

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self._vocabulary)}

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [self.get_vocab().get(text, 0)]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self._vocabulary[number] for number in ids]


def test_an_unknown_token_is_an_alarm_in_any_script() -> None:
    judge = Familiarity.of_transformers(Words(["café", "dog", "犬"]))
    assert judge.unfamiliar(["a café", "ein Bär", "犬"]) == ["Bär"]
    assert judge.unfamiliar(["猫"]) == ["猫"]


def test_a_script_that_the_vocabulary_is_full_of_is_seen() -> None:
    kanji = [chr(number) for number in range(0x4E00, 0x4E00 + 200)]
    assert Familiarity.of_transformers(Words(kanji)).unfamiliar([kanji[3]]) == []
    words = [f"word{number}" for number in range(2000)]
    assert Familiarity.of_transformers(Words([*words, kanji[3]])).unfamiliar([kanji[3]]) == [kanji[3]]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    with Library.open(tmp_path / "library", model="nano") as opened:
        opened.sync([tmp_path])
        yield opened


def test_a_question_warns_once(library: Library) -> None:
    with pytest.warns(WordsUnfamiliar, match="nano has hardly been trained on the script of 柴犬, كلب, 🐶:") as told:
        library.classify(["a dog", "柴犬", "كلب", "🐶", "café"])
    assert len(told) == 1
    with pytest.warns(WordsUnfamiliar, match="猫"):
        library.search("猫")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library.classify(["a dog", "café", "naïve art", "Łódź", "3 °C"])


def test_the_original_judges_like_its_export() -> None:
    texts = [SEEN, *UNSEEN]
    exported = loading.load(ModelSpec("nano"), device="cpu")
    original = openclip.load(ModelSpec("nano"), device="cpu")
    assert original.unfamiliar(texts) == UNSEEN
    assert exported.unfamiliar(texts) == UNSEEN  # type: ignore[attr-defined]
