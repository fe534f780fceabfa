"""``/v1/groups``: the library as its answers group it, to be looked at: counts first, then any part of any group.

An answer is named by the key of its run, with which its question goes along: whichever service is asked, and whenever,
gives the same answer. What is asked of it never changes. When it cannot be had again, since photos were removed or
moved, 410 says so, and the question has to be put again.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response, StreamingResponse

from zsindex.classification.results import BLOCK_PHOTOS, Classification, Run
from zsindex.records import NONE, Activation, IdArray
from zsindex.web import questions, replicas
from zsindex.web.conditional import etag_of, unchanged
from zsindex.web.cursors import MOST_IN_NAME, AnswerName
from zsindex.web.lists import NextPage, Start, page_of
from zsindex.web.problems import Problem
from zsindex.web.routes.map import in_groups
from zsindex.web.schemas.fields import Id, Score
from zsindex.web.schemas.groups import FlippedPhotos, Flips, GroupPhotos, Groups, GroupsRequest, PhotoPlaces, TagPreview
from zsindex.web.schemas.map import MapGroups
from zsindex.web.service import Service, ServiceHere

router = APIRouter(tags=["groups"])

Key: TypeAlias = Annotated[
    str,
    Path(
        pattern=f"^[0-9a-f]{{16}}(-[A-Za-z0-9_-]{{1,{MOST_IN_NAME}}})?$",
        description="`key` of an answer.",
        examples=["0f1e2d3c4b5a6978"],
    ),
]
Answer: TypeAlias = Annotated[
    int | None, Query(ge=0, le=100_000, description="Index of the answer. Default: all of them.")
]
Limit: TypeAlias = Annotated[int, Query(ge=0, le=1000)]

# Scores at which photos are counted. Those of a sigmoid are often small, and then their order of size matters.
LINEAR = tuple(n / 100 for n in range(101))
LOGARITHMIC = (0.0, *(round(10 ** (n / 25 - 4), 8) for n in range(101)))
# Media types of exports, and what these are to a client.
EXPORTED: dict[str, tuple[str, dict[str, str]]] = {
    "csv": ("text/csv; charset=utf-8", {"type": "string"}),
    "json": ("application/json", {}),
    "ndjson": ("application/x-ndjson", {"type": "string"}),
    "parquet": ("application/vnd.apache.parquet", {"type": "string", "format": "binary"}),
}
PIECE_BYTES = 1 << 18
# How many kinds of flips are shown.
MOST_FLIPS = 1000


def kept(service: Service, request: Request, name: str) -> Classification:
    """The answer of a key: the one that is kept, or the same made again.

    Raises:
        Problem: it cannot be had again, or this is no key.
    """
    at = AnswerName.from_text(name)
    found = service.answers.get(at.key)
    if found is not None:
        return found
    if at.moment is not None:
        replicas.require_seen(service, request, at.moment.snapshot)
    if at.question is None:
        raise Problem("answer-gone", 410, "this answer is no longer kept; ask for it again")
    try:
        body = GroupsRequest.model_validate(at.question)
    except ValidationError as error:
        raise Problem("cursor", 422, "this is not the key of an answer") from error
    return questions.grouped_again(service, body, at)


def _run_key(name: str) -> str:
    return AnswerName.from_text(name).key


def _photos(answer: Classification, photos: Sequence[int]) -> list[dict[str, Any]]:
    found = []
    for photo in photos:
        result = answer[photo]
        second = result.predictions[1] if len(result.predictions) > 1 else None
        found.append(
            {
                "image_id": int(answer.image_ids[photo]),
                "path": result.path,
                "label": result.label,
                "score": result.score,
                "second": None if second is None else second.label,
                "second_score": None if second is None else second.score,
            }
        )
    return found


@router.post("/v1/groups", response_model=Groups, summary="Group the library by its answers")
def groups(service: ServiceHere, request: Request, body: GroupsRequest) -> Response:
    """How many photos each answer has, and how many reach each score: short, however many photos there are."""
    plan, answer = questions.grouped(service, body)
    levels = LINEAR if answer.run.activation is Activation.SOFTMAX else LOGARITHMIC
    ranked = answer.by_answer
    found = []
    for number, label in enumerate(answer.labels):
        n = len(ranked.of(number))
        at_least = ranked.at_least(number, levels).tolist() if n else []
        found.append({"label": label, "count": n, "at_least": at_least})
    return JSONResponse(
        {
            "key": questions.name_of(plan, body).to_text(),
            "run": answer.run.to_dict(),
            "total": len(answer),
            "unanswered": len(answer.unanswered),
            "levels": levels,
            "none": answer.labels.index(NONE) if NONE in answer.labels else None,
            "groups": found,
        }
    )


@router.get("/v1/groups/{key}/photos", response_model=GroupPhotos, summary="Photos of a group")
def photos(
    service: ServiceHere,
    request: Request,
    key: Key,
    answer: Answer = None,
    start: Start = 0,
    limit: Limit = 100,
    cursor: NextPage = None,
) -> Response:
    """Highest scores first. Any part can be asked for, in any order: scroll bars jump. Without `answer`, all photos but
    those that show none of the labels.
    """
    etag = etag_of(_run_key(key), answer, start, limit, cursor)
    same = unchanged(request, etag)
    if same is not None:
        return same
    found = kept(service, request, key)
    chosen = _labelled(found) if answer is None else _of(found, answer)
    asked, state = ["group", _run_key(key), answer], len(chosen)
    part, following = page_of(range(len(chosen)), asked=asked, state=state, start=start, limit=limit, cursor=cursor)
    shown = _photos(found, [int(chosen[number]) for number in part])
    document = {"total": len(chosen), "photos": shown, "next": following}
    return JSONResponse(document, headers={"ETag": etag})


@router.get("/v1/groups/{key}/places", response_model=PhotoPlaces, summary="Where photos stand in an answer")
def places(
    service: ServiceHere,
    request: Request,
    key: Key,
    image_id: Annotated[list[Id], Query(min_length=1, max_length=100, description="Which photos.")],
) -> Response:
    """With it a changed list can be continued at the same photo. Photos that are not in the answer are left out."""
    etag = etag_of("places", _run_key(key), image_id)
    same = unchanged(request, etag)
    if same is not None:
        return same
    found = kept(service, request, key)
    ranked, labelled = found.by_answer, _labelled(found)
    found_places = []
    for wanted in dict.fromkeys(image_id):
        numbers = np.flatnonzero(found.image_ids == wanted)  # copies of it all get the same answer
        answer = int(ranked.labels[numbers[0]]) if len(numbers) else -1
        if answer >= 0:
            among = np.flatnonzero(np.isin(labelled, numbers))
            place = int(np.flatnonzero(np.isin(ranked.of(answer), numbers))[0])
            found_places.append(
                {
                    "image_id": wanted,
                    "answer": answer,
                    "place": place,
                    "place_of_all": int(among[0]) if len(among) else None,
                }
            )
    return JSONResponse({"places": found_places}, headers={"ETag": etag})


@router.get("/v1/groups/{key}/answers", response_model=MapGroups, summary="The answers of all photos, in short form")
def answers(service: ServiceHere, request: Request, key: Key) -> Response:
    """Each image once, with its best answer: what the map is coloured by."""
    etag = etag_of("answers", _run_key(key))
    same = unchanged(request, etag)
    if same is not None:
        return same
    found = kept(service, request, key)
    ids, first = np.unique(found.image_ids, return_index=True)
    return JSONResponse(in_groups(list(found.labels), ids, found.by_answer.labels[first]), headers={"ETag": etag})


def _labelled(found: Classification) -> IdArray:
    ranked = found.by_answer
    if NONE not in found.labels:
        return ranked.by_score
    labelled: IdArray = ranked.by_score[ranked.labels[ranked.by_score] != found.labels.index(NONE)]
    return labelled


def _of(found: Classification, answer: int | None) -> IdArray:
    if answer is None:
        return found.by_answer.by_score
    if answer >= len(found.labels):
        raise Problem("labels", 422, f"there are only {len(found.labels)} answers")
    return found.by_answer.of(answer)


@router.get(
    "/v1/groups/{key}/export",
    response_class=StreamingResponse,
    responses={200: {"content": {media_type: {"schema": schema} for media_type, schema in EXPORTED.values()}}},
    summary="All photos with their answers, as a file",
)
def export(
    service: ServiceHere,
    request: Request,
    key: Key,
    format: Annotated[Literal["csv", "json", "ndjson", "parquet"], Query()] = "csv",
    answer: Answer = None,
    min_score: Annotated[
        Score, Query(description="Photos below it count as showing none of the labels; not with parquet.")
    ] = 0.0,
    scores: Annotated[bool, Query(description="Also the scores of all answers.")] = False,
) -> Response:
    """Each photo with its best label, its score, how far that is ahead of the second, its id and the SHA-256 of its
    bytes; highest scores first. Parquet names the run in the schema's metadata.
    """
    found = kept(service, request, key)
    chosen = _of(found, answer)
    headers = {"Content-Disposition": f'attachment; filename="zsindex-{_run_key(key)}.{format}"'}
    media_type = EXPORTED[format][0]
    if format == "parquet":
        if min_score:
            raise Problem("options", 422, "min_score and parquet exclude each other: a table has all scores")
        return StreamingResponse(_parquet(service, found, chosen, scores), media_type=media_type, headers=headers)
    rows = _rows(service, found, chosen, min_score, scores)
    if format == "csv":
        text = _csv(rows, found.wide_columns() if scores else ())
    elif format == "json":
        text = _json(rows, found.run, min_score)
    else:
        text = _ndjson(rows)
    return StreamingResponse(text, media_type=media_type, headers=headers)


def _rows(
    service: Service, found: Classification, chosen: IdArray, min_score: float, with_scores: bool
) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(chosen), BLOCK_PHOTOS):
        photos = chosen[start : start + BLOCK_PHOTOS]
        shown = _photos(found, photos.tolist())
        digests = service.library.photos.digests([one["path"] for one in shown])
        every = found.scores_of(photos).tolist() if with_scores else [None] * len(shown)
        yield [
            {
                "path": one["path"],
                "label": one["label"] if one["score"] >= min_score else NONE,
                "score": one["score"],
                "image_id": one["image_id"],
                "digest": digests.get(one["path"]),
                "margin": None if one["second"] is None else one["score"] - one["second_score"],
                **({} if scores is None else {"scores": dict(zip(found.labels, scores, strict=True))}),
            }
            for one, scores in zip(shown, every, strict=True)
        ]


_Rows: TypeAlias = Iterator[list[dict[str, Any]]]


def _csv(blocks: _Rows, of_scores: Sequence[str]) -> Iterator[bytes]:
    def line(*rows: Sequence[Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        return text.getvalue().encode("utf-8", "surrogateescape")

    columns = ("path", "label", "score", "image_id", "digest", "margin")
    yield line((*columns, *of_scores))
    for rows in blocks:
        yield line(*((*(row[name] for name in columns), *row.get("scores", {}).values()) for row in rows))


def _json(blocks: _Rows, run: Run, min_score: float) -> Iterator[bytes]:
    head = json.dumps({"run": run.to_dict(), "min_score": min_score})
    yield f'{head[:-1]}, "photos": ['.encode()
    separator = "\n"
    for rows in blocks:
        yield (separator + ",\n".join(map(json.dumps, rows))).encode()
        separator = ",\n"
    yield b"\n]}\n"


def _ndjson(blocks: _Rows) -> Iterator[bytes]:
    for rows in blocks:
        yield "".join(json.dumps(row) + "\n" for row in rows).encode()


def _parquet(service: Service, found: Classification, chosen: IdArray, with_scores: bool) -> Iterator[bytes]:
    """A table is written as a whole before its first byte goes: its end says where its parts begin."""
    part = found.reordered(chosen)
    digests = service.library.photos.digests(part.paths)
    best = part.answer.scores
    more = {
        "image_id": part.image_ids.tolist(),
        "digest": [digests.get(path) for path in part.paths],
        "margin": (best[:, 0] - best[:, 1]).tolist() if best.shape[1] > 1 else [None] * len(part),
    }
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed when all of it was sent
    try:
        (part if with_scores else part.best_only()).to_parquet(file, wide=with_scores, facts=more)
    except BaseException:
        file.close()
        raise
    file.seek(0)

    def sent() -> Iterator[bytes]:
        with file:
            while data := file.read(PIECE_BYTES):
                yield data

    return sent()


@router.get("/v1/groups/{key}/tags", response_model=TagPreview, summary="What would be written into XMP sidecars")
def tags(
    service: ServiceHere, request: Request, key: Key, min_score: Annotated[Score, Query()] = 0.0, limit: Limit = 100
) -> Response:
    """The best answers as tags, as `zsindex tags write` writes them. Nothing is written here."""
    report = service.library.tags.write(kept(service, request, key).best_only(), min_score=min_score, apply=False)
    actions = Counter(change.action for change in report.changes)
    document = {
        "create": actions["create"],
        "change": actions["change"],
        "delete": actions["delete"],
        "unchanged": report.unchanged,
        "skipped": len(report.skipped),
        "changes": [change.to_dict() for change in report.changes[:limit]],
    }
    return JSONResponse(document)


# --- two answers ------------------------------------------------------------------------------------------------------


def _pair(service: Service, request: Request, key: str, other: str) -> tuple[Classification, Classification]:
    before, after = kept(service, request, key), kept(service, request, other)
    if before.paths is not after.paths and before.paths != after.paths:
        raise Problem("answer-gone", 410, "the answers are about different photos; ask for both again")
    return before, after


@router.get("/v1/groups/{key}/flips/{other}", response_model=Flips, summary="Where two answers differ")
def flips(service: ServiceHere, request: Request, key: Key, other: Key) -> Response:
    """How many photos went from which label to which, the most frequent first."""
    etag = etag_of("flips", _run_key(key), _run_key(other))
    same = unchanged(request, etag)
    if same is not None:
        return same
    before, after = _pair(service, request, key, other)
    pairs, counts = np.unique(_moves(before, after), return_counts=True)
    was, becomes = np.divmod(pairs, len(after.labels))
    # A label that both have is the same wherever it stands.
    number = {label: n for n, label in enumerate(after.labels)}
    kept = np.array([number.get(label, -1) for label in before.labels], dtype=np.int64)[was] == becomes
    changed = np.flatnonzero(~kept)
    most = changed[np.argsort(-counts[changed], kind="stable")][:MOST_FLIPS]
    found = [
        {"was": a, "becomes": b, "from": before.labels[a], "to": after.labels[b], "count": count}
        for a, b, count in zip(was[most].tolist(), becomes[most].tolist(), counts[most].tolist(), strict=True)
    ]
    document = {"total": len(before), "same": int(counts[kept].sum()), "kinds": len(changed), "flips": found}
    return JSONResponse(document, headers={"ETag": etag})


@router.get("/v1/groups/{key}/flips/{other}/photos", response_model=FlippedPhotos, summary="Photos whose label changed")
def flipped(
    service: ServiceHere,
    request: Request,
    key: Key,
    other: Key,
    was: Annotated[int, Query(ge=0, le=100_000)],
    becomes: Annotated[int, Query(ge=0, le=100_000)],
    start: Start = 0,
    limit: Limit = 100,
    cursor: NextPage = None,
) -> Response:
    """Photos that went from one label to another; first those where both answers were sure."""
    etag = etag_of("flipped", _run_key(key), _run_key(other), was, becomes, start, limit, cursor)
    same = unchanged(request, etag)
    if same is not None:
        return same
    before, after = _pair(service, request, key, other)
    if was >= len(before.labels) or becomes >= len(after.labels):
        raise Problem("labels", 422, "there is no such answer")
    chosen = np.flatnonzero(_moves(before, after) == was * len(after.labels) + becomes)
    sure = np.minimum(before.by_answer.scores[chosen], after.by_answer.scores[chosen])
    chosen = chosen[np.argsort(-sure, kind="stable")]
    asked = ["flips", _run_key(key), _run_key(other), was, becomes]
    state = len(chosen)
    part, following = page_of(range(state), asked=asked, state=state, start=start, limit=limit, cursor=cursor)
    shown = [int(chosen[number]) for number in part]
    both = zip(_photos(before, shown), _photos(after, shown), strict=True)
    document = {
        "total": len(chosen),
        "photos": [{**new, "old": old["label"], "old_score": old["score"]} for old, new in both],
        "next": following,
    }
    return JSONResponse(document, headers={"ETag": etag})


def _moves(before: Classification, after: Classification) -> IdArray:
    moves: IdArray = before.by_answer.labels * len(after.labels) + after.by_answer.labels
    return moves
