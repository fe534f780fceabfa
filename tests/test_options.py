"""Questions and queries: what is refused, what is made uniform, and that both lists of options are one."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsindex import label_set
from zsindex.classification.options import Query, QueryOptions, Question, QuestionOptions
from zsindex.errors import BadPath, BadQuestion, BadUnknown
from zsindex.records import Activation

LABELS = ["owl", "fox"]


def test_what_callers_can_say_is_what_a_question_holds() -> None:
    assert {field.name for field in fields(Question)} == {"labels", *QuestionOptions.__annotations__}
    assert {field.name for field in fields(Query)} == {*QueryOptions.__annotations__}


def test_a_question_is_made_uniform_once(tmp_path: Path) -> None:
    question = Question(LABELS, template="a {}", paths=tmp_path, activation="sigmoid", top=np.int64(2))
    assert question.labels == ("owl", "fox")
    assert question.template == ("a {}",)
    assert question.paths == (str(tmp_path),)
    assert question.activation is Activation.SIGMOID
    assert type(question.top) is int
    assert Question(label for label in LABELS) == Question(np.array(LABELS)) == Question(("owl", "fox"))
    with pytest.raises(FrozenInstanceError):
        question.top = 3  # type: ignore[misc]
    assert replace(question, top=3).paths == question.paths


def test_an_option_that_is_left_out_is_as_if_it_were_not_there() -> None:
    assert Question(LABELS) == Question(LABELS, paths=None, top=None, smooth=False, sync=True)
    assert Question.about("pets") == Question(label_set="pets")
    assert Question.about(LABELS) == Question(LABELS)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"label_set": "pets"}, ("labels", "label_set")),
        ({"smooth": True, "thresholds": True}, ("smooth", "thresholds")),
        ({"smooth": True, "multi_label": True}, ("smooth", "multi_label")),
        ({"with_corrections": "gda"}, ("with_corrections",)),
    ],
)
def test_options_that_do_not_go_together_are_named(options: dict[str, Any], names: tuple[str, ...]) -> None:
    with pytest.raises(BadQuestion) as caught:
        Question(LABELS, **options)
    assert caught.value.options == names
    assert isinstance(caught.value, ValueError)


def test_corrections_go_with_one_label_of_a_saved_set() -> None:
    saved = replace(label_set(LABELS), name="pets")
    assert Question(saved, with_corrections="gda").with_corrections == "gda"
    with pytest.raises(BadQuestion, match="multi_label and with_corrections exclude each other"):
        Question(saved, with_corrections="gda", multi_label=True)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"top": 0}, ValueError, "top must be a whole number of at least 1"),
        ({"temperature": float("nan")}, ValueError, "a temperature must be a number"),
        ({"activation": "relu"}, ValueError, "relu"),
        ({"unknown": "mcm"}, BadUnknown, "such as a tenth"),
        ({"paths": ""}, BadPath, "a path is empty"),
        ({"tpo": 3}, TypeError, "no option tpo"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Question(LABELS, **options)


def test_the_arguments_of_a_question_ask_it_again(tmp_path: Path) -> None:
    question = Question(LABELS, paths=tmp_path, top=2, temperature=0.5, unknown="mcm:0.1", truncate=True)
    assert Question(LABELS, **question.arguments) == question


def test_a_query_is_made_uniform_once(tmp_path: Path) -> None:
    query = Query("a dog", plus="snow", minus=["rain", b"an image"], paths=[tmp_path, "~"])
    assert (query.plus, query.minus) == (("a dog", "snow"), ("rain", b"an image"))
    assert query.paths == (str(tmp_path), str(Path.home()))
    assert (query.top, query.exact) == (20, False)
    with pytest.raises(ValueError, match="top must be a whole number of at least 0"):
        Query("a dog", top=-1)
    with pytest.raises(TypeError, match="no option tpo"):
        Query("a dog", tpo=3)  # type: ignore[call-arg]
