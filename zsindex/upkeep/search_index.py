"""How a library's search index on its server is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from zsindex.index.cells import DEPTHS

if TYPE_CHECKING:
    from zsindex.storage.protocol import Storage
    from zsindex.storage.rows import ModelRow


@dataclass(frozen=True, slots=True)
class SearchIndexStatus:
    """A model's search index on the server.

    Attributes:
        model: as the user knows it.
        there: whether there is one; else the numbers below are 0.
        vectors: in it, those of photos that have gone since included.
        after: embeddings that came after it. Searches compare all of these beside it.
        bytes: that it takes on the server.
        target: share of the true results that was to be found.
        recall: the share of the true results that was found when it was measured, by how many were asked for.
        ef_search: how thoroughly it is searched for that, by the same.
        questions: that it was measured with: stored photos, sums of two, and prompts.
        building: vectors of another one that was begun and not finished; None where there is none.
    """

    model: str
    there: bool
    vectors: int
    after: int
    bytes: int
    m: int
    ef_construction: int
    target: float
    recall: dict[int, float]
    ef_search: dict[int, int]
    questions: int
    created_at: str | None
    building: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def status_of(storage: Storage, model: ModelRow) -> SearchIndexStatus:
    """What there is of a model's search index; of a library on a server."""
    there = storage.nearest
    assert there is not None
    row, half = there.row(model.id), there.row(model.id, being_made=True)
    size = None if row is None else there.size_bytes(row)
    after = storage.reads.count_after(model.id, 0 if row is None or size is None else row.watermark)
    building = None if half is None or there.size_bytes(half) is None else half.n_vectors
    if row is None or size is None:
        return SearchIndexStatus(str(model.info.spec), False, 0, after, 0, 0, 0, 0, {}, {}, 0, None, building)
    return SearchIndexStatus(
        model=str(model.info.spec),
        there=True,
        vectors=row.n_vectors,
        after=after,
        bytes=size,
        m=row.m,
        ef_construction=row.ef_construction,
        target=row.target,
        recall=dict(zip(DEPTHS, row.recall, strict=True)),
        ef_search=dict(zip(DEPTHS, row.ef_search, strict=True)),
        questions=row.n_questions,
        created_at=row.created_at,
        building=building,
    )
