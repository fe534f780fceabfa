"""Checkpoints of transformers: an `Encoder` over what its zero-shot-image-classification pipeline runs.

What the pipeline does with pictures and words is done here by the same code: the checkpoint's own image processor and
tokenizer, and the pipeline's padding. The only module that imports transformers, which takes seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from zsindex.errors import CheckpointError, ModelError, PackageMissing, PromptTooLong, UnknownModel
from zsindex.models import checkpoints
from zsindex.models.familiarity import Familiarity
from zsindex.models.fingerprint import fingerprint, sha256_of
from zsindex.models.hub import one_line
from zsindex.models.torch_encoder import (
    PROMPTS_PER_IMAGE,
    TorchEncoder,
    batch_size_on,
    check_options,
    device_named,
    quiet,
    room_on,
    weights_sha256,
)
from zsindex.photos.scaling import fitted_if_thin
from zsindex.records import FloatArray, ModelInfo, ModelSpec

if TYPE_CHECKING:
    from transformers import BatchEncoding

logger = logging.getLogger(__name__)

# Dual encoders: vectors of pictures and of texts do not depend on each other, and a logit is their cosine, scaled.
FAMILIES = ("align", "altclip", "chinese_clip", "clip", "metaclip_2", "siglip")
_REFUSED = {
    "siglip2": "its images have no fixed size (NaFlex); SigLIP 2's checkpoints of a fixed resolution work",
    "blip-2": "it is not a dual encoder: its matching head looks at a picture and a text together",
}
_WEIGHTS = (".safetensors", ".bin")
_IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_TOKENIZER = "tokenizer.json"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What the pipeline asks of the tokenizer: of SigLIP's models, and of all others.
_SIGLIP_LENGTH = 64
_SIGLIP_TOKENS = {"padding": "max_length", "max_length": _SIGLIP_LENGTH, "truncation": True}
_TOKENS = {"padding": True}


def load(spec: ModelSpec, folder: Path, *, device: str = "auto", batch_size: int | None = None) -> TransformersEncoder:
    """Load a folder as `save_pretrained` writes it: configuration, weights, image processor and tokenizer.

    Nothing is downloaded, and no code of a checkpoint is ever run.

    Args:
        spec: under which name, and in which precision.
        folder: where the files are.
        device: ``auto`` (CUDA, else MPS, else CPU) or a torch device such as ``cpu`` or ``cuda:1``.
        batch_size: images that go through the model at once (of prompts, eight times as many); None chooses by device.

    Raises:
        ValueError: the precision is none of `zsindex.models.torch_encoder.PRECISIONS`, or the batch size is below 1.
        UnknownModel: it is not a dual encoder, or one whose images have no fixed size.
        CheckpointError: files are missing or damaged, hold more than plain tensors, or ask to run code of their own.
        PackageMissing: its tokenizer needs a package that is not installed.
        DeviceError: the device is not there.
        DeviceFull: it has too little memory left.
    """
    check_options(spec, batch_size)
    with quiet(), _silent():
        target = device_named(device, spec)
        checkpoints.refuse_code(str(spec), folder)
        family = _family(spec, folder)
        return _load(spec, folder, family, target, batch_size or batch_size_on(target))


class TransformersEncoder(TorchEncoder):
    """A checkpoint of transformers as an `Encoder`; made by `load`.

    Attributes:
        info: what the model is.
        identity: what its fingerprint is made of; see `zsindex.models.fingerprint`.
        files: paths of what it was loaded from, and of what would change if another file came to them.
        pads_whole: whether every text is filled up to the context length, rather than to the longest beside it.
        model, tokenizer, image_processor: transformers' own.
    """

    def __init__(
        self,
        *,
        info: ModelInfo,
        identity: dict[str, Any],
        model: Any,
        tokenizer: Any,
        image_processor: Any,
        device: torch.device,
        batch_size: int,
        files: Sequence[str],
    ) -> None:
        super().__init__(info, device, batch_size)
        self.identity = identity
        self.files = files
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self._device = device
        self._dtype = _DTYPES[info.spec.precision]
        self._how = _how(model.config.model_type)
        self.pads_whole = self._how["padding"] == "max_length"

    def preprocess(self, image: Image.Image) -> FloatArray:
        """Apply the checkpoint's own image processor to the picture in RGB, as the pipeline does.

        Returns:
            float32, shape (3, height, width), contiguous. Safe to call from several threads.
        """
        return _pixels(self.image_processor, image)

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        """Encode preprocessed images.

        Args:
            pixels: results of `preprocess`, float32, shape (3, height, width) each.

        Returns:
            float32, shape (len(pixels), dim), L2-normalised rows in the order given.
        """

        def encode(start: int, stop: int) -> torch.Tensor:
            batch = self.on_device(pixels[start:stop], self._dtype)
            features: torch.Tensor = self.model.get_image_features(pixel_values=batch).pooler_output
            return features

        return self.in_batches(len(pixels), encode)

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        """Encode prompts, those of about the same length together.

        A vector depends on its own text alone, up to float noise: what pads it is masked, or is what the model was
        trained with.

        Args:
            texts: final prompts in any script; the model's tokenizer cleans them as it was trained to.
            truncate: cut a prompt that does not fit, instead of raising.

        Returns:
            float32, shape (len(texts), dim), L2-normalised rows in the order given.

        Raises:
            PromptTooLong: a text has more tokens than the model reads and `truncate` is False.
        """
        if not texts:
            return np.empty((0, self.info.dim), dtype=np.float32)
        lengths = np.array([len(ids) for ids in self.tokenizer(list(texts), verbose=False)["input_ids"]])
        too_long = np.flatnonzero(lengths > self.info.context_length)
        if len(too_long) and not truncate:
            first = int(too_long[0])
            raise PromptTooLong(
                texts[first],
                tokens=int(lengths[first]),
                context_length=self.info.context_length,
                model=str(self.info.spec),
            )
        order = np.argsort(lengths, kind="stable")
        in_order = [texts[position] for position in order]

        def encode(start: int, stop: int) -> torch.Tensor:
            tokens = self.tokens(in_order[start:stop]).to(self._device)
            features: torch.Tensor = self.model.get_text_features(**tokens).pooler_output
            return features

        vectors = np.empty((len(texts), self.info.dim), dtype=np.float32)
        vectors[order] = self.in_batches(len(texts), encode, per_step=PROMPTS_PER_IMAGE)
        return vectors

    def count_tokens(self, text: str) -> int:
        """Tokens of a text after the tokenizer's own cleaning, start and end tokens included, before any truncation."""
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    def unfamiliar(self, texts: Sequence[str]) -> list[str]:
        """See `zsindex.models.encoder.JudgeOfWords`."""
        return Familiarity.of_transformers(self.tokenizer).unfamiliar(texts)

    def tokens(self, texts: list[str]) -> BatchEncoding:
        """What the model is given of texts, cut, and padded as the pipeline pads them."""
        cut = {"truncation": True, "max_length": self.info.context_length}
        tokens: BatchEncoding = self.tokenizer(texts, return_tensors="pt", verbose=False, **{**cut, **self._how})
        return tokens


