"""open_clip's models: an `Encoder` over open_clip.

Importing it costs seconds, nearly all of them torch's and open_clip's own, so callers import it inside the function
that is about to encode something.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import logging
import os
import pickle
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained_from_hf
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import TextTransformer

from zsindex.errors import (
    CheckpointError,
    ModelError,
    ModelUnavailable,
    PackageMissing,
    PromptTooLong,
    UnknownModel,
)
from zsindex.models import hub, names, nano
from zsindex.models.familiarity import Familiarity
from zsindex.models.fingerprint import fingerprint, sha256_of
from zsindex.models.preprocess import RESAMPLING
from zsindex.models.tokenizer import text_of
from zsindex.models.torch_encoder import (
    PROMPTS_PER_IMAGE,
    TorchEncoder,
    batch_size_on,
    check_options,
    device_named,
    quiet,
    weights_sha256,
)
from zsindex.photos.scaling import fitted_if_thin
from zsindex.records import FloatArray, ModelInfo, ModelSpec

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

_CONFIG_NAME = "open_clip_config.json"
_FOLDER_CHECKPOINTS = (".safetensors", ".bin", ".pth")  # what open_clip looks for in a local-dir; .pt is not among them
_DEFAULT_WEIGHTS = [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]


def available_models() -> list[tuple[str, str]]:
    """Return the (architecture, pretrained tag) pairs that open_clip can download, in its order."""
    return [(str(architecture), str(tag)) for architecture, tag in open_clip.list_pretrained()]


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
            source = _resolve(ModelSpec(name))
            if source.repository and source.name.startswith("hf-hub:"):
                raise UnknownModel(name, why="what it is, is known after its download: zsindex models use")
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
    """
    check_options(spec, batch_size)
    source = _resolve(spec)  # not in silence: what it logs is meant for the user
    with quiet():
        target = device_named(device, spec)  # before anything is downloaded for it
        if source.repository:
            source = _download(spec, source)
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
        self._device = device
        self._input_dtype = open_clip.get_input_dtype(info.spec.precision) or torch.float32

    def preprocess(self, image: Image.Image) -> FloatArray:
        """Apply open_clip's own evaluation transform: resize, crop, convert to RGB, normalise; bit for bit.

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
            batch = torch.from_numpy(np.stack(pixels[start:stop]))
            features: torch.Tensor = self.model.encode_image(
                batch.to(device=self._device, dtype=self._input_dtype), normalize=False
            )
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
        """See `zsindex.models.encoder.OneAtATime`."""
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


class TextTower(torch.nn.Module):
    """`encode_text` on token rows that are cut to what the text tower needs.

    open_clip pads every prompt to the context length. Where attention is causal and the vector is read off at the end
    token, no later position reaches it, so the columns after a batch's last end token can go: the same vectors for a
    fraction of the work. open_clip's encode_text adds the whole positional embedding and the whole mask, so these must
    be cut too. `functional_call` runs open_clip's own code on cut views of the two and puts the originals back, also
    after an exception. A copy of encode_text in here would have to follow every change of open_clip's.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._cut: dict[str, torch.Tensor] = {}
        self.end_token: int | None = None
        # Exact types: a subclass, or CoCa with its class token at the end, may read what comes after the end token.
        if type(model) is open_clip.CLIP:
            tower, prefix, pool, end_token = model, "model.", model.text_pool_type, model.text_eos_id
        elif type(model) is open_clip.CustomTextCLIP and type(model.text) is TextTransformer:
            tower, prefix, pool, end_token = model.text, "model.text.", model.text.pool_type, model.text.eos_id
        else:
            return
        if tower.attn_mask is None or getattr(tower, "cls_emb", None) is not None or pool not in ("argmax", "eos"):
            return
        self._cut = {
            f"{prefix}positional_embedding": tower.positional_embedding,
            f"{prefix}attn_mask": tower.attn_mask,
        }
        self.end_token = end_token if pool == "eos" else None

    @property
    def can_be_cut(self) -> bool:
        """Whether columns after the end token may be left out."""
        return bool(self._cut)

    def needed_lengths(self, tokens: torch.Tensor) -> torch.Tensor:
        """Leading columns that each row's vector depends on, as int64 of shape (rows,); all where nothing may be cut.

        The end token is found as open_clip's text_global_pool finds it: the first place of the end token or, where the
        pooling is "argmax", of the highest token.
        """
        if not self._cut:
            return torch.full((len(tokens),), tokens.shape[1])
        marks = tokens if self.end_token is None else (tokens == self.end_token).int()
        return marks.argmax(dim=-1) + 1

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode rows cut to any length that is no less than their `needed_lengths`; features are not normalised."""
        n = tokens.shape[1]
        views = {name: whole[:n, :n] if name.endswith("attn_mask") else whole[:n] for name, whole in self._cut.items()}
        # The two are tied to nothing; looking for ties would walk the whole model, longer than a short prompt takes.
        features: torch.Tensor = torch.func.functional_call(self, views, (tokens,), tie_weights=False)
        return features

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """What `encode` calls with cut views in place of the originals."""
        features: torch.Tensor = self.model.encode_text(tokens, normalize=False)
        return features


# --- from a name to files ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A model in open_clip's terms.

    Attributes:
        name: an architecture, ``hf-hub:ORG/REPO`` or ``local-dir:FOLDER``.
        pretrained: a tag or a checkpoint file, for an architecture.
        repository: the hub repository that has to be in the local cache before open_clip is asked.
        files: what is needed of it; None stands for open_clip's default weights.
        revision: of the repository; None for its newest.
    """

    name: str
    pretrained: str | None = None
    repository: str | None = None
    files: tuple[str | None, ...] = ()
    revision: str | None = None


