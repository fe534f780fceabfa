"""What the label lab works on: a snapshot of the photos of a library with the vectors of one model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress

import numpy as np
import numpy.typing as npt

from zsindex.classification.scores import concept_vectors
from zsindex.index.vectors import VectorTable, blocks
from zsindex.records import FloatArray, IdArray, LabelSet, ModelInfo
from zsindex.storage.rows import FileTable


@dataclass(frozen=True)
class View:
    """Photos with vectors from one model, in the order of `Library.photos.paths`. It does not change when the library
    does.

    Attributes:
        info: the model.
        model_id: its id in the library; -1 if the library does not hold it.
        paths: of the photos, n of them. Files with the same bytes are each listed.
        image_ids: int64 (n,), of their contents.
        rows: int64 (n,), where their vectors lie in `vectors`.
        vectors: all vectors from the model.
        unanswered: paths of photos without a vector from the model.
        embed: float32 (m, dim), L2-normalised, from m texts; from the cache if known.
        snapshot: (watermark, generation, files_revision): equal ones mean the same photos and vectors.
    """

    info: ModelInfo
    model_id: int
    paths: list[str]
    image_ids: IdArray
    rows: IdArray
    vectors: VectorTable
    unanswered: tuple[str, ...]
    embed: Callable[[Sequence[str]], FloatArray]
    snapshot: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        files: FileTable,
        vectors: VectorTable,
        *,
        info: ModelInfo,
        model_id: int,
        embed: Callable[[Sequence[str]], FloatArray],
        snapshot: tuple[int, int, int],
    ) -> View:
        """A view of the files whose images have a vector; the others are `unanswered`."""
        rows = vectors.rows_of(files.image_ids)
        answered = rows >= 0
        whole = bool(answered.all())
        has_vector = [] if whole else list(zip(files.paths, answered.tolist(), strict=True))
        return cls(
            info=info,
            model_id=model_id,
            paths=files.paths if whole else [path for path, ok in has_vector if ok],
            image_ids=files.image_ids if whole else files.image_ids[answered],
            rows=rows if whole else rows[answered],
            vectors=vectors,
            unanswered=tuple(path for path, ok in has_vector if not ok),
            embed=embed,
            snapshot=snapshot,
        )

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def unique(self) -> tuple[IdArray, IdArray | slice]:
        """Each image once: its row, ascending, int64 (u,); and the index that expands images to photos:
        ``per_image[back]``.
        """
        # True for a library whose photos were all added in path order.
        if bool((np.diff(self.rows) > 0).all()):
            return self.rows, slice(None)
        rows, number = np.unique(self.rows, return_inverse=True)
        return rows, number

    @cached_property
    def index_of(self) -> dict[str, int]:
        """The number of each photo by its path."""
        return {path: number for number, path in enumerate(self.paths)}

    @cached_property
    def digest(self) -> str:
        """Stands for which photos these are, and their order: 16 hex digits."""
        found = hashlib.blake2b("\0".join(self.paths).encode("utf-8", "surrogateescape"), digest_size=8)
        found.update(self.image_ids.astype("<i8").tobytes())
        return found.hexdigest()

    def as_of(self, snapshot: tuple[int, int, int], image_ids: IdArray) -> View:
        """These photos as they were at an earlier snapshot, as far as that can be told: those of images that had a
        vector then. Files that changed since are as they are now; `digest` shows whether any did.
        """
        kept = np.isin(self.image_ids, image_ids)
        return replace(
            self,
            paths=[path for path, then in zip(self.paths, kept.tolist(), strict=True) if then],
            image_ids=self.image_ids[kept],
            rows=self.rows[kept],
            snapshot=snapshot,
        )

    def those(self, fitting: npt.NDArray[np.bool_], unanswered: tuple[str, ...] = ()) -> View:
        """Some of these photos.

        Args:
            fitting: bool (n,): which.
            unanswered: of the result.
        """
        return replace(
            self,
            paths=list(compress(self.paths, fitting.tolist())),
            image_ids=self.image_ids[fitting],
            rows=self.rows[fitting],
            unanswered=unanswered,
        )

    def take(self, photos: Sequence[int] | IdArray) -> FloatArray:
        """Vectors of some photos, by their numbers: float32 (m, dim)."""
        return self.vectors.take(self.rows[np.asarray(photos, dtype=np.int64)])

    def blocks(self, size: int = 4096) -> Iterator[tuple[slice, FloatArray]]:
        """All images once, in the order of `unique`: (where, float32 (b, dim)), a block at a time."""
        return blocks(self.vectors, self.unique[0], size)

    def text_vectors(self, labels: LabelSet) -> FloatArray:
        """One vector per concept of a label set, the labels and then the negatives: float32 (c, dim)."""
        return concept_vectors(labels, self.embed)

    def tempered(self, temperature: float) -> View:
        """The same photos, as if the model had that temperature. The whole logit is divided, including its bias."""
        own = self.info
        bias = None if own.logit_bias is None else own.logit_bias / (temperature * own.logit_scale)
        return replace(self, info=replace(own, logit_scale=1 / temperature, logit_bias=bias))
