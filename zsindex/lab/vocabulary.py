"""Words for things that photos may show, to compare labels with: a short list, WordNet's, or a file's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from zsindex.arguments import text_files
from zsindex.classification.prompts import lines_of, normalise
from zsindex.errors import BadLabelFile

# C. K. Ogden's 200 "picturable things", the part of Basic English that can be taught by pictures alone (Ogden, "Basic
# English: A General Introduction with Rules and Grammar", 1930). It was drawn up to cover everyday things with few
# words, long before any data set of photos, and so favours none of them.
_PICTURABLE = """
angle ant apple arch arm army baby bag ball band basin basket bath bed bee bell berry bird blade board boat bone book
boot bottle box boy brain brake branch brick bridge brush bucket bulb button cake camera card carriage cart cat chain
cheese chest chin church circle clock cloud coat collar comb cord cow cup curtain cushion dog door drain drawer dress
drop ear egg engine eye face farm feather finger fish flag floor fly foot fork fowl frame garden girl glove goat gun
hair hammer hand hat head heart hook horn horse hospital house island jewel kettle key knee knife knot leaf leg
library line lip lock map match monkey moon mouth muscle nail neck needle nerve net nose nut office orange oven parcel
pen pencil picture pig pin pipe plane plate plough pocket pot potato prison pump rail rat receipt ring rod roof root
sail school scissors screw seed sheep shelf ship shirt shoe skin skirt snake sock spade sponge spoon spring square
stamp star station stem stick stocking stomach store street sun table tail thread throat thumb ticket toe tongue tooth
town train tray tree trousers umbrella wall watch wheel whip whistle window wing wire worm
"""
BASIC = tuple(_PICTURABLE.split())

WORDNET_FOLDERS = (Path("/usr/share/wordnet"), Path("/usr/local/share/wordnet"))
# Lexicographer files, lexnames(5WN), of what a camera can see: animals, artifacts, body parts, food, groups, places,
# natural objects, natural phenomena, plants, substances.
_CONCRETE = frozenset({5, 6, 8, 13, 14, 15, 17, 19, 20, 27})
# The same without groups and places, which are mostly names, and with events and people.
_VISIBLE = _CONCRETE - {14, 15} | {11, 18}


def words(vocabulary: str) -> tuple[str, ...]:
    """The words of a vocabulary, in its order, each once.

    Args:
        vocabulary: ``basic``, the built-in list; ``wordnet``, the common nouns of an installed WordNet; ``wordnet:``,
            all its nouns for what can be seen, one per meaning; ``wordnet:all``, abstract nouns as well; or the name of
            a text file with one word per line, where blank lines and lines that begin with ``#`` are skipped.

    Raises:
        BadLabelFile: WordNet is not installed; or the file cannot be read or holds no words.
    """
    if vocabulary == "basic":
        return BASIC
    if vocabulary in ("wordnet", "wordnet:", "wordnet:all"):
        folder = _wordnet()
        if folder is None:
            raise _no_wordnet()
        if vocabulary == "wordnet":
            return tuple(_common_nouns(folder))
        return tuple(dict.fromkeys(_nouns(folder, visible=vocabulary == "wordnet:")))
    lines = [normalise(line) for line in lines_of(_read(Path(vocabulary).expanduser()))]
    found = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not found:
        raise BadLabelFile(vocabulary, "it holds no words")
    return found


def has_wordnet() -> bool:
    """Whether a WordNet is installed."""
    return _wordnet() is not None


def names_or_kinds(labels: Iterable[str], words: Iterable[str]) -> frozenset[str]:
    """Words that, in their most frequent sense, mean the same as one of the labels in any sense, name a kind of it, or
    name an individual: a city, a river. By an installed WordNet; those it does not know are not among them.

    Raises:
        BadLabelFile: WordNet is not installed.
    """
    folder = _wordnet()
    if folder is None:
        raise _no_wordnet()
    words = list(words)
    labels, wanted = {_lemma(label) for label in labels}, {_lemma(word) for word in words}
    labels |= {form for label in labels for form in (label.removesuffix("s"), label.removesuffix("es"))}
    main_sense, pending = {}, []
    for line in _entries(folder / "index.noun"):
        lemma = line.partition(" ")[0]
        if lemma in wanted or lemma in labels:
            fields = line.split()
            senses = fields[-int(fields[2]) :]
            main_sense[lemma] = senses[0]
            if lemma in labels:
                pending += senses
    below, individuals = {}, set()
    for line in _entries(folder / "data.noun"):
        # offset lex_filenum type word_count word lex_id ... pointer_count symbol offset pos source_target ... | gloss
        offset, _, _, count, *rest = line.partition(" | ")[0].split()
        pointers = rest[2 * int(count, 16) + 1 :]
        below[offset] = [to for symbol, to in zip(pointers[::4], pointers[1::4], strict=True) if symbol in ("~", "~i")]
        if "@i" in pointers[::4]:
            individuals.add(offset)
    reached: set[str] = set()
    while pending:
        sense = pending.pop()
        if sense not in reached:
            reached.add(sense)
            pending += below.get(sense, ())
    found = reached | individuals
    return frozenset(word for word in words if main_sense.get(_lemma(word)) in found)


def _lemma(word: str) -> str:
    return word.lower().replace(" ", "_")


def _wordnet() -> Path | None:
    return next((folder for folder in WORDNET_FOLDERS if (folder / "index.noun").is_file()), None)


def _no_wordnet() -> BadLabelFile:
    return BadLabelFile(
        "wordnet", "WordNet is not installed. On Debian: apt install wordnet-base; or name a file with words"
    )


def chosen(vocabulary: str | os.PathLike[str] | Iterable[str]) -> list[str]:
    """The words of a vocabulary, or those that are given, each once.

    Raises:
        BadLabelFile: as `words`.
    """
    if isinstance(vocabulary, (str, os.PathLike)):
        return list(words(os.fspath(vocabulary)))
    return list(dict.fromkeys(word for word in map(normalise, vocabulary) if word))


def _common_nouns(folder: Path) -> Iterator[str]:
    """Nouns of WordNet whose most frequent sense is visible and not a name, and that occur in its tagged texts, which
    separates common words from rare ones.
    """
    visible: dict[str, set[str]] = {}
    for line in _entries(folder / "data.noun"):
        # offset lex_filenum type word_count word lex_id ...
        offset, topic, _, count, *rest = line.split()
        if int(topic) in _CONCRETE:
            visible[offset] = set(rest[0 : 2 * int(count, 16) : 2])
    for line in _entries(folder / "index.noun"):
        # lemma pos synset_count pointer_count symbol ... sense_count tagged_sense_count offset ...
        fields = line.split()
        lemma, n_senses = fields[0], int(fields[2])
        # Lemmas are in lower case here, but in their usual spelling in data.noun: names differ.
        is_word = lemma.replace("_", "").isalpha() and lemma in visible.get(fields[-n_senses], ())
        if is_word and int(fields[-n_senses - 1]) > 0:
            yield lemma.replace("_", " ")


def _nouns(folder: Path, *, visible: bool) -> Iterator[str]:
    """The first word of each meaning that is that word's most frequent one, without names of individuals."""
    main_sense = {}
    for line in _entries(folder / "index.noun"):
        fields = line.split()
        main_sense[fields[0]] = fields[-int(fields[2])]
    for line in _entries(folder / "data.noun"):
        # offset lex_filenum type word_count word lex_id ... pointer_count symbol offset pos source_target ... | gloss
        offset, topic, _, count, *rest = line.partition(" | ")[0].split()
        is_individual = "@i" in rest[2 * int(count, 16) + 1 :: 4]
        if not is_individual and main_sense.get(rest[0].lower()) == offset and (not visible or int(topic) in _VISIBLE):
            yield rest[0].replace("_", " ")


def _entries(file: Path) -> Iterator[str]:
    # The licence at the head of these files is indented.
    return (line for line in _read(file).splitlines() if line and not line.startswith("  "))


def _read(file: Path) -> str:
    try:
        return text_files.read(file)
    except text_files.UnreadableText as error:
        raise BadLabelFile(str(file), str(error)) from error