def _resolve(spec: ModelSpec) -> _Source:
    name = spec.name
    schema, _, rest = name.partition(":")
    architectures = set(open_clip.list_models())
    # Before a tag or a file stands an architecture, whatever else it reads like; also one that was added by a program.
    is_own = spec.pretrained is not None or _architecture_in(name, architectures) is not None
    repository = None if is_own and schema != "hf-hub" else names.repository_of(name)
    if name == "nano" or schema in ("local-dir", "hf-hub") or repository:
        if spec.pretrained is not None:
            # open_clip would drop it with a warning, and the user would take these weights for the ones asked for.
            raise UnknownModel(str(spec), why=f"{name} brings its own weights; leave {spec.pretrained!r} out")
        if not rest and name != "nano" and not (repository and repository[0]):
            raise UnknownModel(name, why="a folder or a repository has to follow the colon")
        if repository:
            named, revision = repository
            return _Source(f"hf-hub:{named}", repository=named, revision=revision, files=(_CONFIG_NAME, None))
        return _folder(spec, nano.FOLDER if name == "nano" else Path(rest).expanduser())

    if spec.pretrained is not None:
        architecture = name.replace("/", "-")  # ViT-B/32 is ViT-B-32 to open_clip
        if architecture in architectures:
            return _weights(spec, architecture, spec.pretrained)
        raise UnknownModel(str(spec), near=_near(name, sorted(architectures)), why=f"{name!r} is no architecture")
    if name.replace("/", "-") in architectures:
        pairs = _pairs(name.replace("/", "-"))
        why = "an architecture alone has no weights" + ("" if pairs else "; name a checkpoint with --pretrained FILE")
        raise UnknownModel(name, near=pairs, why=why)
    if (found := _architecture_in(name, architectures)) is not None:
        architecture, weights = found
        return _weights(spec, architecture, weights)

    path = Path(name).expanduser()
    if name and path.is_dir():
        return _folder(spec, path)
    if path.is_file():
        why = "a checkpoint does not say its architecture; name it too: --model ARCH --pretrained FILE"
        raise UnknownModel(name, why=why)
    if name.startswith(("/", "./", "../", "~")):
        raise UnknownModel(name, why="there is no such folder")
    known = ["nano", *sorted(architectures), *(f"{a}/{tag}" for a, tag in available_models())]
    raise UnknownModel(name, near=_near(name, known))


def _architecture_in(name: str, architectures: Collection[str]) -> tuple[str, str] | None:
    """The architecture that a name begins with, and the tag or file after it.

    An architecture may be written with a slash, and the path of a checkpoint has several: all are tried.
    """
    for slash in (position for position, letter in enumerate(name) if letter == "/"):
        if (architecture := name[:slash].replace("/", "-")) in architectures:
            return architecture, name[slash + 1 :]
    return None


def _weights(spec: ModelSpec, architecture: str, pretrained: str) -> _Source:
    config = open_clip.get_pretrained_cfg(architecture, pretrained)
    if config:
        repository, filename = os.path.split(config.get("hf_hub", ""))
        if config.get("quick_gelu", False) != open_clip.get_model_config(architecture).get("quick_gelu", False):
            # open_clip's own warning does not say what to do. The scores are what open_clip gives under this name.
            logger.warning(
                "%s was trained with another activation function than %s computes with; %s-quickgelu/%s may fit better",
                pretrained,
                architecture,
                architecture.removesuffix("-quickgelu"),
                pretrained,
            )
        return _Source(architecture, pretrained, repository or None, (filename or None,))
    path = Path(pretrained).expanduser()
    if path.is_file():
        return _Source(architecture, str(path))
    pairs = _pairs(architecture)
    near = _near(f"{architecture}/{pretrained}", pairs) or pairs
    why = f"{pretrained!r} is neither a file nor a pretrained tag of {architecture}"
    raise UnknownModel(str(spec), near=near, why=why)


