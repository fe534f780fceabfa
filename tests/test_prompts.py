"""Labels, templates and label files: what a user writes, and the texts that a tokenizer sees."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsindex.classification.prompts import (
    LabelsAlike,
    digest,
    fill,
    from_document,
    label_set,
    normalise,
    parse_labels,
    parse_templates,
    prompts_for,
    to_document,
    warn_of_alike,
)
from zsindex.classification.templates import BUILT_IN, DEFAULT_TEMPLATE
from zsindex.errors import BadGroups, BadLabelFile, BadTemplate, DuplicateLabels, EmptyLabel, NoLabels
from zsindex.records import NONE, LabelSet

PUBLIC_LABELS = Path(__file__).parents[2] / "shared" / "labels"
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


# --- templates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("a photo of a {}.", "a photo of a owl."),
        ("a photo of a {label}.", "a photo of a owl."),
        ("a photo of a {c}.", "a photo of a owl."),
        ("{} and {label} and {c}", "owl and owl and owl"),
        ("{}", "owl"),
        ("{ } {{}} {other} {}", "{ } {owl} {other} owl"),
        ("%s \\1 {}", "%s \\1 owl"),
        ("  {} \n", "owl"),
    ],
)
def test_the_label_goes_where_the_placeholder_is_and_other_braces_stay(template: str, prompt: str) -> None:
    assert fill(template, "owl") == prompt


@pytest.mark.parametrize("label", ["{}", "{label}", "{c}", "x{c}", "{{}}{label}", "\\g<0>", "100 %"])
@pytest.mark.parametrize("placeholder", ["{}", "{label}", "{c}"])
def test_braces_in_a_label_are_part_of_it(label: str, placeholder: str) -> None:
    assert fill(f"a {placeholder}.", label) == f"a {label}."


@pytest.mark.parametrize("template", ["", "a photo", "{label", "{ }", "{0}", "{name}"])
def test_a_template_without_a_place_for_the_label_is_refused_by_name(template: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        label_set(["owl"], templates=["{}", template])
    assert caught.value.template == template
    assert repr(template) in str(caught.value)


def test_prompts_come_label_by_label() -> None:
    assert prompts_for(["owl", "fox"], ["a {}", "the {}"]) == ["a owl", "the owl", "a fox", "the fox"]
    assert prompts_for(["owl"]) == ["This is a photo of owl."]
    assert prompts_for(["owl"], "{}!") == ["owl!"]


# --- label sets -------------------------------------------------------------------------------------------------------


def test_plain_labels_get_the_default_template() -> None:
    assert label_set(["owl", "red fox"], name="animals") == LabelSet(
        ("owl", "red fox"),
        (("This is a photo of owl.",), ("This is a photo of red fox.",)),
        (DEFAULT_TEMPLATE,),
        "animals",
    )


def test_one_text_is_one_label() -> None:
    assert label_set("owl").labels == ("owl",)


def test_several_templates_make_several_prompts_and_equal_ones_count_once() -> None:
    made = label_set(["owl"], templates=["a {}", "a {c} ", "the {}"])
    assert made.prompts == (("a owl", "the owl"),)
    assert made.templates == ("a {}", "a {c} ", "the {}")


def test_written_prompts_are_kept_and_names_without_any_get_the_templates() -> None:
    made = label_set(
        {
            "owl": ["a bird of the night", "an {} in a tree", "a bird of the night "],
            "fox": None,
            "bear": [],
            "elk": "Elk!",
        },
        templates="one {}",
    )
    assert made.prompts == (("a bird of the night", "an owl in a tree"), ("one fox",), ("one bear",), ("Elk!",))
    assert made.templates == ("one {}",)


def test_blank_prompts_count_as_none() -> None:
    assert label_set({"owl": ["", "  "], "fox": " "}, templates="one {}").prompts == (("one owl",), ("one fox",))
    assert label_set({"owl": ["", "hoot"]}).prompts == (("hoot",),)


def test_templates_are_only_recorded_where_they_made_a_prompt() -> None:
    assert label_set({"owl": "hoot"}, templates="one {}").templates == ()


def test_a_label_set_is_taken_as_it_is_unless_templates_are_given() -> None:
    made = label_set({"owl": "hoot"}, name="birds")
    assert label_set(made) is made
    again = label_set(made, templates="one {}")
    assert (again.labels, again.prompts, again.name) == (("owl",), (("one owl",),), "birds")


@pytest.mark.parametrize("nothing", [[], (), {}])
def test_no_labels(nothing: Sequence[str]) -> None:
    with pytest.raises(NoLabels):
        label_set(nothing)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\N{IDEOGRAPHIC SPACE}", "\N{NO-BREAK SPACE}"])
def test_an_empty_label_is_named_by_its_position(blank: str) -> None:
    with pytest.raises(EmptyLabel, match="number 2") as caught:
        label_set(["owl", blank, "fox"])
    assert caught.value.position == 2


def test_duplicates_are_named_and_found_after_normalisation() -> None:
    with pytest.raises(DuplicateLabels, match=f"{COMPOSED}, owl") as caught:
        label_set([COMPOSED, "owl", "fox", DECOMPOSED, " owl "])
    assert caught.value.labels == (COMPOSED, "owl")


def test_labels_that_differ_in_case_are_two() -> None:
    assert len(label_set(["Turkey", "turkey"])) == 2


@pytest.mark.parametrize("text", ["テンチ", "がぎぐ", "ﾃﾝﾁ", "Việt", DECOMPOSED, "각", "👩‍👩‍👧", "Ångström"])
def test_every_spelling_of_a_character_makes_the_same_prompt(text: str) -> None:
    forms = {label_set([unicodedata.normalize(form, text)]).prompts for form in ("NFC", "NFD")}
    assert forms == {((f"This is a photo of {unicodedata.normalize('NFC', text)}.",),)}


def test_compatibility_characters_stay_what_they_are() -> None:
    assert normalise("ﾃﾝﾁ ½ ﬁ") == "ﾃﾝﾁ ½ ﬁ"  # NFKC would rewrite all three


# --- digests and documents --------------------------------------------------------------------------------------------


def test_the_digest_is_stable() -> None:
    # Pinned: exports carry it, and a run of last year must compare equal.
    assert digest(label_set(["owl", "テンチ"])) == "067ccad87b4670e24cf0282c4ceaefca6ff0fc19b19847c5af94b39161ea690b"


def test_the_digest_is_of_the_meaning_alone() -> None:
    made = label_set(["owl", "fox"], name="a")
    assert digest(made) == digest(replace(made, name="b", templates=()))
    others = [
        label_set(["fox", "owl"]),
        label_set(["owl", "fox"], templates="{}"),
        label_set({"owl": "This is a photo of owl.", "foxes": "This is a photo of fox."}),
        label_set({"owl": ["This is a photo of owl.", "hoot"], "fox": None}),
    ]
    assert len({digest(made), *map(digest, others)}) == 5


labels_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(normalise)


@given(
    st.dictionaries(labels_text, st.lists(labels_text, max_size=3), min_size=1, max_size=5),
    st.lists(labels_text.map(lambda t: t + "{}"), max_size=2),
)
def test_a_document_brings_a_label_set_back(labels: dict[str, list[str]], templates: list[str]) -> None:
    by_name = {normalise(label): prompts for label, prompts in labels.items()}
    made = label_set(by_name, templates=templates, name="n")
    stored = json.loads(json.dumps(to_document(made)))
    assert from_document(stored, name="n") == made
    assert digest(from_document(stored, name="n")) == digest(made)


def test_a_document_is_a_label_file() -> None:
    made = label_set({"owl": ["hoot", "an {}"], "fox": None}, templates=["one {}", "two {}"])
    assert parse_labels(json.dumps(to_document(made)), source="x.json").prompts == made.prompts


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "owl\nred fox\nテンチ\n",
        "owl\r\nred fox\r\nテンチ",
        "\ufeffowl\n\n# birds end here\n   red fox  \n\t\n  #not this\nテンチ\n\n",
    ],
)
@pytest.mark.parametrize("source", ["labels.txt", "labels", "-", "LABELS.CSV"])
def test_lines(text: str, source: str) -> None:
    assert parse_labels(text, source=source) == label_set(["owl", "red fox", "テンチ"])


@pytest.mark.parametrize("source", ["labels.json", "LABELS.JSON", "-", "labels.txt"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_json_list_whatever_its_name(source: str, bom: str) -> None:
    assert parse_labels(bom + ' ["owl", "# fox", 7]', source=source).labels == ("owl", "# fox", "7")


def test_a_json_mapping() -> None:
    text = '{"owl": ["hoot", "the {}"], "fox": "Reynard", "bear": null, "elk": [], "7": [8]}'
    made = parse_labels(text, source="x.json", templates="one {}")
    assert made.labels == ("owl", "fox", "bear", "elk", "7")
    assert made.prompts == (("hoot", "the owl"), ("Reynard",), ("one bear",), ("one elk",), ("8",))


@pytest.mark.parametrize(
    "text",
    [
        '{"labels": ["owl", "fox"], "templates": ["a {}", "the {}"]}',
        '{"templates": ["a {}", "the {}"], "labels": {"owl": null, "fox": []}}',
    ],
)
def test_labels_with_templates_and_the_caller_has_the_last_word(text: str) -> None:
    made = parse_labels(text, source="x.json", name="animals")
    assert made == label_set(["owl", "fox"], templates=["a {}", "the {}"], name="animals")
    assert parse_labels(text, source="x.json", templates="my {}").prompts == (("my owl",), ("my fox",))


def test_one_template_as_a_text() -> None:
    assert parse_labels('{"labels": ["owl"], "templates": "a {c}"}', source="x.json").prompts == (("a owl",),)


def test_a_label_named_labels_with_a_text_is_a_label() -> None:
    assert parse_labels('{"labels": "a label on a bottle", "owl": null}', source="x.json").labels == ("labels", "owl")


@pytest.mark.parametrize("suffix", ["yaml", "yml", "YAML"])
def test_yaml_forms(suffix: str) -> None:
    text = "templates: 'a {}'\nlabels:\n  owl:\n    - hoot\n    - the {}\n  fox:\n  bear: []\n  elk: Elk!\n"
    made = parse_labels(text, source=f"x.{suffix}")
    assert made.prompts == (("hoot", "the owl"), ("a fox",), ("a bear",), ("Elk!",))
    assert parse_labels("- owl\n- red fox\n", source=f"x.{suffix}").labels == ("owl", "red fox")


def test_yaml_values_are_the_words_that_were_written() -> None:
    words = [
        "no",
        "yes",
        "on",
        "true",
        "null",
        "~",
        "007",
        "1_000",
        "0x1F",
        "12:30",
        "1.50",
        "2024",
        "2024-01-31",
        "<<",
    ]
    text = "".join(f"- {word}\n" for word in words)
    assert parse_labels(text, source="x.yaml").labels == tuple(words)
    keys = "".join(f"{word}: [{word}]\n" for word in words)
    assert parse_labels(keys, source="x.yaml").prompts == tuple((word,) for word in words)


@pytest.mark.parametrize(
    ("source", "text", "place"),
    [
        ("x.json", '["owl",\n "fox"', r"line 2, column 7"),
        ("x.json", "owl\nfox", r"line 1, column 1"),
        ("-", '{"owl": }', r"line 1, column 9"),
        ("x.json", '"owl"', "expected a list of labels"),
        ("x.json", "3", "expected a list of labels"),
        ("x.json", '["owl", true]', "label number 2 must be text, not true"),
        ("x.json", '["owl", null, "fox"]', "label number 2 must be text, not null"),
        ("x.json", "[1.5]", "label number 1 must be text, not 1.5"),
        ("x.json", '[["owl"]]', r"label number 1 must be text, not \[.owl.\]"),
        ("x.json", '{"owl": {"a": 1}}', "text number 1 of 'owl'"),
        ("x.json", '{"owl": ["hoot", false]}', "text number 2 of 'owl' must be text, not false"),
        ("x.json", '{"labels": ["owl"], "templates": {"a {}": 1}}', 'text number 1 in "templates"'),
        ("x.json", '{"labels": ["owl"], "templates": ["a {}", true]}', 'text number 2 in "templates"'),
        ("x.json", '{"labels": ["owl"], "template": "a {}"}', 'besides "labels".* found template'),
        ("x.json", '{"labels": ["a bottle"], "owl": ["hoot"]}', 'besides "labels".* found owl'),
        ("x.yaml", "labels: [owl", "line 1"),
        ("x.yaml", "- owl\n- fox: [\n", "line 3"),
        ("x.yaml", "- owl\n-\n", "label number 2 must be text, not null"),
        ("x.yaml", "just a text", "expected a list of labels"),
        ("x.yaml", "", "expected a list of labels"),
        ("x.yaml", "- !!python/object:os.system x", "line 1"),
        ("x.yaml", "? [a, b]\n: owl\n", "line 1"),
    ],
)
def test_what_is_not_in_this_form_is_refused_with_the_place(source: str, text: str, place: str) -> None:
    with pytest.raises(BadLabelFile, match=place) as caught:
        parse_labels(text, source=source)
    assert caught.value.path == source
    assert str(caught.value).startswith(f"cannot read labels from {source}: ")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x.json", '{"owl": "a", "fox": "b", "owl": "c"}'),
        ("x.yaml", "owl: a\nfox: b\nowl: c\n"),
        ("x.yaml", "labels:\n  owl: a\n  owl: c\n"),
        ("x.json", '["owl", "owl"]'),
        ("x.json", '{"owl": "a", " owl ": "b"}'),
        ("x.txt", "owl\nfox\nowl\n"),
    ],
)
def test_a_label_that_stands_twice_is_named_not_dropped(source: str, text: str) -> None:
    with pytest.raises(DuplicateLabels) as caught:
        parse_labels(text, source=source)
    assert caught.value.labels == ("owl",)


@pytest.mark.parametrize(
    ("source", "text"),
    [("x.txt", ""), ("x.txt", "# owl\n\n"), ("x.json", "[]"), ("x.json", "{}"), ("x.yaml", "labels: []")],
)
def test_a_file_without_labels(source: str, text: str) -> None:
    with pytest.raises(NoLabels):
        parse_labels(text, source=source)


def test_other_label_errors_come_through() -> None:
    with pytest.raises(EmptyLabel):
        parse_labels('["owl", ""]', source="x.json")
    with pytest.raises(BadTemplate):
        parse_labels('{"labels": ["owl"], "templates": ["a photo"]}', source="x.json")


# --- label files that others published --------------------------------------------------------------------------------


def published(name: str) -> str:
    file = PUBLIC_LABELS / name
    if not file.exists():
        pytest.skip(f"the published label files ({PUBLIC_LABELS.name}/{name}) are not here")
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "n_labels", "n_prompts"),
    [("cupl/cifar10_prompts_full.json", 10, 30), ("cupl/texture_prompts_full.json", 47, 60)],
)
def test_cupl_files_are_label_files(name: str, n_labels: int, n_prompts: int) -> None:
    made = parse_labels(published(name), source=name)
    assert len(made) == n_labels
    assert made.templates == ()
    # Of the prompts that a language model wrote some are equal.
    assert all(1 <= len(set(prompts)) == len(prompts) <= n_prompts for prompts in made.prompts)
    assert sum(map(len, made.prompts)) > 0.8 * n_labels * n_prompts


@pytest.mark.parametrize("language", ["en", "jp"])
def test_clip_benchmark_names_and_templates(language: str) -> None:
    names = json.loads(published(f"clip_benchmark/{language}_classnames.json"))["imagenet1k"]
    templates = json.loads(published(f"clip_benchmark/{language}_zeroshot_classification_templates.json"))["imagenet1k"]
    once = list(dict.fromkeys(map(normalise, names)))
    made = label_set(once, templates=templates)
    assert len(made) > 900
    assert made.prompts[0][0] == normalise(templates[0].replace("{c}", once[0]))
    assert all(len(prompts) == len(set(templates)) for prompts in made.prompts)


# --- groups, negatives, files of others -------------------------------------------------------------------------------


def test_answers_are_labels_with_groups_in_their_place() -> None:
    plain = label_set(["a", "b", "c"])
    assert (plain.answers, plain.answer_of, plain.is_plain) == (("a", "b", "c"), (0, 1, 2), True)
    grouped = label_set(["a", "b", "c", "d"], groups={"x": ["d", "b"]}, negatives=["n", "m"])
    assert grouped.answers == ("a", "x", "c", NONE)
    assert grouped.concepts == ("a", "b", "c", "d", "n", "m")
    assert grouped.answer_of == (0, 1, 2, 1, 3, 3)
    assert not grouped.is_plain
    assert grouped.concept_prompts[-1] == ("This is a photo of m.",)


def test_a_group_may_be_called_like_one_of_its_labels() -> None:
    assert label_set(["dog", "puppy"], groups={"dog": ["dog", "puppy"]}).answers == ("dog",)


@pytest.mark.parametrize(
    ("groups", "negatives", "word"),
    [
        ({"x": ["z"]}, [], "not one of the labels"),
        ({"x": ["a"], "y": ["a"]}, [], "two groups"),
        ({"c": ["a", "b"]}, [], "outside"),
        ({"x": []}, [], "at least one"),
        ({"x": ["a"], " x": ["b"]}, [], "same name: x"),
        ({}, ["b"], "also be a negative"),
        ({NONE: ["a"]}, [], "none of the labels"),
    ],
)
def test_groups_that_contradict_the_labels_are_refused(
    groups: dict[str, list[str]], negatives: list[str], word: str
) -> None:
    with pytest.raises(BadGroups, match=word):
        label_set(["a", "b", "c"], groups=groups, negatives=negatives)


def test_a_label_cannot_be_called_like_the_answer_for_none() -> None:
    with pytest.raises(BadGroups):
        label_set([NONE])


def test_groups_and_negatives_survive_new_templates_and_documents() -> None:
    made = label_set({"a": ["one a"], "b": None}, groups={"x": ["a", "b"]}, negatives={"n": "an n"}, name="set")
    again = label_set(made, templates="the {}")
    assert again.prompts == (("the a",), ("the b",))
    assert (again.groups, again.negatives, again.negative_prompts) == (made.groups, ("n",), (("the n",),))
    assert from_document(to_document(made), name="set") == made
    read = parse_labels(json.dumps(to_document(made)), source="x.json", name="set")
    assert (read.prompts, read.groups, read.negative_prompts) == (made.prompts, made.groups, made.negative_prompts)


def test_the_digest_tells_groups_and_negatives_apart() -> None:
    sets = [
        label_set(["a", "b"]),
        label_set(["a", "b"], groups={"x": ["a"]}),
        label_set(["a", "b"], groups={"x": ["b"]}),
        label_set(["a"], negatives=["b"]),
        label_set(["a", "b", "c"]),
    ]
    assert len({digest(labels) for labels in sets}) == len(sets)


def test_class_names_of_a_data_set_are_chosen_by_name() -> None:
    text = json.dumps({"imagenet1k": ["crane", "owl", "crane"], "digits": ["0", "", "1"]})
    cranes = parse_labels(text, source="en_classnames.json", key="imagenet1k", templates="a {}")
    assert cranes.labels == ("crane", "owl", "crane (2)")
    assert cranes.prompts == (("a crane",), ("a owl",), ("a crane",))
    digits = parse_labels(text, source="en_classnames.json", key="digits", templates="a {c}.")
    assert digits.labels == ("0", "class 2", "1")
    assert digits.prompts[1] == ("a .",)
    with pytest.raises(BadLabelFile, match=r"en_classnames\.json#imagenet1k"):
        parse_labels(text, source="en_classnames.json")
    with pytest.raises(BadLabelFile, match="'birds'"):
        parse_labels(text, source="en_classnames.json", key="birds")


@pytest.mark.skipif(not PUBLIC_LABELS.is_dir(), reason="needs the label files that lie beside a checkout")
def test_label_and_template_files_of_others_load_as_they_are() -> None:
    for language in ("en", "jp"):
        names = PUBLIC_LABELS / "clip_benchmark" / f"{language}_classnames.json"
        templates = PUBLIC_LABELS / "clip_benchmark" / f"{language}_zeroshot_classification_templates.json"
        ways = {key: parse_templates(templates.read_text(encoding="utf-8"), source=str(templates), key=key)
                for key in json.loads(templates.read_text(encoding="utf-8"))}  # fmt: skip
        for key, class_names in json.loads(names.read_text(encoding="utf-8")).items():
            found = parse_labels(
                names.read_text(encoding="utf-8"), source=str(names), key=key, templates=ways.get(key, ("{c}",))
            )
            assert len(found) == len(class_names), key
            assert [prompts[0] for prompts in found.prompts] == [
                fill(ways.get(key, ("{c}",))[0], normalise(name)) for name in class_names
            ]


def test_the_published_template_sets_are_those_of_open_clip() -> None:
    from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    assert BUILT_IN["openai-80"] == tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    assert BUILT_IN["openai-7"] == tuple(template("{}") for template in SIMPLE_IMAGENET_TEMPLATES)


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("a {}\n# no\n\nthe {c}\n", "t.txt", ("a {}", "the {c}")),
        ('["a {}", "a {}"]', "t.json", ("a {}",)),
        ("- one {label}\n", "t.yaml", ("one {label}",)),
    ],
)
def test_template_files(text: str, source: str, expected: tuple[str, ...]) -> None:
    assert parse_templates(text, source=source) == expected


@pytest.mark.parametrize("text", ["", "[]", '["no place"]', '{"a": ["{}"]}', '{"a": 1', "[1.5]"])
def test_template_files_that_are_none(text: str) -> None:
    with pytest.raises((BadLabelFile, BadTemplate)):
        parse_templates(text, source="t.json" if text else "t.txt")


# --- prompts are filled once ------------------------------------------------------------------------------------------

BRACES = ("xx{}", "{c}", "{label} and {}", "plain", "{{}}")


@pytest.mark.parametrize(
    "more", [{}, {"groups": {"odd": ["{c}", "plain"]}}, {"negatives": ["sky {}"]}, {"name": "other"}], ids=str
)
def test_what_is_added_to_a_label_set_leaves_its_prompts_and_templates_alone(more: dict[str, Any]) -> None:
    made = label_set(BRACES, templates=["a {}.", "the {label}"], negatives=["{}", "sea"])
    assert made.prompts[0] == ("a xx{}.", "the xx{}")
    changed = label_set(made, **more)
    assert changed.labels == made.labels
    assert changed.prompts == made.prompts
    assert changed.templates == made.templates
    assert changed.groups == tuple((name, tuple(of)) for name, of in more.get("groups", {}).items())
    if "negatives" in more:
        assert (changed.negatives, changed.negative_prompts) == (("sky {}",), (("a sky {}.", "the sky {}"),))
    else:
        assert (changed.negatives, changed.negative_prompts) == (made.negatives, made.negative_prompts)
    assert changed.name == more.get("name")


def test_written_prompts_are_kept_when_groups_are_added() -> None:
    written = label_set({"a": ["photo of {}"], "b": ["curly {} text"]}, literal=True)
    assert written.prompts == (("photo of {}",), ("curly {} text",))
    assert label_set(written, groups={"both": ["a", "b"]}).prompts == written.prompts
    assert label_set(written, groups={"both": ["a", "b"]}).templates == ()


@pytest.mark.parametrize("source", ["set.json", "set.yaml"])
@pytest.mark.parametrize(
    "labels",
    [
        label_set(BRACES),
        label_set(BRACES, templates=["a {}.", "the {c}"], groups={"odd": ["{c}", "xx{}"]}, negatives=["{}"]),
        label_set({"cat": ["a {} of text"], "{}": ["{label}"]}, literal=True),
        label_set({"cat": ["one", "two"], "dog": None}, templates=["a {}."]),
        label_set(["cat", "dog"], templates=["a {}.", "the {}."]),
        label_set({"cat": "written", "dog": "out"}),
    ],
    ids=str,
)
def test_a_label_set_comes_back_from_its_document_as_it_was(labels: LabelSet, source: str) -> None:
    text = json.dumps(to_document(labels), ensure_ascii=False)  # which is YAML, too
    assert parse_labels(text, source=source) == labels
    assert from_document(json.loads(text), name="x") == replace(labels, name="x")


def test_only_prompts_with_braces_are_marked_as_literal() -> None:
    assert "literal" not in to_document(label_set(["cat"]))
    assert to_document(label_set(["{}"]))["literal"] is True
    with pytest.raises(BadLabelFile, match='"literal" must be true or false, not "perhaps"'):
        parse_labels('{"labels": ["a"], "literal": "perhaps"}', source="x.json")


def test_class_names_with_braces_are_filled_once() -> None:
    names = {"imagenet1k": ["x", "y"], "odd": ["a {}", "a {}", "b"]}
    odd = parse_labels(json.dumps(names), source="names.json", key="odd")
    assert odd.prompts[1] == ("This is a photo of a {}.",)


# --- tables of labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a.csv", "id,label\n1,owl\n2,fox\n"),
        ("a.CSV", "\ufeffID;Label\r\n1;owl\r\n2;fox\r\n"),
        ("a.tsv", "class\twordnet\nowl\tn01\nfox\tn02\n"),
        ("a.csv", "name\nowl\n\nfox\n"),
        ("-", "id,label\n1,owl\n2,fox\n"),  # from a pipe, which has no extension
        ("a.txt", "\ufeff\nID;Class\r\n1;owl\r\n2;fox\r\n"),
    ],
)
def test_tables_name_labels_in_a_column(source: str, text: str) -> None:
    labels = parse_labels(text, source=source)
    assert labels.labels == ("owl", "fox")
    assert labels.prompts == (("This is a photo of owl.",), ("This is a photo of fox.",))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("label\nowl\n", ("label", "owl")),  # a single column may be one of labels
        ("a red, old car\na boat, label\n", ("a red, old car", "a boat, label")),
        ("class, label\n", ("class, label",)),  # and nothing below it
        ("labels, many\nowl\n", ("owl",)),
    ],
)
def test_lines_with_commas_are_labels_unless_the_first_names_columns(text: str, labels: tuple[str, ...]) -> None:
    assert parse_labels(text, source="a.txt").labels == labels


def test_tables_with_prompts_and_groups() -> None:
    text = 'label,prompt,group\nowl,"an owl, at night",bird\nowl,{} by day,bird\nfox,,\n'
    labels = parse_labels(text, source="a.csv", templates="a {}")
    assert dict(zip(labels.labels, labels.prompts, strict=True)) == {
        "owl": ("an owl, at night", "owl by day"),
        "fox": ("a fox",),
    }
    assert labels.groups == (("bird", ("owl",)),)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("id,animal\n1,owl\n", BadLabelFile, "first line must name the column label"),
        ("label\nowl\nowl\n", DuplicateLabels, "owl"),
        ("label,group\n,bird\n", BadLabelFile, "line 2: the label is empty"),
        ("label,group,prompt\nowl,bird,a\nowl,night,b\n", BadGroups, "two groups"),
        ("label\n", NoLabels, "no labels"),
    ],
)
def test_tables_that_name_no_labels(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_labels(text, source="a.csv")


# --- labels that are one word -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["grevy's zebra", "GREVY'S ZEBRA", "Ｇrevy's Zebra", "Grevy's\u00a0 Zebra"])
def test_one_word_written_in_two_ways_is_told(other: str) -> None:
    with pytest.warns(LabelsAlike, match="Grevy's Zebra.* and ") as told:
        warn_of_alike(label_set(["Grevy's Zebra", "owl", other]))
    assert len(told) == 1


def test_other_words_are_not() -> None:
    warn_of_alike(label_set(["zebra", "zebras", "zebra crossing", "café", "cafe"]))