def _how(family: str) -> Mapping[str, Any]:
    return _SIGLIP_TOKENS if "siglip" in family else _TOKENS


def _pixels(image_processor: Any, image: Image.Image) -> FloatArray:
    image = image.convert("RGB")
    size = dict(image_processor.size or {})
    side = size.get("shortest_edge")
    height, width = (side, side) if side else (size.get("height"), size.get("width"))
    if height and width and image_processor.do_resize:
        # Of a picture that is too thin to be scaled whole, the part that is cut out in the end goes in.
        resampling = Image.Resampling(image_processor.resample)
        image = fitted_if_thin(image, (height, width), resampling, resize_mode="shortest" if side else "squash")
    tensor = image_processor(images=[image], return_tensors="pt")["pixel_values"][0]
    pixels: FloatArray = np.ascontiguousarray(tensor.numpy(), dtype=np.float32)
    return pixels


# --- from files to a model --------------------------------------------------------------------------------------------


def _family(spec: ModelSpec, folder: Path) -> str:
    family = checkpoints.read(str(spec), folder / "config.json").get("model_type")
    if family in FAMILIES:
        return str(family)
    if family in _REFUSED:
        raise UnknownModel(str(spec), why=_REFUSED[family])
    if family in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise UnknownModel(str(spec), why=f"{family} is not one of the dual encoders that zsindex knows")
    what = f"a model of type {family}" if family else "what its config.json describes"
    raise UnknownModel(str(spec), why=f"{what} does not compare pictures with words")


