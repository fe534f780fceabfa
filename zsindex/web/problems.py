"""Failures as problem documents (RFC 9457). They say what to do and nothing about the host: no path, no traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import params
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from zsindex import errors
from zsindex.records import SkipReason

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2


class Problem(Exception):
    """A refusal.

    Attributes:
        slug: names the kind of problem; the document's type is ``urn:zsindex:problem:SLUG``.
        status: of HTTP.
        detail: for a person.
        more: further members of the document.
        headers: of the response.
    """

    def __init__(
        self,
        slug: str,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.slug, self.status, self.detail, self.more = slug, status, detail, more
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """What the client gets."""
        return {
            "type": f"urn:zsindex:problem:{self.slug}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }

    def response(self) -> Response:
        """The document as a response."""
        # As ASCII: a text that was given may hold half of a surrogate pair, which UTF-8 cannot say.
        body = json.dumps(self.document())
        return Response(body, self.status, headers={**self.headers, "Cache-Control": "no-store"}, media_type=MEDIA_TYPE)


def busy(detail: str, *, slug: str = "busy", retry_after_s: float = RETRY_AFTER_S) -> Problem:
    """Too much at once: 429, and when to come again."""
    return Problem(slug, 429, detail, headers={"Retry-After": str(max(1, round(retry_after_s)))})


# What is wrong with an upload, where it is not simply an image that cannot be read.
_IMAGE_STATUS = {
    SkipReason.TOO_MANY_PIXELS: 413,
    SkipReason.TOO_LARGE: 413,
    SkipReason.OUT_OF_MEMORY: 413,
    SkipReason.TOO_SLOW: 413,
    SkipReason.VANISHED: 404,
}


def of_error(error: errors.ZsindexError) -> Problem:
    """The problem that an expected failure of the library is.

    Messages of the library may name its folder, or a model's, so only those that cannot are passed on.
    """
    match error:
        case errors.LibraryReadOnly():
            return Problem("read-only", 403, f"cannot {error.action}: this library is read-only")
        case errors.LibraryBusy():
            return Problem(
                "library-busy",
                503,
                "the library is being written to; reading works meanwhile",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        case errors.LibraryUnreachable():
            return Problem(
                "library-unreachable",
                503,
                "the server of the library does not answer; nothing in it is lost",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        case errors.StorageFull():
            return Problem("storage-full", 507, "no space is left for the library; nothing in it is lost")
        case errors.LibraryError():
            return Problem("library", 500, "the library cannot be used; run zsindex check on its machine to see why")
        case errors.PromptTooLong():
            detail = (
                f"the prompt {error.prompt!r} has {error.tokens} tokens, but the model reads {error.context_length}"
            )
            return Problem("prompt-too-long", 422, detail)
        case errors.NoTemperature():
            return Problem("no-temperature", 422, "no temperature has been fitted for the model: POST /v1/temperature")
        case errors.ModelError():
            return Problem("model", 503, "the model cannot be loaded; run zsindex models on its machine to see why")
        case errors.UnknownLabelSet() | errors.UnknownTemplateSet():
            kind = "label set" if isinstance(error, errors.UnknownLabelSet) else "template set"
            return Problem("unknown-set", 404, f"there is no {kind} {error.name!r}", known=list(error.known))
        case errors.NoLabels():
            return Problem("labels", 422, "no labels given")
        case errors.LabelError():
            return Problem("labels", 422, str(error))
        case errors.UnknownSurvey():
            return Problem("unknown-survey", 404, str(error), known=list(error.known))
        case errors.BadAnswer():
            return Problem("answer", 422, str(error), choices=list(error.choices))
        case errors.UnknownAlbum():
            return Problem("unknown-album", 404, f"there is no album {error.name!r}", known=list(error.known))
        case errors.BadAlbum():
            return Problem("album", 422, str(error))
        case errors.BadFilter():
            return Problem("filter", 422, str(error), at=error.at, example=error.example)
        case errors.NoFacts():
            names = " and ".join(error.filters)
            detail = f"{names}: what the photos' metadata says was not read yet: POST /v1/sync"
            return Problem("no-facts", 409, detail)
        case errors.BadQuestion():
            excluding = len(error.options) > 1
            return Problem("options", 422, str(error)) if excluding else Problem("labels", 422, error.why)
        case errors.BadTruth():
            return Problem("truth", 422, str(error))
        case errors.UnknownRun():
            return Problem("unknown-run", 404, f"no run, or more than one, has a key that begins with {error.key!r}")
        case errors.TooManyPairs():
            detail = f"more than {error.limit:,} pairs of photos have a cosine of {error.threshold:g} or more; raise it"
            return Problem("threshold", 422, detail)
        case errors.TooManyScores():
            return Problem("too-much", 422, str(error))
        case errors.ImageError():
            return Problem("image", _IMAGE_STATUS.get(error.reason, 422), error.detail, reason=str(error.reason))
        case errors.DecoderUnavailable():
            detail = "no process can be started to decode photos in, perhaps for want of memory"
            return Problem("decoder", 503, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        case errors.UnknownImage():
            return Problem("unknown-image", 404, str(error))
        case errors.NotInLibrary() | errors.PathNotFound():
            return Problem("not-in-library", 404, "the library holds nothing at these paths", paths=list(error.paths))
        case errors.NoVectors():
            if error.damaged:
                return Problem("no-vectors", 409, str(error))
            why = f"none of the {error.photos:,} photos has a vector" if error.photos else "the library holds no photos"
            return Problem("no-vectors", 409, f"{why}: POST /v1/sync")
        case errors.BadText():
            return Problem("text", 422, str(error))
        case errors.SamePhoto():
            return Problem("same-photo", 422, str(error))
        case errors.BadQuery():
            return Problem("query", 422, str(error))
        case errors.PlaceExpired():
            return Problem("cursor-expired", 410, str(error))
        case errors.ExtraMissing():
            return Problem(
                "extra-missing", 501, f"this service lacks {error.package}: pip install 'zsindex[{error.extra}]'"
            )
        case errors.FetchError():
            return Problem("fetch", 422, str(error))
        case _:
            return Problem("refused", 422, "the library refuses this")


# What pydantic calls one of several shapes of a field, such as function-before[_listed(), list[…]]: nobody sent that.
_SHAPE = re.compile(r"(constrained|function|chain|tagged)[-\[]|(list|dict|literal)\[")
# Of a body that may be one of two things.
_TAGS = ("classify", "hub")
_EXPECTED = "Input should be "
MOST_WRONG = 20


def of_validation(found: Sequence[Any], body: Any = None) -> Problem:
    """The problem that a request with wrong fields is. It names places and rules, and does not repeat the input.

    A field may have one of several shapes. What is told is what is wrong with the shape that was sent, as far as that
    can be seen; where none of them was, all that there are.

    Args:
        found: as pydantic has it.
        body: of the request, as it was read.
    """
    places: dict[tuple[str | int, ...], list[str]] = {}
    for one in found:
        if isinstance(one, Mapping):
            place = tuple(p for p in one["loc"] if isinstance(p, int) or not _SHAPE.search(p))
            if place[1:2] and place[1] in _TAGS:
                place = (place[0], *place[2:])
            places.setdefault(place, []).append(str(one["msg"]))
    deepest = [place for place in places if not any(other[: len(place)] == place != other for other in places)]
    sent = [place for place in deepest if _is_in(body, place)]
    wrong = []
    for place in deepest:
        same_field = [other for other in sent if other[:2] == place[:2]]
        if not same_field or place in same_field:
            wrong.append({"at": ".".join(map(str, place)), "message": _one_of(places[place])})
    return Problem("fields", 422, "the request has fields that are wrong or missing", errors=wrong[:MOST_WRONG])


def _is_in(body: Any, place: tuple[str | int, ...]) -> bool:
    """Whether a place of a body is one that was sent."""
    for part in place[1:]:
        is_index = isinstance(part, int) and isinstance(body, list) and part < len(body)
        if not is_index and not (isinstance(part, str) and isinstance(body, Mapping) and part in body):
            return False
        body = body[part]
    return True


def _one_of(messages: Sequence[str]) -> str:
    """What is expected, of several shapes in one sentence."""
    expected = list(dict.fromkeys(message.removeprefix(_EXPECTED) for message in messages))
    if len(expected) == 1:
        return messages[0]
    return _EXPECTED + " or ".join(part.partition(", unable")[0] for part in expected)


def _of_media_type(request: Request) -> Problem | None:
    """The problem of a body that does not say what it is, or is something else than the endpoint reads."""
    field = getattr(request.scope.get("route"), "body_field", None)
    if field is None or request.headers.get("content-length", "0") == "0":
        return None
    wanted = "multipart/form-data" if isinstance(field.field_info, params.Form) else "application/json"
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given == wanted or (wanted == "application/json" and given.endswith("+json")):
        return None
    detail = f"this reads {wanted}, and the request says {given or 'nothing'} in its Content-Type"
    return Problem("media-type", 415, detail, headers={"Accept": wanted})


async def handle(request: Request, error: Exception) -> Response:
    """For Starlette: the response to an expected failure."""
    if isinstance(error, Problem):
        return error.response()
    if isinstance(error, errors.ZsindexError):
        return of_error(error).response()
    if isinstance(error, RequestValidationError):
        return (_of_media_type(request) or of_validation(error.errors(), error.body)).response()
    assert isinstance(error, HTTPException)
    slug = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return Problem(slug, error.status_code, str(error.detail), headers=error.headers).response()
