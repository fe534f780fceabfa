"""How much memory answers hold that are kept: the arrays and texts that can be reached from them, each once.

An answer is a few arrays of its own, and closures over more: a smoothed one holds the scores of every label, a
corrected one what was learned, and each the list of photos of its moment. Answers of one moment share that list.
"""

from __future__ import annotations

import mmap
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeGuard, TypeVar

import numpy as np

from zsindex.session.embedding import Embedding
from zsindex.session.facts import CurrentFacts
from zsindex.session.session import Session

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Reached: TypeAlias = dict[int, tuple[object, int]]

# So many at most, however small: each is weighed when another one comes.
MOST = 256
# What answers share with the library, and it with them.
_SHARED = (Session, Embedding, CurrentFacts)
_ATOMS = (int, float, complex, bool, type(None), type, types.ModuleType, types.BuiltinFunctionType)


def reachable(*held: object, known: Reached | None = None) -> Reached:
    """What can be reached from some objects: by identity, with the bytes of each.

    What all parts of the library share is not looked into, and mapped files take no memory.

    Args:
        known: what was weighed before, and is still there.
    """
    known = known or {}
    found: Reached = {}
    pending: deque[object] = deque(held)
    while pending:
        one = pending.pop()
        if isinstance(one, np.ndarray):
            one = _owner(one)
        if isinstance(one, (*_ATOMS, *_SHARED)) or id(one) in found:
            continue
        found[id(one)] = known.get(id(one)) or (one, _bytes(one))
        pending.extend(_inside(one))
    return found


class Present:
    """What is in memory anyway: weighed when it has become something else, as the list of photos is long."""

    def __init__(self, now: Callable[[], object]) -> None:
        self._now = now
        self._last: tuple[object, Reached] = None, {}

    def reached(self) -> Reached:
        """What is `reachable` from it."""
        now = self._now()
        if self._last[0] is not now:
            self._last = now, reachable(now)
        return self._last[1]


def _owner(array: np.ndarray[Any, Any]) -> object:
    """Whose memory an array is a view of."""
    owner: object = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


def _bytes(one: object) -> int:
    if isinstance(one, np.ndarray):
        return sys.getsizeof(one) if one.flags.owndata else one.nbytes
    if isinstance(one, mmap.mmap):
        return 0
    size = sys.getsizeof(one, 0)
    if _is_texts(one):
        size += sum(sys.getsizeof(part) for part in one)
    return size


def _is_texts(one: object) -> TypeGuard[Sequence[str]]:
    """A list of paths, which is as long as the library: not gone through one by one."""
    return isinstance(one, (list, tuple)) and bool(one) and all(type(part) is str for part in (one[0], one[-1]))


def _inside(one: object) -> Iterable[object]:
    if isinstance(one, (str, bytes, bytearray, memoryview, np.ndarray, mmap.mmap)) or _is_texts(one):
        return ()
    if isinstance(one, Mapping):
        # Numbers of photos by their paths, which are those of the list.
        is_index = bool(one) and isinstance(next(iter(one.values())), int)
        return () if is_index else (*one.keys(), *one.values())
    if isinstance(one, (list, tuple, set, frozenset, deque)):
        return tuple(one)
    if isinstance(one, partial):
        return (one.func, *one.args, *one.keywords.values())
    if isinstance(one, types.MethodType):
        return (one.__self__,)
    if isinstance(one, types.FunctionType):
        return (*_cells(one), *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values())
    inside = [*getattr(one, "__dict__", {}).values()]
    if is_dataclass(one):
        inside += [getattr(one, field.name) for field in fields(one) if hasattr(one, field.name)]
    return inside


def _cells(function: types.FunctionType) -> list[object]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    return found


class RecentlyUsed(Generic[Key, Value]):
    """The values that were used last, as many as fit into so many bytes. Not for several threads at once."""

    def __init__(self, max_bytes: int, *, most: int = MOST) -> None:
        self._max_bytes, self._most = max_bytes, most
        self._kept: OrderedDict[Key, tuple[Value, Reached, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        """A value, which is thereby the last one that was used."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def keep(self, key: Key, value: Value, reached: Reached, *, later: int = 0, anyway: Reached | None = None) -> None:
        """Remember a value, in place of those that were used least recently.

        Args:
            reached: what is `reachable` from it.
            later: bytes that it will take beside what it does now.
            anyway: what is in memory in any case.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            self._kept[key] = value, reached, later
        anyway = anyway or {}
        shared: dict[int, int] = {}
        held: dict[int, int] = {}
        for _, its_reached, _ in self._kept.values():
            for ident, (_, size) in its_reached.items():
                if ident not in anyway:
                    held[ident] = held.get(ident, 0) + 1
                    shared[ident] = size
        self.bytes = sum(shared.values()) + sum(later for _, _, later in self._kept.values())
        while self._kept and (self.bytes > self._max_bytes or len(self._kept) > self._most):
            _, (_, its_reached, more) = self._kept.popitem(last=False)
            self.bytes -= more
            for ident in its_reached:
                if ident in held:
                    held[ident] -= 1
                    if not held[ident]:
                        self.bytes -= shared[ident]
