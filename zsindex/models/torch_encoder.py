"""What encoders on torch have in common: devices, batches, the hash of the weights, silence while they load."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from zsindex.arguments import bounds
from zsindex.errors import CheckpointError, DeviceError, DeviceFull
from zsindex.records import FloatArray, ModelInfo, ModelSpec

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16", "fp16")

# Images at once. On a CPU a convolutional model is fastest at 4 to 8, where a layer's activations stay in the cache,
# and a ViT-B-32 hardly gains beyond 8; benchmarks/encoder.py measures it.
_BATCH_SIZES = {"cpu": 8, "mps": 64, "cuda": 256}
# Images that a GPU is best given at a time: with fewer, threads that decode wait more often for the one that has it
# compute; with more, a sync is no faster (benchmarks/on_gpu.py).
_IMAGES_AT_ONCE = 128
PROMPTS_PER_IMAGE = 8  # a prompt of ten tokens is about that much less work than an image

_cudnn: Any = torch.backends.cudnn  # torch's own annotations lack its `conv`
# What CUDA and its libraries say where the device's memory is full, besides torch's own OutOfMemoryError.
_FULL = ("out of memory", "ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")


def check_options(spec: ModelSpec, batch_size: int | None) -> None:
    """Refuse what no encoder on torch can do.

    Raises:
        ValueError: the precision is none of `PRECISIONS`, or the batch size is below 1.
    """
    if spec.precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {spec.precision!r}")
    if batch_size is not None:
        bounds.whole("batch_size", batch_size, least=1)


def batch_size_on(device: torch.device) -> int:
    """Images that go through a model at once on a device if nobody says."""
    return _BATCH_SIZES.get(device.type, _BATCH_SIZES["cpu"])


class TorchEncoder:
    """What an encoder on torch inherits: it runs a tower over many inputs, as many at a time as the device can hold.

    Attributes:
        info: what the model is.
        device: the torch device that it computes on.
        runtime: ``torch``, as opposed to `zsindex.models.openvino.runtime`.
        batch_size: images that go through the model at once, and an eighth of the prompts that do; halved for good when
            CUDA runs out of memory.
    """

    def __init__(self, info: ModelInfo, device: torch.device, batch_size: int) -> None:
        self.info = info
        self.device = str(device)
        self.runtime = "torch"
        self.batch_size = batch_size
        self._staging: torch.Tensor | None = None

    @property
    def images_at_once(self) -> int:
        """See `zsindex.models.encoder.WantsMany`."""
        return min(self.batch_size, _IMAGES_AT_ONCE) if self.device.startswith("cuda") else 1

    def on_device(self, pixels: Sequence[FloatArray], dtype: torch.dtype) -> torch.Tensor:
        """Preprocessed images side by side on the device, shape (len(pixels), 3, height, width).

        They go there from one and the same memory, which the system need not find anew for each batch, and which a GPU
        can read by itself; as float32, since the GPU is faster in making another type of them.
        """
        shape = (len(pixels), *pixels[0].shape)
        is_cuda = self.device.startswith("cuda")
        if self._staging is None or len(self._staging) < len(pixels) or self._staging.shape[1:] != shape[1:]:
            self._staging = None  # before the larger one is made
            self._staging = torch.empty(shape, dtype=torch.float32, pin_memory=is_cuda)
        staged = self._staging[: len(pixels)]
        np.stack(pixels, out=staged.numpy())
        # Whoever asks waits for the vectors before the next batch is staged.
        return staged.to(self.device, non_blocking=is_cuda).to(dtype)

    def in_batches(self, count: int, encode: Callable[[int, int], torch.Tensor], *, per_step: int = 1) -> FloatArray:
        """Run encode(start, stop) over `batch_size` × `per_step` rows at a time, and normalise what it returns.

        Raises:
            DeviceFull: the device has not even the memory for a single step.
        """
        vectors = np.empty((count, self.info.dim), dtype=np.float32)
        start = 0
        while start < count:
            stop = min(start + self.batch_size * per_step, count)
            batch: FloatArray | None = None
            try:
                with torch.inference_mode(), _unrounded:
                    # In float32 whatever the towers compute in; bf16 keeps less than three digits.
                    batch = normalize(encode(start, stop).float(), dim=-1).cpu().numpy()
            except RuntimeError as error:
                if not _is_full(error):
                    raise
                if stop - start <= per_step:
                    raise DeviceFull(self.device, model=str(self.info.spec)) from error
            if batch is None:
                # Out here because the exception, while it is handled, keeps the failed batch's tensors alive.
                self.batch_size = math.ceil((stop - start) / per_step) // 2
                logger.warning("out of memory on %s; going on with batches of %d", self.device, self.batch_size)
                continue
            vectors[start:stop] = batch
            start = stop
        return vectors


def _is_full(error: RuntimeError) -> bool:
    """Whether the memory of a GPU was short; not that of the machine, see `zsindex.models.encoder.is_out_of_memory`."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _FULL)


@contextmanager
def room_on(device: torch.device, spec: ModelSpec) -> Iterator[None]:
    """While a model goes to a device.

    Raises:
        DeviceFull: it does not fit.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_full(error):
            raise
        raise DeviceFull(str(device), model=str(spec)) from error


class _Unrounded:
    """While float32 is computed in float32 on a GPU, too.

    By default torch has convolutions there round their inputs to TF32, which keeps ten bits of 23, and programs have it
    do so in matrix products. A model's vectors are to be the same on every device: their fingerprint is. Torch keeps
    this for the whole process, so the first to enter changes it, and the last to leave puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = ("", "")

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = _cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
                _cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "ieee"

    def __exit__(self, *ignored: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision = self._before


_unrounded = _Unrounded()


def default_device() -> str:
    """What ``auto`` stands for on this machine."""
    return str(device_named("auto", ModelSpec("")))


def device_named(name: str, spec: ModelSpec) -> torch.device:
    """The torch device of a name; ``auto`` is CUDA, else MPS, else the CPU.

    Raises:
        DeviceError: it is not there.
    """
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return torch.device((cuda + mps + ["cpu"])[0])
    available = ["cpu", *cuda, *mps]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(name, available=available, model=str(spec)) from None
    if str(device) not in available and not (str(device) == "cuda" and cuda):
        raise DeviceError(name, available=available, model=str(spec))
    return device


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's chatter, and everybody's warnings, off the terminal while a model loads.

    open_clip logs through the root logger, where the first message installs a handler for the whole process; one that
    drops everything, for as long as the model loads, keeps it from doing so. What of it matters is raised or logged by
    those who load.
    """
    silent = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(silent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(silent)


def weights_sha256(spec: ModelSpec, model: torch.nn.Module) -> str:
    """Hash a float32 model on the CPU: names in order, each with dtype, shape and bytes.

    Of the loaded model rather than of the file, so that the same weights hash alike from .pt and .safetensors, stored
    as float16 or float32, with or without a ``module.`` prefix.

    Raises:
        CheckpointError: a weight is not a finite number.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        # A sum is finite only where all values are, and takes a tenth of the hash's time; looking at each takes more
        # than the hash. A sum that is not may have overflowed.
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise CheckpointError(str(spec), f"{name} holds values that are not finite numbers")
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
