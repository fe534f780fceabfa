"""open_clip's models: an `Encoder` over open_clip.

Importing it costs seconds, nearly all of them torch's and open_clip's own, so callers import it inside the function
that is about to encode something.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from open_clip.transform import PreprocessCfg, image_transform_v2

from zsindex.errors import (
    CheckpointError,
    ModelError,
    ModelUnavailable,
    PackageMissing,
    PromptTooLong,
    UnknownModel,
)
from zsindex.models import hub, openclip_files
from zsindex.models.familiarity import Familiarity
from zsindex.models.fingerprint import fingerprint, sha256_of
from zsindex.models.openclip_files import CONFIG_NAME, WeightsSource
from zsindex.models.preprocess import Preprocessing
from zsindex.models.text_tower import TextTower
from zsindex.models.tokenizer import text_of
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
from zsindex.photos.scaling import RESAMPLING, Fitting, fitted_if_thin
from zsindex.records import FloatArray, ModelInfo, ModelSpec

if TYPE_CHECKING:
    from PIL import Image


def describe(name: str) -> dict[str, Any]:
    """Tell what a model is without loading or downloading its weights.

    Args:
        name: as in `load`; an architecture alone is allowed here.

    Returns:
        Plain data: ``name``, ``architecture``, ``dim``, ``image_size`` (pixels), ``context_length`` (tokens) and
        ``pretrained``, the tags that open_clip offers for the architecture.

    Raises:
        UnknownModel: no such name, or one in a hub, whose configuration would have to be downloaded first.
        CheckpointError: a folder whose configuration describes no model.
    """
    with quiet():
        architecture = name.replace("/", "-")
        if architecture not in open_clip.list_models():
            source = openclip_files.resolve(ModelSpec(name))
            if source.repository and source.name.startswith("hf-hub:"):
                raise UnknownModel(name, why="what it is will be known once it has been downloaded: zsindex models use")
            architecture = source.name
        config = open_clip.get_model_config(architecture)
        text, vision = config["text_cfg"], config["vision_cfg"]
        return {
            "name": name,
            "architecture": vision.get("timm_model_name", architecture),
            "dim": config["embed_dim"],
            "image_size": vision.get("image_size", 224),
            "context_length": text.get("context_length", 77),
            "pretrained": open_clip.list_pretrained_tags_by_model(architecture),
        }


def load(spec: ModelSpec, *, device: str = "auto", batch_size: int | None = None) -> OpenClipEncoder:
    """Load a model with its weights; never one with random weights.

    Args:
        spec: `spec.name` is ``nano``; ``ARCHITECTURE/TAG`` or ``ARCHITECTURE`` with `spec.pretrained` as a tag or a
            checkpoint file; ``hf-hub:ORG/NAME`` or ``ORG/NAME``, either with ``@REVISION``; ``local-dir:FOLDER``; or
            the bare path of such a folder.
        device: ``auto`` (CUDA, else MPS, else CPU) or a torch device such as ``cpu`` or ``cuda:1``.
        batch_size: images that go through the model at once (of prompts, eight times as many); None chooses by device.

    Raises:
        ValueError: the precision is none of `zsindex.models.torch_encoder.PRECISIONS`, or the batch size is below 1.
        UnknownModel: no such architecture, tag, folder or repository name, or a name that says too little or too much.
        ModelUnavailable: a hub could not be reached, refused, or lacks the files.
        CheckpointError: the files are there but damaged, of another architecture, or not plain tensors.
        PackageMissing: the text tower or its tokenizer needs a package that is not installed.
        DeviceError: the device is not there.
        DeviceFull: it has too little memory left.
    """
    check_options(spec, batch_size)
    source = openclip_files.resolve(spec)  # not in silence: what it logs is meant for the user
    with quiet():
        target = device_named(device, spec)  # before anything is downloaded for it
        if source.repository:
            source = openclip_files.download(spec, source)
        return _load(spec, source, target, batch_size or batch_size_on(target))


class OpenClipEncoder(TorchEncoder):
    """An open_clip model as an `Encoder`; made by `load`.

    Attributes:
        info: what the model is.
        identity: what its fingerprint is made of; see `zsindex.models.fingerprint`.
        files: paths of what it was loaded from; empty where open_clip does not tell.
        model, tokenizer, preprocess_config: open_clip's own.
        text_tower: encodes rows of tokens that were cut.
    """

    def __init__(
        self,
        *,
        info: ModelInfo,
        identity: dict[str, Any],
        model: Any,
        tokenizer: Any,
        preprocess: PreprocessCfg,
        device: torch.device,
        batch_size: int,
        files: Sequence[str],
    ) -> None:
        super().__init__(info, device, batch_size)
        self.identity = identity
        self.files = files
        self.model = model
        self.tokenizer = tokenizer
        self.preprocess_config = preprocess
        self.text_tower = TextTower(model)
        self._transform = image_transform_v2(preprocess, is_train=False)
        self._known = Preprocessing.from_config(asdict(preprocess))
        self._device = device
        self._input_dtype = open_clip.get_input_dtype(info.spec.precision) or torch.float32

    @property
    def fitting(self) -> Fitting | None:
        """See `zsindex.models.encoder.FitsPictures`."""
        return None if self._known is None else self._known.fitting

    def preprocess(self, image: Image.Image) -> FloatArray:
        """Resize, crop, convert to RGB, normalise as open_clip's own evaluation transform does, bit for bit.

        Where numpy can do it that is taken: torch's operations on a single picture keep other threads waiting, and
        with as many threads as a GPU wants, decoding would wait for them.

        Returns:
            float32, shape (3, height, width), contiguous. Safe to call from several threads.
        """
        return self.transformed(image) if self._known is None else self._known(image)

    def transformed(self, image: Image.Image) -> FloatArray:
        """`preprocess` by open_clip itself.

        The image goes in as it is. Converting it to RGB first would look harmless, but the reference resizes before it
        converts, and for palettes and alpha that gives other pixels. Of a picture that is too thin for that (see
        `zsindex.photos.scaling`), the part that it would cut out goes in.

        Returns:
            float32, shape (3, height, width), contiguous. Safe to call from several threads.
        """
        config, (height, width) = self.preprocess_config, self.info.image_size
        resize_mode = config.resize_mode or "shortest"
        is_bilinear = config.interpolation == "bilinear" and (height == width or resize_mode != "shortest")
        resampling = RESAMPLING["bilinear" if is_bilinear else "bicubic"]
        image = fitted_if_thin(image, (height, width), resampling, resize_mode=resize_mode)
        pixels: FloatArray = self._transform(image).numpy()
        return pixels

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        """Encode preprocessed images.

        Args:
            pixels: results of `preprocess`, float32, shape (3, height, width) each.

        Returns:
            float32, shape (len(pixels), dim), L2-normalised rows in the order given.
        """

        def encode(start: int, stop: int) -> torch.Tensor:
            batch = self.on_device(pixels[start:stop], self._input_dtype)
            features: torch.Tensor = self.model.encode_image(batch, normalize=False)
            return features

        return self.in_batches(len(pixels), encode)

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        """Encode prompts, short ones together.

        A vector depends on its own text alone, up to float noise (below 1e-6 in float32), whatever else is asked for.

        Args:
            texts: final prompts in any script; the model's tokenizer cleans them as it was trained to.
            truncate: cut a prompt that does not fit, as open_clip does, instead of raising.

        Returns:
            float32, shape (len(texts), dim), L2-normalised rows in the order given.

        Raises:
            PromptTooLong: a text has more tokens than the model reads and `truncate` is False.
        """
        if not texts:
            return np.empty((0, self.info.dim), dtype=np.float32)
        tokens: torch.Tensor = self.tokenizer(list(texts))
        if not truncate:
            self._refuse_long(texts, tokens)
        lengths = self.text_tower.needed_lengths(tokens)
        order = torch.argsort(lengths, stable=True)
        tokens, lengths = tokens[order], lengths[order]

        def encode(start: int, stop: int) -> torch.Tensor:
            return self.text_tower.encode(tokens[start:stop, : int(lengths[stop - 1])].to(self._device))

        vectors = np.empty((len(texts), self.info.dim), dtype=np.float32)
        vectors[order.numpy()] = self.in_batches(len(texts), encode, per_step=PROMPTS_PER_IMAGE)
        return vectors

    def count_tokens(self, text: str) -> int:
        """Tokens of a text after the tokenizer's own cleaning, start and end tokens included, before any truncation."""
        tokenizer = self.tokenizer
        if isinstance(tokenizer, open_clip.SimpleTokenizer):
            return len(tokenizer.encode(text)) + 2
        # HFTokenizer pads and cuts as it encodes, so the count comes from the tokenizer that it wraps.
        clips = tokenizer.tokenizer_mode == "clips"
        ids = tokenizer.tokenizer(tokenizer.clean_fn(text), add_special_tokens=not clips).input_ids
        return len(ids) + (3 if clips else 0)  # this mode adds start, end and class tokens by hand

    def unfamiliar(self, texts: Sequence[str]) -> list[str]:
        """See `zsindex.models.encoder.JudgeOfWords`."""
        tokenizer = self.tokenizer
        if isinstance(tokenizer, open_clip.SimpleTokenizer):
            found = Familiarity(map(text_of, tokenizer.encoder), lambda word: list(map(str, tokenizer.encode(word))))
        else:
            found = Familiarity.of_transformers(tokenizer.tokenizer)
        return found.unfamiliar(texts)

    def _refuse_long(self, texts: Sequence[str], tokens: torch.Tensor) -> None:
        # Counting again is as slow as tokenising, so it is done only where a prompt may have been cut: SimpleTokenizer
        # pads with 0 and ends a full row with a token that is not. What other tokenizers pad with varies, and may
        # even be their end token.
        simple = isinstance(self.tokenizer, open_clip.SimpleTokenizer)
        full = tokens[:, -1] != 0 if simple else torch.ones(len(texts), dtype=torch.bool)
        for position in full.nonzero().flatten().tolist():
            count = self.count_tokens(texts[position])
            if count > self.info.context_length:
                raise PromptTooLong(
                    texts[position],
                    tokens=count,
                    context_length=self.info.context_length,
                    model=str(self.info.spec),
                )


