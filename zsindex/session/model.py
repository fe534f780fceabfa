"""A library's current model: its name, its record in storage, and the model itself once it is loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, TypeVar

from zsindex import config
from zsindex.arguments.paths import guessed
from zsindex.config import absolute
from zsindex.errors import ModelChanged, ModelPruned, UnknownModel
from zsindex.models import names
from zsindex.models.encoder import Encoder, OneAtATime, around_model
from zsindex.records import AS_SEEN, DecodeMode, IccMode, ModelInfo, ModelSpec, TransparencyMode
from zsindex.session.usage import Usage
from zsindex.storage.rows import ModelRow

if TYPE_CHECKING:
    from zsindex.storage.protocol import Reads, Storage

T = TypeVar("T")

# The model of a new library, by default.
_NEW = ModelSpec(config.DEFAULT_MODEL, icc=AS_SEEN.icc, transparency=AS_SEEN.transparency)


class ModelOptions(TypedDict, total=False):
    """What distinguishes models of the same name. Options left out are those of the library's present model.

    Keys:
        pretrained: tag or checkpoint file, if the name is only an architecture.
        precision: ``fp32``, ``bf16`` or ``fp16``; or ``auto``: the precision of vectors that the library already holds,
            else the one in which this machine is fastest, measured once per model.
        decode: ``exact`` or ``fast``; see docs/decoding.md.
        icc: ``convert`` photos to sRGB using their profiles, or ``ignore`` the profiles, as open_clip and transformers
            do.
        transparency: ``show`` transparent pictures on a background, or drop the transparency, as the ``reference``
            does.
    """

    pretrained: str | None
    precision: str | None
    decode: DecodeMode | str | None
    icc: IccMode | str | None
    transparency: TransparencyMode | str | None


class AskedModel:
    """The model that answers questions. Thread-safe.

    `_lock` is held to read or set the fields, never while anything is read from disk, computed or waited for;
    `_loading`, which is taken before it, is held while a model is loaded and recorded.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        spec: ModelSpec,
        row: ModelRow | None,
        encoder: Encoder | None,
        device: str,
        batch_size: int | None,
        on_load: Callable[[ModelSpec], None] | None,
        usage: Usage,
        forget: Callable[[], None],
    ) -> None:
        """Args:
        row: its record; None if the library has never used it.
        encoder: given by the caller; it cannot be loaded again.
        forget: drops what was derived from the previous model when the model changes.
        """
        self.device = device
        self.batch_size = batch_size
        self.on_load = on_load
        self._storage = storage
        self._spec = spec
        self._row = row
        self._loaded = None if encoder is None else OneAtATime(encoder)
        self._can_load_again = encoder is None
        self._usage = usage
        self._forget = forget
        self._lock = threading.RLock()
        self._loading = threading.RLock()

    @property
    def spec(self) -> ModelSpec:
        """The model as requested."""
        return self._spec

    @property
    def known(self) -> ModelRow | None:
        """Its record; None if the model must be loaded first."""
        return self._row

    @property
    def loaded(self) -> OneAtATime | None:
        """The model itself, if it is in memory."""
        return self._loaded

    @property
    def has_name(self) -> bool:
        """Whether it can be loaded by its name, in another process, too; not so an encoder given by the caller."""
        return self._can_load_again

    @property
    def info(self) -> ModelInfo:
        """Details of the model; loads it if the library has never used it.

        Raises:
            ModelError
        """
        return self.row().info

    def row(self) -> ModelRow:
        """Its record; loads and records the model if the library has never used it.

        Raises:
            ModelError
        """
        row = self._row
        if row is not None:
            return row
        with self._loading:
            row = self._row
            if row is None:
                row = self._record(self.encoder().info, make_default=False)
                with self._lock:
                    self._row = row
            return row

    def encoder(self) -> OneAtATime:
        """The model itself; loads it if necessary.

        Raises:
            ModelChanged: it is no longer the model whose vectors the library holds.
        """
        loaded, row, spec = self._now()
        if loaded is None:
            with around_model.get()(), self._loading:
                # The previous holder of the lock may have loaded it, or chosen another model.
                loaded, row, spec = self._now()
                if loaded is None:
                    loaded = self._load(spec)
                    with self._lock:
                        self._loaded = loaded
        if row is not None:
            expected, got = row.info.fingerprint, loaded.info.fingerprint
            if expected != got:
                raise ModelChanged(str(spec), expected=expected, got=got)
        return loaded

    def use(self, spec: Callable[[ModelSpec], ModelSpec]) -> ModelInfo:
        """Load another model, and make it the library's default.

        Args:
            spec: makes the new spec from the present one.
        """
        with self._loading:
            chosen = spec(self._spec)
            # Until it is loaded, the previous model answers questions.
            loaded = self._load(chosen)
            row = self._record(loaded.info, make_default=True)
            with self._lock:
                self._loaded, self._spec, self._row = loaded, chosen, row
                self._forget()
        return row.info

    def release(self, *, idle_s: float = 0.0) -> bool:
        """Release the model; it is loaded again when something must be encoded.

        Args:
            idle_s: only if it has not been used for this many seconds.

        Returns:
            Whether it was released. An encoder given to `Library.open` is kept, because it could not be loaded again.
        """
        with self._lock:
            if self._loaded is None or not self._can_load_again or self._loaded.idle_s < idle_s:
                return False
            self._loaded = None
            return True

    def close(self) -> None:
        """Release the model for good."""
        with self._lock:
            self._loaded = None

    # --- beside others ------------------------------------------------------------------------------------------------

    def notice_pruned(self) -> None:
        """Notice if another process has pruned the model: it is recorded again when needed; if that has already been
        done, this object uses the new record.
        """
        row = self._row
        if row is None or row.id < 0:
            return
        rows = self._storage.reads.models()
        if row.id not in [other.id for other in rows]:
            same = [other for other in rows if other.info.fingerprint == row.info.fingerprint]
            with self._lock:
                if self._row is row:
                    self._row = same[0] if same else None
                    self._forget()

    def renew(self, row: ModelRow) -> None:
        """Keep using a pruned record if no one has recorded the model again."""
        with self._lock:
            self._row = self._row or row

    def store(self, store: Callable[[int], T]) -> T:
        """Store something for the model, which is recorded again if another process has pruned it.

        Args:
            store: called with the model's id; stores in one transaction.
        """
        row = self.row()
        try:
            return store(row.id)
        except ModelPruned:
            with self._loading:
                self.notice_pruned()
                renewed = self._row
                if renewed is None:
                    renewed = self._record(row.info, make_default=False)
                    with self._lock:
                        self._row = renewed
            return store(renewed.id)

    def _now(self) -> tuple[OneAtATime | None, ModelRow | None, ModelSpec]:
        with self._lock:
            return self._loaded, self._row, self._spec

    def _load(self, spec: ModelSpec) -> OneAtATime:
        self._storage.require_open()
        if self.on_load is not None:
            self.on_load(spec)
        self._usage.count(model_loads=1)
        return OneAtATime(load_encoder(spec, device=self.device, batch_size=self.batch_size))

    def _record(self, info: ModelInfo, *, make_default: bool) -> ModelRow:
        if not self._storage.writable:
            # It has no vectors here and gets none: use a record that exists only in memory, with an unused id.
            return ModelRow(-1, info, "")
        return self._storage.photos.add_model(info, make_default=make_default)


