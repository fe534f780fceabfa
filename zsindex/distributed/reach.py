"""How processes on a cluster reach the library that the driver has opened."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zsindex.config import temporary_folder
from zsindex.distributed.cluster import Cluster
from zsindex.errors import ClusterFailed, LibraryError
from zsindex.session import storages
from zsindex.storage.protocol import Storage


@dataclass(frozen=True)
class Reach:
    """A library as other processes open it. Holds no password: what actors are given may be shown or logged.

    Attributes:
        where: its folder, or its URL.
        identity: tells it from other libraries; empty for one in a folder.
    """

    where: Path | str
    identity: str = ""


@contextmanager
def reached(storage: Storage, cluster: Cluster) -> Iterator[Reach]:
    """How the processes of a cluster reach a library, during a ``with`` block.

    A password in the library's URL they find on this machine in a file of its user's, which is removed in the end.

    Raises:
        ClusterFailed: they cannot: it lies in a folder, which only processes of one machine can share; or the password
            would have to be sent to other machines.
    """
    address = storages.address_of(storage)
    if address is None:
        if not cluster.is_here:
            raise ClusterFailed(
                f"the library at {storage.place} is a folder, which only one machine can work on. Use --on ray, which "
                f"starts Ray here, or a library on a server: zsindex library copy"
            )
        yield Reach(Path(storage.folder))
        return
    passwords = address.passfile()
    if passwords is None:
        yield Reach(address.without_password(), storages.identity_of(storage))
        return
    if not cluster.is_here:
        raise ClusterFailed(
            f"the URL of the library at {storage.place} has a password in it, which is not sent to other machines. "
            f"Leave it out, and put it into a file that PGPASSFILE names, on this machine and on all nodes"
        )
    descriptor, file = tempfile.mkstemp(prefix="zsindex-", dir=temporary_folder())  # which only its owner may read
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened_file:
            opened_file.write(passwords)
        yield Reach(address.without_password(file), storages.identity_of(storage))
    finally:
        Path(file).unlink()


def opened(reach: Reach, *, read_only: bool = False) -> storages.SqlStorage:
    """Open the library in a process of the cluster.

    Raises:
        ClusterFailed: this node does not reach it, or reaches another one.
    """
    try:
        storage = storages.open_storage(reach.where, read_only=read_only)
    except LibraryError as error:
        raise ClusterFailed(f"{socket.gethostname()} cannot open the library: {error}") from error
    if storages.identity_of(storage) != reach.identity:
        storage.close()
        raise ClusterFailed(f"{socket.gethostname()} finds another library at {storage.place} than this machine")
    return storage