# --- from files to a model --------------------------------------------------------------------------------------------


def _load(spec: ModelSpec, source: WeightsSource, device: torch.device, batch_size: int) -> OpenClipEncoder:
    config = _config(spec, source)
    text_config = config["text_cfg"]
    if {"hf_model_name", "hf_tokenizer_name"} & text_config.keys() and not importlib.util.find_spec("transformers"):
        raise PackageMissing(str(spec), "transformers")

    # In float32 first, on the CPU, so that the hash of the weights is that of the weights alone.
    model = _create(spec, source, "fp32")
    sha256 = weights_sha256(spec, model)
    logit_scale = float(model.logit_scale.exp())
    logit_bias = None if model.logit_bias is None else float(model.logit_bias)
    if spec.precision != "fp32":
        # Loaded again rather than cast: open_clip chooses other layers for low precision when it builds the model.
        del model
        model = _create(spec, source, spec.precision)
    # Channels last makes convolutional towers half as fast again on a CPU, and moves vectors by less than 1e-6.
    with room_on(device, spec):
        model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    preprocess = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    tokenizer = _tokenizer(spec, source)
    _, height, width = preprocess.input_size
    identity = {
        "architecture": _architecture(config),
        "weights": sha256,
        "preprocessing": _beyond_defaults({**asdict(preprocess), "size": (height, width)}, asdict(PreprocessCfg())),
        "tokenizer": _tokenizer_identity(tokenizer, text_config),
    }
    info = ModelInfo(
        spec=spec,
        fingerprint=fingerprint(identity, spec),
        dim=int(config["embed_dim"]),
        logit_scale=logit_scale,
        logit_bias=logit_bias,
        context_length=int(tokenizer.context_length),
        image_size=(int(height), int(width)),
        weights_sha256=sha256,
    )
    return OpenClipEncoder(
        info=info,
        identity=identity,
        model=model,
        tokenizer=tokenizer,
        preprocess=preprocess,
        device=device,
        batch_size=batch_size,
        files=openclip_files.files_of(source),
    )


