"""A Ray cluster: this machine for as long as something lasts, or one whose head has an address.

Ray Data runs within the cluster, in an actor of its own (`Foreman`): over a client (``ray://``) it does not run, and
what Ray has to say of its processes then does not get between what a command prints. The driver asks the foreman for
results, a second at a time, and so it notices a Ctrl-C.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import re
import secrets
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from types import FrameType
from typing import Any, TypeAlias, TypeVar

from zsindex import config
from zsindex._version import __version__
from zsindex.errors import ClusterFailed, ClusterUnreachable, ExtraMissing, ZsindexError

T = TypeVar("T")
_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None

# What starts Ray on this machine, as opposed to an address.
HERE = "ray"
# Cores of an actor that has no GPU, unless it is said: a model runs on a few about as fast for each as on one, and
# takes its memory once.
CORES = 4
_ITEMS_AT_ONCE = 1000
_POLL_S = 0.5
_CONNECT_S = 20.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """How work is spread.

    Attributes:
        actors: how many at most.
        cores, gpus: of each.
    """

    actors: int
    cores: int
    gpus: int = 0

    @classmethod
    def of(cls, nodes: Sequence[dict[str, float]], *, cores: int | None, gpus: bool) -> Share:
        """A share of a cluster.

        Args:
            nodes: the resources of each.
            cores: of an actor. None: `CORES`, or where there are GPUs, those beside each of them.
            gpus: use them, if there are any.

        Raises:
            ClusterFailed: there is nothing to work on.
        """
        with_gpu = [node for node in nodes if gpus and node.get("GPU", 0) >= 1]
        if with_gpu:
            beside = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu)
            return cls(sum(int(node["GPU"]) for node in with_gpu), max(1, min(cores or beside, beside)), 1)
        able = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
        if not able:
            raise ClusterFailed("no node of the cluster has a processor core to give")
        each = min(cores or CORES, *able) if len(able) > 1 else min(cores or CORES, able[0])
        return cls(sum(n // each for n in able), each)


class Cluster:
    """A cluster that this process is connected to; see `connected`.

    Attributes:
        is_here: it consists of this machine, and processes of this user.
    """

    def __init__(self, *, is_here: bool) -> None:
        self.is_here = is_here

    def share(self, *, cores: int | None, gpus: bool) -> Share:
        """How work is spread over it; see `Share.of`."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        share = Share.of(nodes, cores=cores, gpus=gpus)
        what = f"{share.cores} core{'s' * (share.cores > 1)}{' and a GPU' * share.gpus}"
        log.info(f"up to {share.actors} actor{'s' * (share.actors > 1)} with {what} each")
        return share

    def mapped(
        self,
        items: Iterable[Any],
        make: Callable[..., Callable[[Any], T]],
        arguments: Sequence[Any],
        *,
        share: Share,
        should_stop: Callable[[], bool],
    ) -> Generator[T, None, None]:
        """What workers make of items, in no particular order. Ends early once it should stop: actors are ended, too,
        whatever they are at.

        Args:
            items: each is pickled. They may be given again, to the same worker or another one, when one has died.
            make: makes a worker in an actor, from the arguments, which hold no secret: Ray may show them. The worker
                gives the result for an item.

        Raises:
            ZsindexError: a worker has raised it.
            ClusterFailed: actors or nodes were lost again and again, or cannot run zsindex.
        """
        import ray
        from ray.exceptions import RayError

        # By value, as `make` may hold functions of functions.
        what: bytes = ray.cloudpickle.dumps((make, tuple(arguments)))  # type: ignore[no-untyped-call]
        foreman: Any = ray.remote(Foreman).options(num_cpus=0, max_concurrency=2).remote(share)
        try:
            with _translated():
                packed, finished = map(pickle.dumps, items), True
                while some := list(islice(packed, _ITEMS_AT_ONCE)):
                    finished = False
                    ray.get(foreman.add.remote(ray.put(some)))
                if not finished:
                    ray.get(foreman.start.remote(ray.put(what)))
            while not finished and not should_stop():
                with _translated():
                    results, finished = ray.get(foreman.results.remote(_POLL_S))
                for text in results:
                    yield _unpacked(text)
        finally:
            with suppress(RayError):
                ray.kill(foreman)  # and with it the actors, which are its own