def _load(spec: ModelSpec, folder: Path, family: str, device: torch.device, batch_size: int) -> TransformersEncoder:
    if not any(file.suffix in _WEIGHTS for file in folder.iterdir()):
        raise CheckpointError(str(spec), f"{folder} has no weights ({', '.join(_WEIGHTS)})")
    if not any((folder / name).is_file() for name in _IMAGE_PROCESSORS):
        raise CheckpointError(str(spec), f"{folder} has no image processor ({', '.join(_IMAGE_PROCESSORS)})")
    options = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = _part(spec, "its tokenizer: ", transformers.AutoTokenizer, folder, options)
    _require_vocabulary(spec, folder, tokenizer)
    image_processor = _part(spec, "its image processor: ", transformers.AutoImageProcessor, folder, options)
    height, width = _image_size(spec, image_processor)
    # In float32 first, on the CPU, so that the hash of the weights is that of the weights alone.
    model, loaded = _part(
        spec,
        "",
        transformers.AutoModelForZeroShotImageClassification,
        folder,
        {
            **options,
            "dtype": torch.float32,
            "weights_only": True,
            "output_loading_info": True,
            "ignore_mismatched_sizes": True,  # they are refused here, by name
        },
    )
    if others := sorted(name for name, *_ in loaded["mismatched_keys"]):
        raise CheckpointError(str(spec), f"weights do not have the shape that its config.json gives: {others[0]}")
    if missing := sorted(loaded["missing_keys"]):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(str(spec), f"it lacks weights: {missing[0]}{more}")
    sha256 = weights_sha256(spec, model)
    logit_scale, logit_bias = _scale(model)
    context_length = _context_length(model.config.text_config, family)
    identity = {
        "architecture": _architecture(model.config),
        "weights": sha256,
        "preprocessing": _image_processor_identity(image_processor),
        "tokenizer": _tokenizer_identity(tokenizer, family, context_length),
    }
    with room_on(device, spec), torch.inference_mode():
        model.eval().requires_grad_(False).to(device=device, dtype=_DTYPES[spec.precision])
        tokens = tokenizer(["a"], return_tensors="pt", **_how(family)).to(device)
        dim = int(model.get_text_features(**tokens).pooler_output.shape[-1])
    info = ModelInfo(
        spec=spec,
        fingerprint=fingerprint(identity, spec),
        dim=dim,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
        context_length=context_length,
        image_size=(height, width),
        weights_sha256=sha256,
    )
    return TransformersEncoder(
        info=info,
        identity=identity,
        model=model,
        tokenizer=tokenizer,
        image_processor=image_processor,
        device=device,
        batch_size=batch_size,
        files=_files(folder),
    )


def _files(folder: Path) -> list[str]:
    """Its files, and what changes when one comes or goes: the folder; and in the hub's cache, what names this one."""
    refs = (folder.parent.parent / "refs").rglob("*") if folder.parent.name == "snapshots" else ()
    named = [file for file in refs if file.is_file() and file.read_text(encoding="utf-8").strip() == folder.name]
    return sorted(str(file) for file in [folder, *folder.iterdir(), *named] if file == folder or file.is_file())


def _part(spec: ModelSpec, what: str, kind: Any, folder: Path, options: Mapping[str, Any]) -> Any:
    try:
        return kind.from_pretrained(str(folder), **options)
    except ImportError as error:
        raise _missing_package(spec, error) from error
    except Exception as error:
        # Damaged files raise nearly anything from within torch, safetensors, tokenizers and transformers.
        raise CheckpointError(str(spec), what + one_line(error)) from error


