"""A sync on a cluster: actors read, decode, encode and store what the driver has found on the disk.

They store it themselves, and every batch leaves a receipt in the same transaction. What is counted are the receipts: if
an actor dies, and Ray gives what it was at to another one, that one leaves out what is stored, and nothing is counted
twice. Who encodes what is settled by claims in storage, against other syncs as well.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from zsindex.distributed.cluster import Share, connected
from zsindex.distributed.reach import Reach, opened, reached
from zsindex.errors import ClusterFailed, ModelChanged
from zsindex.ingest.encoding import store_files
from zsindex.models.loading import load
from zsindex.photos.sandbox import decoder_for
from zsindex.records import Candidate, ModelSpec, Settings
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import ModelRow, Receipt

# An actor is given so many batches at a time at most: between two tasks its model waits for the next photos.
MOST_BATCHES = 8
# And few enough files that every actor has several tasks: the last ones end at about the same time.
TASKS_PER_ACTOR = 4


@dataclass(frozen=True)
class Encoding:
    """How an actor encodes.

    Attributes:
        reach: of the library.
        model_id, spec, fingerprint: of the model; the weights that the actor loads must have that fingerprint.
        device: that it runs on.
        batch_size: of the device; None: as fits it.
        settings: its `workers` are the actor's cores.
        since: when the sync began; `sync` is its name among receipts.
    """

    reach: Reach
    model_id: int
    spec: ModelSpec
    fingerprint: str
    device: str
    batch_size: int | None
    settings: Settings
    since: str
    sync: str


class EncodingActor:
    """Encodes blocks of files."""

    def __init__(self, how: Encoding) -> None:
        """Raises:
        ModelChanged: the weights on this node are others.
        ModelError, LibraryError, ClusterFailed
        """
        self._how = how
        self._storage = opened(how.reach)
        self._decoder = decoder_for(how.settings)
        self._decoder.start()  # while the model is loaded
        self._model = load(how.spec, device=how.device, batch_size=how.batch_size)
        if self._model.info.fingerprint != how.fingerprint:
            raise ModelChanged(str(how.spec), expected=how.fingerprint, got=self._model.info.fingerprint)

    def __call__(self, block: tuple[int, list[Candidate]]) -> str:
        """Store a block, but for what of it is stored already. Returns the name of its receipts."""
        number, files = block
        for folder in {file.folder for file in files}:
            if not os.path.isdir(folder):
                raise ClusterFailed(
                    f"{socket.gethostname()} does not see {folder}: photos must have the same paths on all nodes"
                )
        how, photos = self._how, self._storage.photos
        name = f"{how.sync}/{number}"
        done = {path for receipt in photos.receipts(name) for path in receipt.paths}
        for _ in store_files(
            photos,
            (file for file in files if file.path not in done),
            how.model_id,
            encoder=lambda: self._model,
            settings=how.settings,
            decoder=self._decoder,
            since=how.since,
            should_stop=lambda: False,
            shared=True,
            receipt=name,
        ):
            pass
        return name


class RaySync:
    """`zsindex.ingest.sync.Elsewhere` on a cluster."""

    def __init__(
        self,
        on: str,
        storage: Storage,
        *,
        device: str,
        batch_size: int | None,
        cores: int | None,
        settings: Settings,
        should_stop: Callable[[], bool],
    ) -> None:
        """Args:
        on: see `zsindex.distributed.cluster.connected`.
        cores: of an actor; see `Share.of`.
        """
        self._on = on
        self._storage = storage
        self._device = device
        self._batch_size = batch_size
        self._cores = cores
        self._settings = settings
        self._should_stop = should_stop

    def __call__(
        self, model: ModelRow, files: Iterator[Candidate], total: int, since: str
    ) -> Generator[Receipt, None, None]:
        """Receipts of what actors have stored; see `zsindex.ingest.sync.Elsewhere`."""
        photos = self._storage.photos
        with connected(self._on) as cluster, reached(self._storage, cluster) as reach:
            share = cluster.share(cores=self._cores, gpus=self._device == "auto" or self._device.startswith("cuda"))
            how = Encoding(
                reach,
                model.id,
                model.info.spec,
                model.info.fingerprint,
                self._device,
                self._batch_size,
                replace(self._settings, workers=share.cores),
                since,
                f"{since}/{secrets.token_hex(3)}",
            )
            names = cluster.mapped(
                enumerate(_blocks(files, total, share, self._settings.batch_size)),
                EncodingActor,
                [how],
                share=share,
                should_stop=self._should_stop,
            )
            try:
                for name in names:
                    yield from photos.take_receipts(name)
            finally:
                names.close()
        yield from photos.take_receipts(how.sync)  # of blocks that were not finished


def _blocks(files: Iterator[Candidate], total: int, share: Share, batch_size: int) -> Iterator[list[Candidate]]:
    per_task = -(-total // (TASKS_PER_ACTOR * share.actors))
    size = max(batch_size, min(per_task, MOST_BATCHES * batch_size))
    while block := list(islice(files, size)):
        yield block