class Foreman:
    """An actor that runs Ray Data, and keeps its results until they are asked for."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._items: list[dict[str, bytes]] = []
        self._results: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def add(self, items: Sequence[bytes]) -> None:
        """Put pickled items behind those that are there."""
        self._items += [{"item": item} for item in items]

    def start(self, what: bytes) -> None:
        """Begin.

        Args:
            what: pickled: what makes a worker, and its arguments.
        """
        threading.Thread(target=self._run, args=(what,), daemon=True).start()

    def results(self, timeout_s: float) -> tuple[list[bytes], bool]:
        """Packed results that came since, and whether these are the last ones; waits for one for some seconds."""
        found: list[bytes] = []
        with suppress(queue.Empty):
            one = self._results.get(timeout=timeout_s)
            while one is not None:
                found.append(one)
                one = self._results.get_nowait()
            return found, True
        return found, False

    def _run(self, what: bytes) -> None:
        try:
            import ray.data

            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            items, self._items = self._items, []
            share = self._share
            done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _EachItem,
                fn_constructor_args=(what, __version__),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=share.actors, initial_size=share.actors),
                num_cpus=share.cores,
                num_gpus=share.gpus or None,
            )
            batch: Any
            for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for result in batch["result"].to_pylist():
                    self._results.put(result)
        except Exception as error:  # noqa: BLE001  the driver will know
            self._results.put(_packed(error))
        self._results.put(None)


class _EachItem:
    """What Ray Data makes in an actor. Errors are results: as exceptions Ray would take them for a bug, and send them
    as text.
    """

    def __init__(self, what: bytes, version: str) -> None:
        self._error: Exception | None = None
        try:
            if version != __version__:
                raise ClusterFailed(
                    f"{socket.gethostname()} has zsindex {__version__}, this machine {version}: install one version on"
                    f" all nodes"
                )
            make, arguments = pickle.loads(what)
            self._worker = make(*arguments)
        except Exception as error:  # noqa: BLE001
            self._error = error

    def __call__(self, batch: Any) -> dict[str, list[bytes]]:
        return {"result": [self._result(item) for item in batch["item"].to_pylist()]}

    def _result(self, item: bytes) -> bytes:
        if self._error is not None:
            return _packed(self._error)
        try:
            return pickle.dumps((True, self._worker(pickle.loads(item))))
        except Exception as error:  # noqa: BLE001
            return _packed(error)


def _packed(error: Exception) -> bytes:
    """An error as a result. Ours arrive as what they are; of others the driver is told in words."""
    if not isinstance(error, ZsindexError):
        told = "".join(traceback.format_exception(error))
        error = ClusterFailed(_short(error))
        error.add_note(told)
    return pickle.dumps((False, error))


def _unpacked(text: bytes) -> Any:
    went_well, result = pickle.loads(text)
    if not went_well:
        raise result
    return result


def _short(error: BaseException) -> str:
    """What went wrong, in a line, without what is put around it on the way."""
    from ray.exceptions import RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else ''}"[:500]


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what Ray raises while work is being done into an error of our own."""
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, ConnectionError) as error:
        raise ClusterFailed(_short(error)) from error


# --- connecting -------------------------------------------------------------------------------------------------------


@contextmanager
def connected(on: str) -> Iterator[Cluster]:
    """Connect to a cluster for a ``with`` block.

    Args:
        on: ``ray``: the cluster that this process is connected to, else the one that ``RAY_ADDRESS`` names, else this
            machine, where Ray is started and stopped; or ``ray://HOST:PORT``, the address of a head for clients.

    Raises:
        ValueError: it is none of these.
        ExtraMissing: Ray is not installed.
        ClusterUnreachable: the head does not answer, or refuses; or its versions are not those of this machine.
    """
    if not config.is_cluster(on):
        raise ValueError(f"on must be ray or ray://HOST:PORT, not {on!r}")
    address = os.environ.get("RAY_ADDRESS") if on == HERE else on
    if address in ("", "local"):  # as Ray understands it
        address = None
    if sys.modules.get("ray") is not None:
        import ray

        if ray.is_initialized():
            yield Cluster(is_here=False)
            return
    if address is not None:
        _require_answer(address)
    log.info("starting Ray …" if address is None else f"connecting to {address} …")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _environment(address), _initialised(address):
            _restore(handlers)  # Ray puts its own in their place
            yield Cluster(is_here=address is None)
    finally:
        _restore(handlers)


@contextmanager
def _initialised(address: str | None) -> Iterator[None]:
    try:
        import ray
        import ray.data  # it has dependencies of its own
        from ray.exceptions import RayError
    except ImportError as error:
        raise ExtraMissing(error.name or "ray", extra="ray", why="work is spread by Ray") from error
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        quiet |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        try:
            try:
                ray.init(address or "local", **quiet)
            except ConnectionAbortedError:  # a head that has only just started takes clients before it can serve them
                ray.shutdown()
                ray.init(address or "local", **quiet)
        except (RayError, ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ClusterUnreachable(address or "this machine", _why(error)) from error
        yield
    finally:
        ray.shutdown()  # also what was started of one that did not come up


@contextmanager
def _environment(address: str | None) -> Iterator[None]:
    """What Ray and its processes find in the environment. Ray that is started here listens on all interfaces, whatever
    it is told: so nobody gets in without a token.
    """
    settings = {"RAY_USAGE_STATS_ENABLED": "0"}
    if address is None and os.environ.get("RAY_AUTH_MODE") != "token":
        if "ray" in sys.modules and not _token.cache_info().currsize:
            raise ClusterUnreachable(
                "this machine",
                "Ray was imported before with its authentication off, and would let everybody in: set RAY_AUTH_MODE to"
                " token, or call ray.init yourself",
            )
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@cache
def _token() -> str:
    """One for all that this process starts: Ray reads it once, when it is imported."""
    return secrets.token_hex(32)


def _require_answer(address: str) -> None:
    """Notice at once what Ray would try for minutes.

    Raises:
        ClusterUnreachable
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError as error:
        raise ClusterUnreachable(address, error.strerror or str(error)) from error


def _why(error: Exception) -> str:
    """What Ray says of a connection, in a sentence."""
    text = " ".join(str(error).split())
    if "ersion" in text:
        found = re.search(r"[^.]*[Vv]ersion mismatch.*|[^.]*[Vv]ersion.*", text)
        return f"its versions are not those of this machine: {found[0].strip()[:300] if found else text[:300]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _restore(handlers: Mapping[signal.Signals, _Handler]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
