"""Vectors of images and texts: from the cache if known, else from the model, and then cached."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from zsindex.arguments.several import several
from zsindex.classification import prompts
from zsindex.classification.scores import concept_vectors
from zsindex.config import PROMPTS, PROMPTS_MB, UPLOADS_MB, absolute
from zsindex.errors import (
    ImageError,
    LibraryBusy,
    LibraryReadOnly,
    StorageFailed,
    StorageFull,
    ZsindexWarning,
)
from zsindex.models.encoder import may_keep
from zsindex.records import FloatArray, LabelSet, Settings
from zsindex.session.model import AskedModel
from zsindex.session.usage import Usage
from zsindex.storage.rows import ImageRecord

# Decoding is imported where it is used, so that a question answered from the cache does not wait for it.
if TYPE_CHECKING:
    from zsindex.photos.sandbox import Decoder
    from zsindex.photos.sources import ImageLike, Source
    from zsindex.storage.protocol import Storage


# A library may be open for months; closing it records them, too.
RECORD_USES_EVERY_S = 600.0


class NotKept(ZsindexWarning):
    """The answer is right, but the vectors encoded for it could not be stored."""


class PromptsForgotten(ZsindexWarning):
    """Cached prompts went because there were too many. They are encoded again when they are asked for."""


class ImagesForgotten(ZsindexWarning):
    """Vectors of images that no file of the library shows went because they took too much room."""


class Embedding:
    """Embeds images and texts for one library, with its current model."""

    def __init__(
        self,
        storage: Storage,
        model: Callable[[], AskedModel],
        decoder: Callable[[], Decoder],
        settings: Settings,
        usage: Usage,
    ) -> None:
        self._storage = storage
        self._model = model
        self._decoder = decoder
        self._settings = settings
        self._usage = usage
        self._record_uses_at = time.monotonic() + RECORD_USES_EVERY_S

    # --- images -------------------------------------------------------------------------------------------------------

    def images(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """See `Library.embed_images`."""
        images = several(images)
        vectors = np.empty((len(images), self._model().info.dim), dtype=np.float32)
        for start in range(0, len(images), self._settings.batch_size):
            batch = images[start : start + self._settings.batch_size]
            vectors[start : start + len(batch)] = self.batch(batch, start)
        return vectors

    def batch(self, images: Sequence[ImageLike], start: int = 0) -> FloatArray:
        """`images` for one batch, decoded at once; `start` is the number of the first one in messages, from 0."""
        self._model().row()
        read = [self._read(image, position=start + i) for i, image in enumerate(images)]
        return self._vectors(read, self._keep_if_possible)

    def encoded(
        self, images: bytes | Sequence[bytes], *, decoder: Decoder | None = None, store: bool = False
    ) -> FloatArray:
        """Vectors of encoded images.

        Args:
            images: encoded bytes, of one or more images.
            decoder: decodes images that are not in the cache. Default: the library's own.
            store: store the vectors of images that are not in the cache.

        Returns:
            float32, shape (len(images), dim), L2-normalised rows.

        Raises:
            ImageError: an image cannot be read; gives its number.
            ModelError, LibraryReadOnly
        """
        from zsindex.photos.decode import digest
        from zsindex.photos.sources import Source

        self._model().row()
        if store:
            self._storage.require_writable("store vectors")
        sources = [
            Source(digest(data), data, f"image number {number}", decoder or self._decoder())
            for number, data in enumerate(several(images), start=1)
        ]
        return self._vectors(sources, self._keep if store else None)

    def _vectors(self, sources: Sequence[Source], keep: Callable[[Sequence[ImageRecord]], None] | None) -> FloatArray:
        """Vectors of images that were read; `keep` stores those of new images."""
        model = self._model().row()
        found = self._storage.reads.image_vectors({source.digest for source in sources}, model)
        new = list({source.digest: source for source in sources if source.digest not in found}.values())
        self._usage.count(images_reused=len(sources) - len(new), images_encoded=len(new))
        if new:
            from zsindex.ingest.encoding import encode_sources

            if (decoder := new[0].decoder) is not None:
                decoder.start()  # while the model is loaded
            records = encode_sources(new, self._model().encoder(), self._settings)
            if keep is not None:
                keep(records)
            found.update((record.digest, record.vector) for record in records if record.vector is not None)
        rows = [found[source.digest] for source in sources]
        return np.array(rows, dtype=np.float32).reshape(len(rows), model.info.dim)

    def _read(self, image: ImageLike, *, position: int) -> Source:
        from zsindex.photos import sources

        if isinstance(image, (str, os.PathLike)):
            absolute(image)  # refuses an invalid path
        try:
            read = sources.read(image, position=position, rendering=self._model().spec.rendering)
            return replace(read, decoder=self._decoder())
        except ImageError as error:
            # A photo on a disk that is not mounted, or an imported one, is answered from the cache like any other.
            known = self._storage.reads.digest_of(absolute(image)) if isinstance(image, (str, os.PathLike)) else None
            if known is None or error.reason not in sources.OUT_OF_REACH:
                raise
            return sources.Source(known, error, str(image))

    def _keep(self, records: Sequence[ImageRecord]) -> None:
        self._model().store(partial(self._storage.photos.save_images, records))
        n_gone = 0
        # Whoever syncs makes room when that is done, and what cannot be done now can be then.
        with suppress(LibraryBusy, StorageFull, StorageFailed), self._storage.sync_lock.hold("make room", wait=False):
            n_gone = self._storage.photos.make_room(upload_bytes=UPLOADS_MB.bytes)["images"]
        if n_gone:
            warnings.warn(
                f"forgot the vectors of {n_gone:,} images that are in no folder, those first that came first:"
                f" they may take {UPLOADS_MB.value:,} MB ({UPLOADS_MB.variable})",
                ImagesForgotten,
                stacklevel=5,
            )

    def _keep_if_possible(self, records: Sequence[ImageRecord]) -> None:
        if self._storage.writable:
            with _if_possible("images"):
                self._keep(records)

    # --- texts --------------------------------------------------------------------------------------------------------

    def texts(self, texts: str | Iterable[str], *, truncate: bool = False) -> FloatArray:
        """See `Library.embed_texts`."""
        model = self._model().row()
        normalised = [prompts.normalise(text) for text in several(texts)]
        found = self._storage.reads.prompt_vectors(set(normalised), model, truncated=truncate)
        if time.monotonic() > self._record_uses_at:
            self._record_uses_at = time.monotonic() + RECORD_USES_EVERY_S
            self._storage.reads.record_uses()
        new = [text for text in dict.fromkeys(normalised) if text not in found]
        self._usage.count(prompts_reused=len(found), prompts_encoded=len(new))
        if new:
            encoder = self._model().encoder()
            vectors = encoder.encode_texts(new, truncate=truncate)
            # Checked while the tokenizer is loaded anyway; for a question from the cache it would be most of the work.
            if not all(map(str.isascii, new)):
                prompts.warn_of_unfamiliar(encoder.unfamiliar(new), str(self._model().spec))
            found.update(zip(new, vectors, strict=True))
            size = vectors.nbytes + sum(len(text.encode()) for text in new)
            if self._storage.writable and may_keep.get()(size):
                limit = model.info.context_length
                cut = [truncate and encoder.count_tokens(text) > limit for text in new]
                with _if_possible("texts"):
                    keep = partial(self._storage.reads.save_prompts, new, vectors, truncated=cut)
                    if (n_gone := self._model().store(keep)) > 0:
                        _tell_of_forgotten(n_gone)
        rows = [found[text] for text in normalised]
        return np.array(rows, dtype=np.float32).reshape(len(rows), model.info.dim)

    def concepts(self, labels: LabelSet, *, truncate: bool = False) -> FloatArray:
        """One vector per concept of a label set: float32 (c, dim)."""
        return concept_vectors(labels, partial(self.texts, truncate=truncate))

    def new_texts(self, texts: Iterable[str], *, truncate: bool = False) -> tuple[str, ...]:
        """The texts that would have to be encoded, each once, in order."""
        normalised = list(dict.fromkeys(map(prompts.normalise, texts)))
        found = self._storage.reads.prompt_vectors(normalised, self._model().row(), truncated=truncate)
        return tuple(text for text in normalised if text not in found)


def _tell_of_forgotten(n: int) -> None:
    warnings.warn(
        f"forgot the {n:,} cached prompts that were not asked for for the longest: at most {PROMPTS.value:,} and"
        f" {PROMPTS_MB.value:,} MB are kept ({PROMPTS.variable}, {PROMPTS_MB.variable})",
        PromptsForgotten,
        stacklevel=4,
    )


@contextmanager
def _if_possible(what: str) -> Iterator[None]:
    """Answer a question even if new vectors cannot be cached, for example on a full disk or while another process
    writes.
    """
    try:
        yield
    except (StorageFull, StorageFailed, LibraryReadOnly, LibraryBusy) as error:
        warnings.warn(f"answered, but the vectors of new {what} were not stored: {error}", NotKept, stacklevel=5)
