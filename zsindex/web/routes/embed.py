"""``/v1/embed``: vectors of texts, of images that are sent, and of photos of the library."""

from __future__ import annotations

import base64

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zsindex.records import FloatArray
from zsindex.web import uploads
from zsindex.web.problems import Problem
from zsindex.web.schemas.embed import Embedded, EmbedRequest, Vector
from zsindex.web.service import ServiceHere

router = APIRouter(tags=["search"])


@router.post("/v1/embed", response_model=Embedded, summary="Vectors of texts and images")
def embed(service: ServiceHere, body: EmbedRequest) -> Response:
    """From the cache where they are known; those of new texts are kept there."""
    if not (body.texts or body.images or body.image_ids):
        raise Problem("query", 422, "give texts, images or image_ids")
    if len(body.images) > service.limits.upload_images:
        raise Problem("too-many", 413, f"more than {service.limits.upload_images} images in one request")
    library = service.library
    info = library.model
    texts = library.embed_texts(body.texts, truncate=body.truncate) if body.texts else ()
    sent = [uploads.from_text(service, image) for image in body.images]
    images = uploads.vectors_of(service, sent) if sent else ()
    known = library.vectors.of(body.image_ids) if body.image_ids else ()
    shown = _as_base64 if body.encoding == "base64" else _as_numbers
    return JSONResponse(
        {
            "model": str(info.spec),
            "fingerprint": info.fingerprint,
            "dim": info.dim,
            "texts": [shown(vector) for vector in texts],
            "images": [shown(vector) for vector in images],
            "image_ids": [shown(vector) for vector in known],
        }
    )


def _as_base64(vector: FloatArray) -> Vector:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _as_numbers(vector: FloatArray) -> Vector:
    numbers: list[float] = vector.tolist()
    return numbers
