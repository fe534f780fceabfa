"""Numbers that people give: what is none, or lies outside of its bounds, is refused wherever it is given."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import click
import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient
from zsindex.cli import cli
from zsindex.cli.options import Real, Whole

from tests import photos
from tests.fakes import FakeEncoder
from zsindex.arguments import bounds
from zsindex.bench import measure
from zsindex.library import Library
from zsindex.web import create_app
from zsindex.web.schemas.diff import DiffRequest
from zsindex.web.schemas.fields import RequestBody

NO_NUMBERS = [math.nan, math.inf, -math.inf]


def test_bounds_of_real_numbers() -> None:
    for value in (*NO_NUMBERS, True, "0.5", None, -0.1, 1.1, 10**400):
        with pytest.raises(ValueError, match=r"^x must be a number from 0 to 1, not "):
            bounds.real("x", value, least=0, most=1)
    assert [bounds.real("x", value, least=0, most=1) for value in (0, 1, np.float32(0.5))] == [0.0, 1.0, 0.5]
    with pytest.raises(ValueError, match=r"^x must be a number above 0, not 0$"):
        bounds.real("x", 0, above=0)
    with pytest.raises(ValueError, match=r"^x must be a number above 0 up to 1, not 2$"):
        bounds.real("x", 2, above=0, most=1)


def test_bounds_of_whole_numbers() -> None:
    for value in (*NO_NUMBERS, True, 1.0, "1", None, 0, -1, 2**63):
        with pytest.raises(ValueError, match=r"^n must be a whole number of at least 1, not "):
            bounds.whole("n", value, least=1)
    assert bounds.whole("n", np.int64(3), least=1) == 3


# --- the command line -------------------------------------------------------------------------------------------------


def parameters(
    command: click.Command, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    for parameter in command.params:
        yield names, parameter
    for name, below in getattr(command, "commands", {}).items():
        yield from parameters(below, (*names, name))


NUMBERS = [
    (" ".join([*names, parameter.opts[0]]), parameter)
    for names, parameter in parameters(cli)
    if isinstance(parameter.type, (click.types.FloatParamType, click.types.IntParamType))
]


def test_every_number_of_the_command_line_is_checked() -> None:
    assert len(NUMBERS) > 25
    for name, parameter in NUMBERS:
        assert isinstance(parameter.type, (Real, Whole)), name
        for value in ("nan", "inf", "-inf", "NaN", "Infinity", "1e999", "9" * 400, "true", ""):
            with pytest.raises(click.BadParameter):
                parameter.type.convert(value, parameter, None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "-l", "x", "--temperature", "nan"],
        ["classify", "-l", "x", "--temperature", "inf"],
        ["classify", "-l", "x", "--temperature", "5e-324"],
        ["classify", "-l", "x", "--temperature", "1e308"],
        ["classify", "-l", "x", "--unknown", "mcm:nan"],
        ["classify", "-l", "x", "--unknown", "mcm:score=inf"],
        ["labels", "suggest", "x", "--vocabulary", "basic", "--unfit", "nan"],
        ["labels", "suggest", "x", "--vocabulary", "basic", "--unfit", "inf%"],
    ],
)
def test_numbers_within_texts(arguments: list[str], new_library: Path) -> None:
    found = CliRunner().invoke(cli, arguments, env={"ZSINDEX_LIBRARY": str(new_library)})
    assert found.exit_code in (1, 2)
    assert isinstance(found.exception, SystemExit), found.exception


# --- Python -----------------------------------------------------------------------------------------------------------


def asked(library: Library) -> dict[str, tuple[list[Any], Callable[[Any], object]]]:
    labels = ["red", "blue"]
    library.labels.save("set", labels)
    answers = library.classify(labels)
    real, whole = [*NO_NUMBERS, True], [-1, 0.5, True, math.nan, 2**70]
    return {
        "temperature": ([*real, 0, 5e-324, 1e-39, 1e308], lambda x: library.classify(labels, temperature=x)),
        "min_score": (real, lambda x: answers.filtered(min_score=x)),
        "top": ([*whole, 0], lambda x: library.classify(labels, top=x)),
        "top of a search": (whole, lambda x: library.search("red", top=x)),
        "threshold": ([*real, 0], lambda x: library.neighbours.duplicates(threshold=x)),
        "score": ([*real, 2], lambda x: library.thresholds.choose("set", "red", score=x)),
        "rate": ([*real, 2], lambda x: library.thresholds.choose("set", "red", rate=x)),
        "count": (whole, lambda x: library.thresholds.choose("set", "red", count=x)),
        "tags": (real, lambda x: library.tags.write(answers, min_score=x, apply=False)),
        "next": (whole, lambda x: library.corrections.next("set", x)),
        "share": ([*real, 0], lambda x: library.lab.suggest("set", vocabulary=["x"], share=x)),
        "part_size": ([*whole, 0], lambda x: library.vectors.export_to("x", part_size=x)),
        "batch_size": ([*whole, 0], lambda x: Library.open(library.path, batch_size=x)),
        "workers": ([*whole, 0], lambda x: Library.open(library.path, workers=x)),
        "seconds": ([*real, 0], lambda x: measure.measure(seconds=x)),
    }


def test_every_number_of_the_library_is_checked(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync([photos.save(tmp_path / "red.png", photos.solid("red"))])
        for name, (values, ask) in asked(library).items():
            for value in values:
                with pytest.raises(ValueError, match=r"must be a (whole )?number"):
                    raise AssertionError(f"{name}: {value} gives {ask(value)}")


# --- the service ------------------------------------------------------------------------------------------------------


def numbers_in(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType, list, dict, tuple, Annotated):
        return any(map(numbers_in, get_args(annotation)))
    return annotation in (int, float)


def questions() -> Iterator[type[BaseModel]]:
    pending: list[type[BaseModel]] = [RequestBody]
    while pending:
        model = pending.pop()
        pending.extend(model.__subclasses__())
        yield model


def test_no_field_of_a_question_takes_what_is_no_number() -> None:
    seen = 0
    assert DiffRequest in questions()
    for model in questions():
        for name, field in model.model_fields.items():
            if not numbers_in(field.annotation):
                continue
            seen += 1
            for value in (*NO_NUMBERS, True, [True], [math.nan]):
                if isinstance(value, bool) and bool in get_args(field.annotation):
                    continue
                with pytest.raises(ValidationError) as refused:
                    model.model_validate({name: value})
                assert any(one["loc"][0] == name for one in refused.value.errors()), (model, name, value)
    assert seen > 20


def test_no_parameter_of_a_request_takes_what_is_no_number(tmp_path: Path) -> None:
    seen = 0
    with (
        Library.open(tmp_path / "library", encoder=FakeEncoder()) as library,
        TestClient(create_app(library), base_url="http://127.0.0.1:8765") as client,
    ):
        for path, methods in client.get("/v1/openapi.json").json()["paths"].items():
            for method, operation in methods.items():
                for parameter in operation.get("parameters", ()):
                    schemas_of = [parameter["schema"], *parameter["schema"].get("anyOf", ())]
                    if not any(schema.get("type") in ("number", "integer") for schema in schemas_of):
                        continue
                    seen += 1
                    name, where = parameter["name"], parameter["in"]
                    for value in ("nan", "inf", "-inf", "true", "1e999"):
                        url = re.sub(r"{(\w+)}", lambda m: value if m[1] == name else "1", path)  # noqa: B023
                        answer = client.request(method, url, params={name: value} if where == "query" else {})
                        assert answer.status_code == 422, (method, url, answer.text)
                        wrong = [one["at"] for one in answer.json()["errors"]]
                        assert any(at.startswith(f"{where}.{name}") for at in wrong), (method, url, wrong)
    assert seen > 5
