"""Photos with their vectors in bulk, in and out of a library on a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from zsindex.records import FloatArray
from zsindex.storage.bulk import SqlBulk
from zsindex.storage.patience import patiently
from zsindex.storage.rows import ImportedPhoto, KnownPhoto


class PostgresBulk(SqlBulk):
    """`zsindex.storage.protocol.BulkStorage` over an open database. An import waits for a server that is being started
    anew: what is there already is kept, so a batch may be stored again.
    """

    def known_photos(self, photos: Iterable[ImportedPhoto]) -> dict[str, KnownPhoto]:
        """See `SqlBulk.known_photos`."""
        asked = list(photos)
        return patiently(lambda: super(PostgresBulk, self).known_photos(asked))

    def save(self, photos: Sequence[ImportedPhoto], vectors: FloatArray, model_id: int) -> Counter[str]:
        """See `SqlBulk.save`."""
        return patiently(lambda: super(PostgresBulk, self).save(photos, vectors, model_id))