def load_encoder(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
    """Load a model. The only place that needs torch; everything else works without it."""
    from zsindex.models import loading

    return loading.load(spec, device=device, batch_size=batch_size)


def fastest_precision(spec: ModelSpec) -> str:
    """The precision in which this machine encodes images fastest."""
    from zsindex.models import loading

    return loading.fastest_precision(spec)


def require_name(model: str | None) -> None:
    """Refuse an empty name.

    Raises:
        UnknownModel
    """
    if model is not None and not model.strip():
        raise UnknownModel(model, why="the model name is empty")


def spec_for(reads: Reads, base: ModelSpec | None, model: str | None, options: ModelOptions) -> ModelSpec:
    """The requested model in a canonical spelling, so that another name for the same model does not encode everything
    again.

    Args:
        base: supplies what is not given; None for the defaults of a new library.
        model: ``nano``, ``ORG/NAME`` on a hub, ``ARCHITECTURE/TAG`` of open_clip, or a folder (docs/models.md).
    """
    base = _NEW if base is None else base
    pretrained, precision = options.get("pretrained"), options.get("precision")
    decode, icc, transparency = options.get("decode"), options.get("icc"), options.get("transparency")
    if model is None and pretrained is None:
        name, weights = base.name, base.pretrained
    else:
        name, weights = base.name if model is None else model, pretrained
    require_name(name)
    if weights is not None:
        file = guessed(weights)
        name, weights = (name, file) if os.path.isfile(file) else (f"{name}/{weights}", None)
    scheme, _, rest = name.partition(":")
    folder = absolute(rest) if scheme == "local-dir" else guessed(name)
    if scheme == "local-dir" or (
        model not in (None, config.DEFAULT_MODEL) and weights is None and os.path.isdir(folder)
    ):
        name = f"local-dir:{folder}"
    elif model is not None and pretrained is None:
        name = names.in_one_spelling(name, held=[row.info.spec.name for row in reads.models()])
    spec = ModelSpec(
        name=name,
        pretrained=weights,
        precision=precision or base.precision,
        decode=base.decode if decode is None else DecodeMode(decode),
        icc=base.icc if icc is None else IccMode(icc),
        transparency=base.transparency if transparency is None else TransparencyMode(transparency),
    )
    if precision != "auto":
        return spec
    # Nothing is faster than what has already been encoded.
    there = [row.info.spec for row in reads.models()]
    alike = [other for other in there if replace(other, precision="auto") == spec]
    return alike[-1] if alike else replace(spec, precision=fastest_precision(spec))
