"""The OpenAPI document says what the service does: schemathesis asks what it allows, and what it does not."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import get_client
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.web.conftest import HOST
from zsindex.library import Library
from zsindex.web import Limits, Security, create_app

# Of each operation, right and wrong; with the variable, others each time.
EXAMPLES = int(os.environ.get("ZSINDEX_EXAMPLES", "10"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass
class Asked:
    """A service, its document as schemathesis reads it, and what came back."""

    app: FastAPI
    schema: Any
    session: Any
    statuses: Counter[int] = field(default_factory=Counter)


def _without_lifespan(app: FastAPI) -> ASGIApp:
    """The application without its beginning and end, through which schemathesis would send it over and over."""

    async def running(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})

    return running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("openapi")
    for colour in ("red", "green", "blue"):
        photo(folder / "album" / f"{colour}.png", colour)
    with Library.open(folder / "library", encoder=FakeEncoder(context_length=10_000)) as library:
        library.sync(folder / "album")
        library.labels.save("animals", ["owl", "fox"])
        app = create_app(
            library,
            security=Security(hosts=frozenset({HOST})),
            limits=Limits(requests_per_s=0, queued_jobs=10_000),
            thumbnails=folder / "thumbnails",
        )
        schema = schemathesis.openapi.from_dict(app.openapi())
        schema.app = running = _without_lifespan(app)
        app.state.service.start()
        with get_client(running) as session:
            yield Asked(app, schema, session)
        app.state.service.stop()


OPERATIONS = [
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/library"),
    ("get", "/v1/library/now"),
    ("get", "/v1/folders"),
    ("get", "/v1/models"),
    ("get", "/v1/skipped"),
    ("get", "/v1/session"),
    ("post", "/v1/session"),
    ("delete", "/v1/session"),
    ("get", "/v1/classify"),
    ("post", "/v1/classify"),
    ("post", "/v1/classify/counts"),
    ("post", "/v1/classify/upload"),
    ("post", "/v1/groups"),
    ("get", "/v1/groups/{key}/photos"),
    ("get", "/v1/groups/{key}/places"),
    ("get", "/v1/groups/{key}/answers"),
    ("get", "/v1/groups/{key}/export"),
    ("get", "/v1/groups/{key}/tags"),
    ("get", "/v1/groups/{key}/flips/{other}"),
    ("get", "/v1/groups/{key}/flips/{other}/photos"),
    ("get", "/v1/corrections"),
    ("post", "/v1/corrections"),
    ("delete", "/v1/corrections"),
    ("post", "/v1/corrections/undo"),
    ("post", "/v1/corrections/forget"),
    ("get", "/v1/copies"),
    ("get", "/v1/duplicates"),
    ("post", "/v1/choices"),
    ("get", "/v1/choices/{survey}"),
    ("post", "/v1/choices/{survey}/answers"),
    ("post", "/v1/choices/{survey}/undo"),
    ("post", "/v1/reviews"),
    ("get", "/v1/reviews/{survey}"),
    ("get", "/v1/reviews/{survey}/found"),
    ("post", "/v1/reviews/{survey}/answers"),
    ("post", "/v1/reviews/{survey}/undo"),
    ("post", "/v1/counts"),
    ("get", "/v1/counts/{survey}"),
    ("get", "/v1/counts/{survey}/groups"),
    ("post", "/v1/counts/{survey}/answers"),
    ("post", "/v1/counts/{survey}/undo"),
    ("get", "/v1/albums"),
    ("put", "/v1/albums/{name}"),
    ("delete", "/v1/albums/{name}"),
    ("get", "/v1/albums/{name}/photos"),
    ("post", "/v1/albums/{name}/seen"),
    ("post", "/v1/albums/{name}/photos"),
    ("post", "/v1/albums/{name}/photos/remove"),
    ("get", "/v1/duplicates/decisions"),
    ("post", "/v1/duplicates/decisions"),
    ("delete", "/v1/duplicates/decisions"),
    ("post", "/v1/duplicates/decisions/undo"),
    ("get", "/v1/events"),
    ("get", "/v1/map"),
    ("post", "/v1/map"),
    ("get", "/v1/map/groups"),
    ("post", "/v1/images/paths"),
    ("get", "/v1/search"),
    ("post", "/v1/search"),
    ("post", "/v1/search/upload"),
    ("get", "/v1/images"),
    ("get", "/v1/images/counts"),
    ("get", "/v1/images/sections"),
    ("post", "/v1/images/export"),
    ("post", "/v1/images/tags"),
    ("post", "/v1/embed"),
    ("get", "/v1/images/{image_id}"),
    ("get", "/v1/images/{image_id}/facts"),
    ("get", "/v1/images/{image_id}/similar"),
    ("get", "/v1/images/{image_id}/thumbnail"),
    ("get", "/v1/images/{image_id}/file"),
    ("post", "/v1/images/{image_id}/explain"),
    ("get", "/v1/label-sets"),
    ("get", "/v1/label-sets/{name}"),
    ("put", "/v1/label-sets/{name}"),
    ("post", "/v1/label-sets/{name}"),
    ("delete", "/v1/label-sets/{name}"),
    ("get", "/v1/template-sets"),
    ("get", "/v1/template-sets/{name}"),
    ("put", "/v1/template-sets/{name}"),
    ("delete", "/v1/template-sets/{name}"),
    ("post", "/v1/sync"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{job_id}"),
    ("post", "/v1/jobs/{job_id}/cancel"),
    ("get", "/v1/jobs/{job_id}/events"),
    ("post", "/v1/corrections/bulk"),
    ("get", "/v1/corrections/next"),
    ("get", "/v1/thresholds"),
    ("post", "/v1/thresholds"),
    ("delete", "/v1/thresholds"),
    ("post", "/v1/diff"),
    ("post", "/v1/lint"),
    ("post", "/v1/suggest"),
    ("post", "/v1/eval"),
    ("post", "/v1/eval/photos"),
    ("post", "/v1/eval/differing"),
    ("post", "/v1/eval/curve"),
    ("get", "/v1/temperature"),
    ("post", "/v1/temperature"),
    ("delete", "/v1/temperature"),
    ("post", "/v1/prior"),
    ("get", "/v1/runs"),
    ("get", "/v1/runs/{key}"),
    ("post", "/v1/runs/{key}/repeat"),
    ("post", "/v1/tags"),
    ("post", "/v1/tags/retract"),
]


def test_all_of_it_is_asked(service: Asked) -> None:
    paths = service.app.openapi()["paths"]
    assert sorted((method, path) for path, item in paths.items() for method in item) == sorted(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{m} {p}" for m, p in OPERATIONS])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.filterwarnings("ignore")  # of schemathesis and hypothesis about each other
def test_answers_are_as_declared(service: Asked, method: str, path: str, mode: GenerationMode) -> None:
    operation = service.schema[path][method.upper()]
    if mode is GenerationMode.NEGATIVE and not (operation.path_parameters or operation.query or operation.body):
        return  # nothing of it can be wrong

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="ZSINDEX_EXAMPLES" not in os.environ,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        response = case.call(base_url=f"http://{HOST}", session=service.session)
        service.statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    ask()


def test_questions_were_answered_and_refused(service: Asked) -> None:
    # Runs last in this module: all refused, or all well, would prove nothing.
    assert service.statuses[200] > 20
    assert service.statuses[422] > 20
    assert not {status for status in service.statuses if status >= 500}


def test_every_operation_is_described_and_every_body_has_an_example(service: Asked) -> None:
    document = service.app.openapi()
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], path
            assert operation["description"], path
            refused = operation["responses"]["4XX"]["content"]
            assert list(refused) == ["application/problem+json"], path
            assert "422" not in operation["responses"], path
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for name in re.findall(r"#/components/schemas/(\w+)", str(content)):
                    schema = schemas[name]
                    if name.startswith("Body_") or name == "SessionRequest":
                        continue  # files and secrets
                    has_one = "examples" in schema or any("examples" in p for p in schema["properties"].values())
                    assert has_one, (method, path, name)
    assert "ProblemDocument" in schemas


def test_records_are_described_for_clients(service: Asked) -> None:
    schemas = service.app.openapi()["components"]["schemas"]
    # In one line of the docstring, and of two properties here.
    width, height = (schemas["Photo"]["properties"][side]["description"] for side in ("width", "height"))
    assert width == height
    assert "pixels" in width
    assert re.search(r"\bnull\b", schemas["TemplateScores"]["properties"]["scores"]["description"])
    for name, schema in schemas.items():
        for described in (schema, *schema.get("properties", {}).values()):
            text = described.get("description", "")
            assert not re.search(r"Attributes:|``|\bNone\b", text), (name, text)