def _require_vocabulary(spec: ModelSpec, folder: Path, tokenizer: Any) -> None:
    """Refuse a checkpoint without the words of its tokenizer: transformers makes one then that knows none.

    Raises:
        CheckpointError
    """
    own = [name for part, name in tokenizer.vocab_files_names.items() if part != "tokenizer_file"]
    has_own = all((folder / name).is_file() for name in own) if own else any(folder.glob("*.model"))
    if not has_own and not (folder / _TOKENIZER).is_file():
        ways = [_TOKENIZER, *([" and ".join(own)] if own else [])]
        raise CheckpointError(str(spec), f"{folder} has no vocabulary for its tokenizer ({', or '.join(ways)})")


def _missing_package(spec: ModelSpec, error: ImportError) -> ModelError:
    for package in ("sentencepiece", "protobuf", "tiktoken"):
        if package in str(error):
            return PackageMissing(str(spec), package)
    return PackageMissing(str(spec), error.name) if error.name else CheckpointError(str(spec), one_line(error))


def _image_size(spec: ModelSpec, image_processor: Any) -> tuple[int, int]:
    """Height and width of what the processor makes of any picture."""
    shapes = {_pixels(image_processor, Image.new("RGB", size)).shape for size in ((48, 64), (96, 40))}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 3:
        raise UnknownModel(str(spec), why="its image processor makes inputs of no fixed size")
    return int(shape[1]), int(shape[2])


def _scale(model: Any) -> tuple[float, float | None]:
    if hasattr(model, "temperature"):  # ALIGN divides by it
        return 1.0 / float(model.temperature), None
    bias = getattr(model, "logit_bias", None)
    return float(model.logit_scale.exp()), None if bias is None else float(bias)


def _context_length(text_config: Any, family: str) -> int:
    """Tokens that the text tower has positions for, and the pipeline's padding leaves room for."""
    positions = int(text_config.max_position_embeddings)
    if "siglip" in family:
        return min(positions, _SIGLIP_LENGTH)
    if family == "altclip":  # as in RoBERTa, positions count from behind the padding token's
        return positions - int(text_config.pad_token_id) - 1
    return positions


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers' log and progress bars off the terminal."""
    log: Any = transformers_logging  # which is untyped
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


# --- what a model is --------------------------------------------------------------------------------------------------

# Of a configuration, what does not change a vector: what weights replace, what only training looks at, and where it
# comes from.
_WITHOUT_EFFECT = {
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "drop_connect_rate",
    "dropout_rate",
    "dtype",
    "hidden_dropout_prob",
    "initializer_factor",
    "initializer_range",
    "logit_scale_init_value",
    "temperature_init_value",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
_PROBES = ("a Photo of CAFÉ, 2 don't.", "柴犬の写真", "🙂  naïve ﬁne", "")


def _architecture(config: Any) -> dict[str, Any]:
    """What differs from the defaults of transformers."""

    def effective(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: effective(inner) for key, inner in value.items() if key not in _WITHOUT_EFFECT}
        return value

    return {"library": "transformers", **effective(json.loads(config.to_json_string(use_diff=True)))}


def _image_processor_identity(image_processor: Any) -> dict[str, Any]:
    """What is set and is not off, so that what a newer transformers can do in addition changes no fingerprint."""
    found = json.loads(image_processor.to_json_string())
    about = ("processor_class", "image_processor_type", "feature_extractor_type", "_valid_processor_keys")
    options = {key: value for key, value in found.items() if key not in about and value not in (None, False)}
    return {"class": type(image_processor).__name__, **options}


def _tokenizer_identity(tokenizer: Any, family: str, context_length: int) -> dict[str, Any]:
    """Its vocabulary, and what it makes of a few texts: cleaning, splitting, special tokens and padding."""
    probed = tokenizer(list(_PROBES), **_how(family))
    return {
        "vocabulary": sha256_of(tokenizer.get_vocab()),
        "probed": sha256_of({name: probed[name] for name in sorted(probed)}),
        "context_length": context_length,
    }