def _config(spec: ModelSpec, source: WeightsSource) -> dict[str, Any]:
    try:
        config: dict[str, Any] = open_clip.get_model_config(source.name)
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    except (OSError, ValueError, AttributeError) as error:  # unreadable, no JSON, or JSON of another shape
        raise CheckpointError(str(spec), f"{CONFIG_NAME} describes no model ({hub.one_line(error)})") from error
    if missing:
        raise CheckpointError(str(spec), f"{CONFIG_NAME} describes no model (no {', '.join(sorted(missing))})")
    return config


def _create(spec: ModelSpec, source: WeightsSource, precision: str) -> Any:
    before = sys.exception()
    try:
        return open_clip.create_model(
            source.name,
            source.pretrained,
            precision=precision,
            device="cpu",
            require_pretrained=True,
            weights_only=True,
        )
    except pickle.UnpicklingError as error:
        # torch's text, a page long, ends in advice to switch the protection off.
        detail = "the file is damaged, or a pickle of more than plain tensors, which is never opened"
        raise CheckpointError(str(spec), detail) from error
    except Exception as error:
        # Damaged files raise nearly anything from within torch, safetensors, timm and open_clip, down to assertions.
        raise _unloadable(spec, error, before) from error


def _tokenizer(spec: ModelSpec, source: WeightsSource) -> Any:
    before = sys.exception()
    try:
        return open_clip.get_tokenizer(source.name)
    except ImportError as error:
        raise PackageMissing(str(spec), error.name or "sentencepiece") from error
    except (OSError, ValueError) as error:  # from transformers: the hub, missing files and damaged files alike
        raise _unloadable(spec, error, before, "its tokenizer: ") from error


