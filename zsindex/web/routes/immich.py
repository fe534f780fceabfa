"""``/predict`` and ``/ping``, as immich's machine learning service answers them: vectors of this library's model for an
immich server. Only where the service was started for it.

Written from what immich's server sends and its service returns: a form with ``entries``, JSON that names a task, a kind
and a model, and with ``image`` or ``text``. Of its tasks this is ``clip``; faces and texts in photos are not zsindex's.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, File, Form, UploadFile
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, Response

from zsindex.records import FloatArray
from zsindex.web import uploads
from zsindex.web.problems import Problem
from zsindex.web.schemas.fields import Text
from zsindex.web.service import Service, ServiceHere

router = APIRouter(tags=["immich"])
# Asked for without a token: an immich server sends none.
PATHS = frozenset({"/ping", "/predict"})
Kind: TypeAlias = Literal["visual", "textual"]


class Entry(BaseModel):
    """Which model to ask."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    model_name: str = Field(alias="modelName")


class Predicted(BaseModel):
    """A vector as immich's database reads it: the text of a JSON array; and of an image its size, upright."""

    model_config = ConfigDict(populate_by_name=True)

    clip: str
    image_height: int | None = Field(default=None, alias="imageHeight")
    image_width: int | None = Field(default=None, alias="imageWidth")


_ENTRIES: TypeAdapter[dict[str, dict[str, Entry]]] = TypeAdapter(dict[str, dict[str, Entry]])


@router.get("/ping", response_class=PlainTextResponse, summary="Whether the service is running, for immich")
async def ping() -> Response:
    """Asks nothing of the library."""
    return PlainTextResponse("pong")


@router.post("/predict", response_model=Predicted, response_model_exclude_none=True, summary="A vector, for immich")
def predict(
    service: ServiceHere,
    entries: Annotated[
        Text, Form(examples=['{"clip": {"textual": {"modelName": "ViT-B-32__openai", "options": {"language": "en"}}}}'])
    ],
    image: Annotated[UploadFile | None, File()] = None,
    text: Annotated[Text | None, Form()] = None,
) -> Response:
    """Of an image or a text. It comes from the cache where the library has it, and is kept where it can be."""
    kind = _kind(service, entries)
    if kind == "visual":
        if image is None:
            raise Problem("immich", 422, "a visual entry needs an image")
        return JSONResponse(_seen(service, uploads.read(service, [image])[0]))
    if text is None:
        raise Problem("immich", 422, "a textual entry needs a text")
    # As immich's own service, which cuts off what a model does not read.
    [vector] = service.library.embed_texts([text], truncate=True)
    return JSONResponse({"clip": _as_text(vector)})


def _kind(service: Service, entries: str) -> Kind:
    """What is asked for.

    Raises:
        Problem: it is not this service's to answer.
    """
    try:
        tasks = _ENTRIES.validate_json(entries)
    except ValidationError as error:
        raise Problem("immich", 422, "entries is not JSON of the form {task: {kind: {modelName: …}}}") from error
    [(task, kinds), *more] = tasks.items() or [("", {})]
    if task != "clip" or more:
        raise Problem("immich", 422, "this service answers clip alone; leave faces and texts to immich's own")
    [(kind, entry), *others] = kinds.items() or [("", None)]
    if entry is not None and entry.model_name != service.security.immich:
        detail = f"this service answers for {service.security.immich}, not {entry.model_name}: two models never mix"
        raise Problem("immich", 422, detail)
    match kind, others:
        case ("visual" | "textual") as kind, []:
            return kind
    raise Problem("immich", 422, "clip is asked for as visual or textual, one at a time")


def _seen(service: Service, data: bytes) -> dict[str, str | int]:
    [vector] = uploads.vectors_of(service, [data], store=not service.library.read_only)
    facts = service.decoder.read_facts(data)
    size = {"imageHeight": facts.height, "imageWidth": facts.width}
    return {"clip": _as_text(vector), **{name: pixels for name, pixels in size.items() if pixels is not None}}


def _as_text(vector: FloatArray) -> str:
    return json.dumps(vector.tolist(), separators=(",", ":"))