def _folder(spec: ModelSpec, folder: Path) -> _Source:
    if not folder.is_dir():
        raise UnknownModel(str(spec), why=f"there is no folder {folder}")
    if not (folder / _CONFIG_NAME).is_file():
        raise UnknownModel(str(spec), why=f"{folder} has neither {_CONFIG_NAME} nor config.json")
    if not any(file.suffix in _FOLDER_CHECKPOINTS for file in folder.iterdir()):
        # open_clip would warn and go on with random weights.
        raise CheckpointError(str(spec), f"{folder} has no weights ({', '.join(_FOLDER_CHECKPOINTS)})")
    return _Source(f"local-dir:{folder}")


def _files(source: _Source) -> list[str]:
    """What a model that was just loaded consists of on this disk; empty where that cannot be told."""
    if source.name.startswith("local-dir:"):
        return sorted(str(file) for file in Path(source.name.removeprefix("local-dir:")).iterdir() if file.is_file())
    if source.repository is not None:
        wanted = [name for one in source.files for name in ([one] if one else _DEFAULT_WEIGHTS)]
        cached = [try_to_load_from_cache(source.repository, name) for name in wanted]
        return [os.path.realpath(file) for file in cached if isinstance(file, str)]
    if source.pretrained is not None and os.path.isfile(source.pretrained):
        return [source.pretrained]
    return []


def _pairs(architecture: str) -> list[str]:
    return [f"{architecture}/{tag}" for tag in open_clip.list_pretrained_tags_by_model(architecture)]


def _near(name: str, known: Sequence[str]) -> list[str]:
    by_folded = {candidate.casefold(): candidate for candidate in known}
    return [by_folded[folded] for folded in difflib.get_close_matches(name.casefold(), by_folded, n=3)]


def _download(spec: ModelSpec, source: _Source) -> _Source:
    """Bring a hub repository's files into the local cache, or say in seconds why that is impossible.

    Returns:
        The source; of a revision, which open_clip cannot name, the folder that its files are in.

    open_clip alone would take from 47 s to several minutes over an unreachable hub: it asks for two file names, and
    each time the client tries seven times, in the end with a timeout of a minute. So what is not in the cache is asked
    for once, without a second try, before open_clip is.
    """
    repository = str(source.repository)
    for filename in source.files:
        wanted, revision = [filename] if filename else _DEFAULT_WEIGHTS, source.revision
        try:
            if not any(isinstance(try_to_load_from_cache(repository, name, revision=revision), str) for name in wanted):
                url = hf_hub_url(repository, wanted[0], revision=revision)
                get_hf_file_metadata(url, timeout=hub.PROBE_TIMEOUT_S)
        except HFValidationError as error:
            raise hub.no_repository(spec, repository) from error
        except EntryNotFoundError:
            pass  # the repository is there; what is missing for good is found out below, under all of its names
        except Exception as error:  # which HTTP library it comes from depends on the version of the hub's client
            raise hub.unavailable(spec, error) from error
        try:
            download_pretrained_from_hf(repository, filename=filename, revision=revision)
        except FileNotFoundError as error:
            raise hub.unavailable(spec, error) from error
    if source.revision is None:
        return source
    return _Source(f"local-dir:{hub.snapshot_of(repository, _CONFIG_NAME, source.revision)}")


# --- from files to a model --------------------------------------------------------------------------------------------


def _load(spec: ModelSpec, source: _Source, device: torch.device, batch_size: int) -> OpenClipEncoder:
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
        files=_files(source),
    )


def _config(spec: ModelSpec, source: _Source) -> dict[str, Any]:
    try:
        config: dict[str, Any] = open_clip.get_model_config(source.name)
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - config.keys()
    except (OSError, ValueError, AttributeError) as error:  # unreadable, no JSON, or JSON of another shape
        raise CheckpointError(str(spec), f"{_CONFIG_NAME} describes no model ({hub.one_line(error)})") from error
    if missing:
        raise CheckpointError(str(spec), f"{_CONFIG_NAME} describes no model (no {', '.join(sorted(missing))})")
    return config


def _create(spec: ModelSpec, source: _Source, precision: str) -> Any:
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
        raise _unloadable(spec, error) from error


def _tokenizer(spec: ModelSpec, source: _Source) -> Any:
    try:
        return open_clip.get_tokenizer(source.name)
    except ImportError as error:
        raise PackageMissing(str(spec), error.name or "sentencepiece") from error
    except (OSError, ValueError) as error:  # from transformers: the hub, missing files and damaged files alike
        raise _unloadable(spec, error, "its tokenizer: ") from error


def _unloadable(spec: ModelSpec, error: Exception, what: str = "") -> ModelError:
    # A text tower or tokenizer of transformers has its configuration fetched from the hub, by its own name.
    if any(
        isinstance(link, HfHubHTTPError | LocalEntryNotFoundError | OfflineModeIsEnabled) for link in hub.chain(error)
    ):
        return ModelUnavailable(str(spec), what + hub.why(error))
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