def _unloadable(spec: ModelSpec, error: Exception, before: BaseException | None, what: str = "") -> ModelError:
    # A text tower or tokenizer of transformers has its configuration fetched from the hub, by its own name.
    if any(
        isinstance(link, HfHubHTTPError | LocalEntryNotFoundError | OfflineModeIsEnabled)
        for link in hub.chain(error, before)
    ):
        return ModelUnavailable(str(spec), what + hub.why(error, before))
    if isinstance(error, OSError):
        what += "it cannot be read or is cut short: "
    return CheckpointError(str(spec), what + hub.one_line(error))


# --- what a model is --------------------------------------------------------------------------------------------------

# Of a model's configuration, what does not change its vectors: initial values that the weights replace, dropout, what
# belongs to the tokenizer (it has its own entry), and CoCa's caption decoder.
_WITHOUT_EFFECT = {
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
    "multimodal_cfg",
    "output_tokens",
    "patch_dropout",
    "timm_model_pretrained",
    "timm_drop",
    "timm_drop_path",
    "hf_model_pretrained",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
    "tokenizer_mode",
}


def _architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    towers = {
        "vision_cfg": _beyond_defaults(config["vision_cfg"], asdict(open_clip.CLIPVisionCfg())),
        "text_cfg": _beyond_defaults(config["text_cfg"], asdict(open_clip.CLIPTextCfg())),
    }
    return _beyond_defaults({**config, **towers}, {"quick_gelu": False, "custom_text": False})


def _beyond_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what differs from open_clip's defaults.

    So a default that is spelt out, and a field that a newer open_clip adds, change no fingerprint.
    """
    plain, plain_defaults = json.loads(json.dumps([config, defaults]))  # tuples and lists alike
    return {
        key: value
        for key, value in plain.items()
        if key not in _WITHOUT_EFFECT and (key not in plain_defaults or value != plain_defaults[key])
    }


def _tokenizer_identity(tokenizer: Any, text_config: Mapping[str, Any]) -> dict[str, Any]:
    simple = isinstance(tokenizer, open_clip.SimpleTokenizer)
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": sha256_of(tokenizer.encoder if simple else tokenizer.tokenizer.get_vocab()),
        "context_length": int(tokenizer.context_length),
        "mode": text_config.get("tokenizer_mode"),
        "options": text_config.get("tokenizer_kwargs", {}),
    }
