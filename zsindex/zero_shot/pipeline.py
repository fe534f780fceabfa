"""A drop-in for the transformers pipeline "zero-shot-image-classification", backed by the cache.

    from zsindex import pipeline

    detector = pipeline(model="openai/clip-vit-large-patch14", task="zero-shot-image-classification")
    detector("owl.jpg", candidate_labels=["fox", "bear", "seagull", "owl"])

Same arguments, same result, same order, same defaults; each image is encoded once, however often it is used.
docs/guide.md lists every argument, and where the two differ on purpose.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from numbers import Real
from pathlib import Path
from string import Formatter
from typing import Any, TypeAlias

from zsindex import config
from zsindex.arguments import bounds
from zsindex.arguments.several import several
from zsindex.classification import prompts, templates
from zsindex.classification import scores as classify_module
from zsindex.errors import BadTemplate, NoLabels
from zsindex.library import Library
from zsindex.models import names
from zsindex.records import Activation, FloatArray, IccMode, ModelInfo, TransparencyMode
from zsindex.zero_shot import inputs
from zsindex.zero_shot.inputs import Picture

TASK = "zero-shot-image-classification"
Answer: TypeAlias = "list[dict[str, Any]]"

# Arguments of the pipeline's tokenizer. Padding has no effect: prompts are padded as the model was trained.
TOKENIZER_KWARGS = ("padding", "truncation", "max_length")
# Options of `from_pretrained` that say how a model is loaded, not which answers it gives.
MODEL_KWARGS = ("attn_implementation", "cache_dir", "device_map", "low_cpu_mem_usage", "use_safetensors")
PRECISIONS = {
    **dict.fromkeys(("fp32", "float32", "float"), "fp32"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
    **dict.fromkeys(("fp16", "float16", "half"), "fp16"),
}


class AnswerStream(Iterator["Answer"]):
    """The answers for a generator or a data set, one per image, each computed on demand.

    Nothing is read ahead except the current batch. For a data set there is a `len`, and ``for`` starts over each time.
    """

    def __init__(self, classifier: ZeroShotImageClassifier, images: Any, question: _Question, batch_size: int) -> None:
        self._classifier, self._images = classifier, images
        self._question, self._batch_size = question, batch_size
        self._running: Iterator[Answer] | None = None

    def __iter__(self) -> AnswerStream:
        self._running = self._classifier._answers(inputs.each(self._images), self._question, self._batch_size)
        return self

    def __next__(self) -> Answer:
        if self._running is None:
            iter(self)
        assert self._running is not None
        return next(self._running)

    def __len__(self) -> int:
        return len(self._images)


class _Question:
    """Labels with the vectors of their prompts, and the timeout for URLs."""

    def __init__(self, labels: Sequence[Any], vectors: FloatArray, timeout: float | None) -> None:
        self.labels, self.vectors, self.timeout = labels, vectors, timeout


class ZeroShotImageClassifier:
    """Classifies images by labels given with each call. Made by `pipeline`.

    Attributes:
        library: where vectors are cached.
        task: the name of the task in transformers.
    """

    task = TASK

    def __init__(
        self, library: Library, *, batch_size: int | None = None, defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.library = library
        self._batch_size = batch_size
        self._defaults = dict(defaults or {})

    def __repr__(self) -> str:
        return f"<ZeroShotImageClassifier over {self.library!r}>"

    def __call__(
        self,
        image: Picture | Iterable[Picture] | None = None,
        candidate_labels: Sequence[str] | str | None = None,
        *,
        hypothesis_template: str | None = None,
        timeout: float | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
        images: Picture | Iterable[Picture] | None = None,
    ) -> Answer | list[Answer] | AnswerStream:
        """Score one image, or each of several, against labels.

        Args:
            image: a path, a PIL image, an http(s) URL, base64 text, a ``data:`` URI, an array (height, width, channels)
                or encoded bytes; a list or tuple of these; or a generator or data set of them.
            candidate_labels: names, or one string with commas between them.
            hypothesis_template: with ``{}`` where the label goes. Default: ``This is a photo of {}.``
            timeout: seconds within which a URL must be read; None waits forever.
            tokenizer_kwargs: ``truncation`` cuts prompts that are too long for the model, instead of refusing them;
                ``padding`` has no effect, and ``max_length`` must be the model's own.
            batch_size: images that are read, encoded and stored at a time. Default: 32; for a generator 1, so that an
                answer comes before the next image is awaited.
            num_workers: has no effect: a thread per processor core decodes.
            images: another name for `image`, as in transformers.

        Returns:
            ``[{"score": …, "label": …}, …]`` for every label, best first, ties in the order given. For a list or tuple
            of images, a list of such lists; for a generator or data set, an iterator over them. Scores are softmax
            probabilities, or sigmoid ones for models trained that way.

        Raises:
            NoLabels, BadTemplate, PromptTooLong, ImageError, FetchError
            TypeError: something is neither an image nor several, or a label is not text.
            ValueError: there is no image, or a number is out of bounds.
        """
        image = image if images is None else images
        if image is None:
            raise ValueError("give an image, or several")
        if batch_size is not None:
            batch_size = bounds.whole("batch_size", batch_size, least=1)
        if num_workers is not None:
            bounds.whole("num_workers", num_workers, least=0)
        question = self._ask(candidate_labels, hypothesis_template, timeout, tokenizer_kwargs)
        if inputs.is_one(image):
            return next(self._answers(iter([image]), question, 1))
        size = batch_size or self._batch_size
        if isinstance(image, (list, tuple)):
            return list(self._answers(iter(image), question, size or config.DEFAULT_BATCH_SIZE))
        return AnswerStream(
            self, image, question, size or (config.DEFAULT_BATCH_SIZE if hasattr(image, "__len__") else 1)
        )

    def _ask(
        self,
        candidate_labels: Any,
        template: str | None,
        timeout: float | None,
        tokenizer_kwargs: Mapping[str, Any] | None,
    ) -> _Question:
        labels = _labels(self._or_default("candidate_labels", candidate_labels))
        template = self._or_default("hypothesis_template", template)
        timeout = self._or_default("timeout", timeout)
        if timeout is not None:
            timeout = bounds.real("timeout", timeout, least=0)
        texts = [fill(templates.DEFAULT_TEMPLATE if template is None else template, label) for label in labels]
        truncate = truncates(self._or_default("tokenizer_kwargs", tokenizer_kwargs) or {}, self.library.model)
        return _Question(labels, self.library.embed_texts(texts, truncate=truncate), timeout)

    def _or_default(self, name: str, given: Any) -> Any:
        return self._defaults.get(name) if given is None else given

    def _answers(self, images: Iterator[Any], question: _Question, batch_size: int) -> Iterator[Answer]:
        info = self.library.model
        start = 0
        while batch := list(islice(images, batch_size)):
            read = [
                inputs.to_image(image, timeout=question.timeout, is_known=self.library.photos.knows) for image in batch
            ]
            logits = classify_module.logits(
                self.library.session.embed.batch(read, start),
                question.vectors,
                logit_scale=info.logit_scale,
                logit_bias=info.logit_bias,
            )
            for scores in classify_module.probabilities(logits, info.activation).tolist():
                yield [
                    {"score": score, "label": label}
                    for score, label in sorted(zip(scores, question.labels, strict=True), key=lambda pair: -pair[0])
                ]
            start += len(batch)


def _labels(given: Any) -> list[Any]:
    """Labels as given; numbers are accepted as labels, as in transformers."""
    if isinstance(given, str):
        labels: list[Any] = [label.strip() for label in given.split(",") if label.strip()]
    else:
        labels = [] if given is None else several(given)
    if not labels:
        raise NoLabels()
    for position, label in enumerate(labels, start=1):
        if not isinstance(label, (str, Real)):
            raise TypeError(f"label number {position} is not text but {type(label).__name__}")
    return labels


def fill(template: str, label: Any) -> str:
    """Put a label into all places of a template with `str.format`, as the pipeline does.

    Templates that `str.format` cannot read but label sets can (``{label}``, other braces) are filled as in label sets.

    Raises:
        BadTemplate: it has no place for the label.
    """
    if not isinstance(template, str):
        raise TypeError(f"hypothesis_template must be a string, not {type(template).__name__}")
    try:
        if any(place is not None for _, place, _, _ in Formatter().parse(template)):
            return template.format(*[label] * template.count("{"))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        if not templates.has_place(template):
            raise BadTemplate(template) from None
        return prompts.fill(template, str(label))
    raise BadTemplate(template)


def truncates(tokenizer_kwargs: Mapping[str, Any], model: ModelInfo) -> bool:
    """Whether to truncate prompts that are too long. The pipeline does so for SigLIP, and for no other model.

    Raises:
        TypeError: names what is not an option of the tokenizer.
        ValueError: the length is not the model's. Prompts are cached by their text, and would have other vectors at
            another length.
    """
    if not isinstance(tokenizer_kwargs, Mapping):
        raise TypeError(f"tokenizer_kwargs must be a dict, not {type(tokenizer_kwargs).__name__}")
    for name in tokenizer_kwargs:
        if name not in TOKENIZER_KWARGS:
            raise TypeError(f"tokenizer_kwargs has no {name!r} here; it has {', '.join(TOKENIZER_KWARGS)}")
    length = tokenizer_kwargs.get("max_length")
    if length not in (None, model.context_length):
        raise ValueError(
            f"max_length must be the model's own, {model.context_length}, not {length!r}: cached vectors of prompts "
            "are for that length"
        )
    how = tokenizer_kwargs.get("truncation", model.activation is Activation.SIGMOID)
    return how not in (None, False, "do_not_truncate")


# --- making one -------------------------------------------------------------------------------------------------------


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | None = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    image_processor: Any = None,
    video_processor: Any = None,
    processor: Any = None,
    revision: str | None = None,
    use_fast: bool = True,
    token: str | bool | None = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = "auto",
    trust_remote_code: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pipeline_class: Any = None,
    *,
    library: Library | str | os.PathLike[str] | None = None,
    torch_dtype: Any = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    candidate_labels: Sequence[str] | str | None = None,
    hypothesis_template: str | None = None,
    timeout: float | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
    framework: str | None = None,
    local_files_only: bool = False,
    code_revision: str | None = None,
    use_auth_token: str | bool | None = None,
    binary_output: bool = False,
    args_parser: Any = None,
) -> ZeroShotImageClassifier:
    """Make a classifier that is called like the transformers pipeline. docs/guide.md has all arguments in a table.

    The model is loaded now; if the library knows it already, only when something must be encoded.

    Args:
        task: ``zero-shot-image-classification``, which is the only one.
        model: as for `Library.open`. Default: the library's own; ``nano`` for a new one.
        library: where to cache: an open library, or the folder of one. Default: a temporary one that lives as long as
            the classifier.
        device: -1 for the CPU, 0 or None for the first accelerator or else the CPU, another number for that CUDA
            device; or the name of a device, or a torch device. `device_map` is another name for it.
        dtype: ``float32``, ``float16`` or ``bfloat16``, as torch dtypes or strings. Default: as for `Library.open`, not
            what a checkpoint was saved in. `torch_dtype`, and both in `model_kwargs`, are other names for it.
        token: for the model hub, instead of the environment's ``HF_TOKEN``. `use_auth_token` is its older name.
        revision: of a repository on a hub, as in ``ORG/NAME@REVISION``; a folder has only one.
        batch_size: images that are read, encoded and stored at a time.
        candidate_labels, hypothesis_template, timeout, tokenizer_kwargs: defaults for calls.
        config, tokenizer, feature_extractor, image_processor, processor: only the checkpoint's own, by its name.
        use_fast, video_processor, framework, num_workers, trust_remote_code, code_revision, binary_output, args_parser:
            without effect. Code that comes with a checkpoint is never run.
        local_files_only: refused; set ``HF_HUB_OFFLINE=1`` in the environment for the whole process.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
        ValueError, TypeError: an argument cannot be used here; names it.
    """
    if task not in (None, TASK):
        raise ValueError(f"the only task is {TASK!r}, not {task!r}")
    if pipeline_class not in (None, ZeroShotImageClassifier):
        raise ValueError("pipeline_class cannot be chosen")
    if batch_size is not None:
        batch_size = bounds.whole("batch_size", batch_size, least=1)
    if num_workers is not None:
        bounds.whole("num_workers", num_workers, least=0)
    options = dict(model_kwargs or {})
    place = device_name(
        device if device is not None else device_map if device_map is not None else options.get("device_map")
    )
    precision = precision_of(dtype, torch_dtype, options)
    name = model_name(model)
    own = {"config": config, "tokenizer": tokenizer, "feature_extractor": feature_extractor}
    for part, given in {**own, "image_processor": image_processor, "processor": processor}.items():
        _require_own(part, given, name)
    name = of_revision(name, revision, local_files_only)
    defaults = {
        "candidate_labels": candidate_labels,
        "hypothesis_template": hypothesis_template,
        "timeout": timeout,
        "tokenizer_kwargs": tokenizer_kwargs,
    }
    if isinstance(library, Library):
        require_bare(name, place, precision)
        return ZeroShotImageClassifier(library, batch_size=batch_size, defaults=defaults)
    secret = token if token is not None else use_auth_token
    opened, close = open_library(library, name, device=place, precision=precision, batch_size=batch_size, token=secret)
    classifier = ZeroShotImageClassifier(opened, batch_size=batch_size, defaults=defaults)
    weakref.finalize(classifier, close)
    return classifier


def require_bare(model: str | None, device: str, precision: str | None) -> None:
    """Refuse model options together with an open library, which has its own.

    Raises:
        ValueError
    """
    if model is not None or precision is not None or device != "auto":
        raise ValueError("an open library has its model, device and dtype; leave them out")


def open_library(
    library: str | os.PathLike[str] | None,
    model: str | None,
    *,
    device: str,
    precision: str | None,
    batch_size: int | None = None,
    token: str | bool | None = None,
) -> tuple[Library, Callable[[], None]]:
    """Open a library, or a temporary one, that knows its model; also returns a function that closes it and removes a
    temporary one.

    Raises:
        ModelError: immediately, not at the first question.
    """
    folder = None
    if library is None:
        folder = tempfile.TemporaryDirectory(prefix="zsindex-", dir=config.temporary_folder())
    where = config.library_place(library if folder is None else Path(folder.name, "library"))
    # A library created here sees photos as the pipeline does; existing ones keep their own settings.
    is_new = not Library.exists(where)
    opened = None
    try:
        opened = Library.open(
            where,
            model=model,
            precision=precision,
            device=device,
            batch_size=batch_size,
            icc=IccMode.IGNORE if is_new else None,
            transparency=TransparencyMode.REFERENCE if is_new else None,
            on_load=partial(_use_token, token),
        )
        _ = opened.model
    except BaseException:
        _discard(opened, folder)
        raise
    return opened, partial(_discard, opened, folder)


def _discard(library: Library | None, folder: tempfile.TemporaryDirectory[str] | None) -> None:
    if library is not None:
        library.close()
    if folder is not None:
        folder.cleanup()


def model_name(given: Any) -> str | None:
    """The name or folder of a model as a string.

    Raises:
        TypeError: it is a model itself, or something else.
    """
    if given is None or isinstance(given, (str, os.PathLike)):
        return None if given is None else os.fsdecode(given)
    raise TypeError(
        f"model must be a name or a folder, not {type(given).__name__}: save it with save_pretrained, together with "
        "its processor, and name the folder"
    )


def _require_own(part: str, given: Any, model: str | None) -> None:
    if given is not None and (not isinstance(given, str) or given != model):
        raise ValueError(
            f"{part}: a model must be used with its own, or its vectors would be those of another model. Save both "
            "with save_pretrained in one folder, and name that as the model"
        )


def of_revision(model: str | None, revision: str | None, local_files_only: bool) -> str | None:
    """The name of a revision of a model: ``ORG/NAME@REVISION``. A folder has only one, and is local.

    Raises:
        ValueError: the model has no revisions; or `local_files_only` was given for a model on a hub.
    """
    if model is not None and os.path.isdir(os.path.expanduser(model)):
        return model
    if local_files_only:
        raise ValueError("local_files_only: set HF_HUB_OFFLINE=1 in the environment before anything is imported")
    if revision in (None, "main"):
        return model
    found = None if model is None else names.repository_of(model.removeprefix("hf:"))
    if found is None or found[1] is not None:
        raise ValueError(f"revision {revision!r}: only repositories on a hub, ORG/NAME, have revisions")
    return f"{model}@{revision}"


def device_name(given: Any) -> str:
    """The device as `Library.open` takes it, from a number, a name or a torch device."""
    if given is None or given == "auto":
        return "auto"
    if isinstance(given, int) and not isinstance(given, bool):
        # 0 is the first accelerator, CUDA's or another, or the CPU if there is none, which is what auto means.
        return "cpu" if given < 0 else f"cuda:{given}" if given else "auto"
    if isinstance(given, str):
        return given
    if type(given).__module__ == "torch" and type(given).__name__ == "device":
        return str(given)
    raise TypeError(f"device must be a number, a name or a torch device, not {given!r}")


def precision_of(dtype: Any, torch_dtype: Any, model_kwargs: Mapping[str, Any]) -> str | None:
    """The precision as `Library.open` takes it; None leaves it to the library."""
    chosen = None if dtype == "auto" else dtype
    within = [model_kwargs[name] for name in ("dtype", "torch_dtype") if model_kwargs.get(name) is not None]
    if chosen is not None and within:
        raise ValueError("dtype is given both directly and in model_kwargs; leave one out")
    for name in model_kwargs:
        if name not in ("dtype", "torch_dtype", *MODEL_KWARGS):
            raise TypeError(f"model_kwargs has no {name!r} here; it has dtype, torch_dtype, {', '.join(MODEL_KWARGS)}")
    for other in (torch_dtype, *within):
        chosen = other if chosen is None else chosen
    if chosen in (None, "auto"):
        return None
    precision = PRECISIONS.get(str(chosen).removeprefix("torch."))
    if precision is None:
        raise ValueError(f"dtype must be float32, float16 or bfloat16, not {chosen!r}")
    return precision


def _use_token(token: str | bool | None, _: Any) -> None:
    """Called before a model is loaded. For a model on a hub, the hub's client reads the environment."""
    if isinstance(token, str):
        os.environ["HF_TOKEN"] = token
