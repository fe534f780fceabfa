"""Loading, naming and identifying real models, and the encoder over them. Everything runs without a network."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from PIL import Image
from safetensors.torch import load_file, save_file

from tests import tiny_models
from zsindex.errors import (
    CheckpointError,
    DeviceError,
    DeviceFull,
    ModelError,
    ModelUnavailable,
    PackageMissing,
    PromptTooLong,
    UnknownModel,
)
from zsindex.models import loading, nano, openclip, openclip_files
from zsindex.models.openclip import OpenClipEncoder, load
from zsindex.models.openclip_files import available_models
from zsindex.models.text_tower import TextTower
from zsindex.records import Activation, DecodeMode, FloatArray, ModelSpec

ARCHITECTURE = "tiny-16"
TEXTS = (
    "a dog",
    "",
    "a photo of a red fire engine in front of a small house",
    "柴犬の写真",
    "a cat.",
    "!!! wow !!!",
    "CAFÉ &amp; naïve 🙂",
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small lose more to the handing out of work than they gain, many times over on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> OpenClipEncoder:
    return load(ModelSpec(str(folder)), device="cpu")


@pytest.fixture(scope="module")
def embedded() -> OpenClipEncoder:
    return load(ModelSpec("nano"), device="cpu")


@pytest.fixture
def builtin(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An architecture that open_clip knows by name, with one pretrained tag; returns its checkpoint."""
    checkpoint = folder / "open_clip_model.safetensors"
    (tmp_path / f"{ARCHITECTURE}.json").write_text(json.dumps(tiny_models.CLIP), encoding="utf-8")
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {**open_clip.factory._MODEL_CONFIGS})
    open_clip.add_model_config(tmp_path)
    tags = {"some_tag": {**tiny_models.PREPROCESS, "file": str(checkpoint)}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, ARCHITECTURE, tags)
    return checkpoint


def some_images(count: int = 5, size: tuple[int, int] = (61, 47)) -> list[Image.Image]:
    noise = np.random.default_rng(7).integers(0, 256, (count, size[1], size[0], 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def reference(encoder_folder: Path | str) -> tuple[Any, Any, Any]:
    """open_clip by hand: model, evaluation transform, tokenizer."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{encoder_folder}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{encoder_folder}")


def padded_texts(folder: Path, texts: tuple[str, ...]) -> FloatArray:
    model, _, tokenizer = reference(folder)
    with torch.inference_mode():
        result: FloatArray = model.encode_text(tokenizer(list(texts)), normalize=True).numpy()
    return result


# --- names ------------------------------------------------------------------------------------------------------------


def test_nano_is_in_the_package(embedded: OpenClipEncoder) -> None:
    info = embedded.info
    assert (info.dim, info.context_length, info.image_size) == (512, 32, (256, 256))
    assert info.logit_scale == pytest.approx(25)
    assert info.logit_bias is None
    assert info.activation is Activation.SOFTMAX
    assert len(info.fingerprint) == len(info.weights_sha256) == 64


@pytest.mark.parametrize("form", ["local-dir:{}", "{}"])
def test_a_folder_by_schema_or_by_path(form: str, folder: Path, tiny: OpenClipEncoder) -> None:
    assert load(ModelSpec(form.format(folder))).info.fingerprint == tiny.info.fingerprint


def test_a_folder_relative_and_in_the_home(
    folder: Path, tiny: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    for name in (folder.name, f"local-dir:./{folder.name}", f"local-dir:~/{folder.name}"):
        assert load(ModelSpec(name)).info.fingerprint == tiny.info.fingerprint


@pytest.mark.parametrize(
    ("name", "pretrained"),
    [
        (f"{ARCHITECTURE}/some_tag", None),
        (f"{ARCHITECTURE}/Some-Tag", None),
        ("tiny/16/some_tag", None),
        (ARCHITECTURE, "some_tag"),
        ("tiny/16", "some_tag"),
    ],
)
def test_an_architecture_with_a_tag(builtin: Path, tiny: OpenClipEncoder, name: str, pretrained: str | None) -> None:
    # Same weights, same preprocessing, other name: the same vectors, so the same fingerprint.
    assert load(ModelSpec(name, pretrained)).info.fingerprint == tiny.info.fingerprint


def test_an_architecture_with_a_checkpoint_file(builtin: Path, tiny: OpenClipEncoder) -> None:
    spec = ModelSpec(ARCHITECTURE, str(builtin))
    info = load(spec).info
    assert info.weights_sha256 == tiny.info.weights_sha256
    assert info.fingerprint != tiny.info.fingerprint  # a bare file comes with open_clip's default preprocessing
    assert load(ModelSpec(str(spec))).info.fingerprint == info.fingerprint


def test_a_hub_model_from_the_local_cache(
    folder: Path, tiny: OpenClipEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--org--repo"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40, encoding="ascii")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("a" * 40)).symlink_to(folder, target_is_directory=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load(ModelSpec("hf-hub:org/repo")).info.fingerprint == tiny.info.fingerprint


def test_a_hub_model_cached_under_the_older_name(
    folder: Path, tiny: OpenClipEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--org--repo" / "snapshots" / ("a" * 40)
    tiny_models.write_config(snapshot, tiny_models.CLIP)
    torch.save(load_file(folder / "open_clip_model.safetensors"), snapshot / "open_clip_pytorch_model.bin")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40, encoding="ascii")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load(ModelSpec("hf-hub:org/repo")).info.fingerprint == tiny.info.fingerprint


def test_available_models_are_those_of_open_clip() -> None:
    models = available_models()
    assert ("ViT-B-32", "laion2b_s34b_b79k") in models
    assert {architecture for architecture, _ in models} <= set(open_clip.list_models())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("nanno", "nano"),
        ("ViT-B-32/laion2b_s34b_b79", "ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-B-32x", "ViT-B-32"),
        ("ViT-B-32", "ViT-B-32/laion400m_e32"),
        ("ViT-B/32", "ViT-B-32/openai"),
        ("ViT-B-32/nonsense", "ViT-B-32/openai"),
    ],
)
def test_an_unknown_name_offers_near_ones(name: str, near: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        load(ModelSpec(name))
    assert near in caught.value.near
    assert near in str(caught.value)


def test_a_misspelt_name_is_not_looked_for_in_a_hub() -> None:
    with pytest.raises(UnknownModel) as caught:
        loading.load(ModelSpec("vit-b-32/laion2b_s34b_b79k"))
    assert "ViT-B-32/laion2b_s34b_b79k" in caught.value.near


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec("ViT-B-32", "no-such-tag"), "neither a file nor a pretrained tag of ViT-B-32"),
        (ModelSpec("ViT-B-23", "openai"), "Did you mean ViT-B-32"),
        (ModelSpec("coca_base"), "--pretrained FILE"),
        (ModelSpec("ViT-B-32/openai", "openai"), "is not an architecture"),
        (ModelSpec("nano", "openai"), "leave 'openai' out"),
        (ModelSpec("local-dir:/no/such/folder"), "there is no folder"),
        (ModelSpec("hf-hub:not a repository"), "ORG/NAME"),
        (ModelSpec("hf-hub:"), "has to follow the colon"),
        (ModelSpec("local-dir:"), "has to follow the colon"),
        (ModelSpec(""), "no model has that name"),
    ],
)
def test_a_name_that_says_too_little_or_too_much(spec: ModelSpec, message: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        load(spec)
    assert message in str(caught.value)


def test_a_checkpoint_alone_does_not_say_its_architecture(folder: Path) -> None:
    with pytest.raises(UnknownModel, match="--model ARCH --pretrained FILE"):
        load(ModelSpec(str(folder / "open_clip_model.safetensors")))


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"neither open_clip_config\.json nor config\.json"):
        load(ModelSpec(f"local-dir:{tmp_path}"))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, fp16, not 'int8'"):
        load(ModelSpec("nano", precision="int8"))
    with pytest.raises(ValueError, match="batch_size"):
        load(ModelSpec("nano"), batch_size=0)


@pytest.mark.parametrize("device", ["cuda:99", "quantum", "meta", "cpu:x"])
def test_a_missing_device(device: str) -> None:
    with pytest.raises(DeviceError) as caught:
        load(ModelSpec("nano"), device=device)
    assert "cpu" in caught.value.available


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.write_config(tmp_path, tiny_models.config(text_cfg={"hf_tokenizer_name": "some/tokenizer"}))
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setattr(openclip.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PackageMissing, match="pip install transformers"):
        load(ModelSpec(str(tmp_path)))


# --- damaged checkpoints ----------------------------------------------------------------------------------------------


def no_weights(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()


def truncated(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flipped_header(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)


def empty(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(b"")


def other_shapes(folder: Path) -> None:
    tiny_models.write_config(folder, tiny_models.config(embed_dim=48))


def lacking_a_tower(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "visual" not in name}, path)


def not_a_number(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    state = load_file(path)
    state["visual.proj"][3, 3] = float("nan")
    save_file(state, path)


def pickled_code(folder: Path) -> None:
    no_weights(folder)
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "run": os.system}, folder / "open_clip_model.bin")


def truncated_pickle(folder: Path) -> None:
    no_weights(folder)
    path = folder / "open_clip_model.bin"
    torch.save(tiny_models.random_weights(folder), path)
    path.write_bytes(path.read_bytes()[:5000])


def garbage_pickle(folder: Path) -> None:
    no_weights(folder)
    (folder / "open_clip_model.bin").write_bytes(bytes(range(256)) * 10)


def not_a_dictionary(folder: Path) -> None:
    no_weights(folder)
    torch.save(torch.zeros(3), folder / "open_clip_model.bin")


def broken_configuration(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text('{"model_cfg": {', encoding="utf-8")


def other_configuration(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text("[]", encoding="utf-8")


def half_a_configuration(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 32}}', encoding="utf-8")


def unknown_field(folder: Path) -> None:
    tiny_models.write_config(folder, tiny_models.config(text_cfg={"from_the_future": 1}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_weights, "has no weights"),
        (truncated, "incomplete metadata|file not fully covered|IncompleteBuffer"),
        (flipped_header, "header"),
        (empty, "header"),
        (other_shapes, r"size mismatch for .* \(and \d+ more\)"),
        (lacking_a_tower, "Missing key"),
        (not_a_number, "visual.proj holds values that are not finite numbers"),
        (pickled_code, "pickle of more than plain tensors"),
        (truncated_pickle, "cut short|failed finding central directory"),
        (garbage_pickle, "damaged"),
        (not_a_dictionary, "."),
        (broken_configuration, "describes no model"),
        (other_configuration, "describes no model"),
        (half_a_configuration, "no text_cfg, vision_cfg"),
        (unknown_field, "from_the_future"),
    ],
)
def test_a_damaged_checkpoint(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = tiny_models.save(tmp_path / "model")
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(ModelSpec(str(folder)))
    assert "\n" not in str(caught.value)
    assert len(caught.value.detail) < 300


# --- hubs -------------------------------------------------------------------------------------------------------------


def http_error(kind: type[HfHubHTTPError], status: int = 404) -> HfHubHTTPError:
    return kind("from a server", response=SimpleNamespace(headers={}, request=None, status_code=status))  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", [ModelSpec("hf-hub:org/repo"), ModelSpec("ViT-B-32/laion2b_s34b_b79k")])
@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (OfflineModeIsEnabled("no"), "offline mode is on"),
        (http_error(RepositoryNotFoundError, 401), "no such repository, or it is private"),
        (http_error(GatedRepoError, 403), "gated"),
        (http_error(HfHubHTTPError, 503), "status 503"),
        (ConnectionError("[Errno -2] Name or service not known"), "cannot be reached"),
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_an_unreachable_hub_is_asked_once(
    spec: ModelSpec, error: Exception, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(url: str, *, timeout: float) -> None:
        asked.append(url)
        assert timeout <= 10
        raise error

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(openclip_files, "get_hf_file_metadata", refuse)
    with pytest.raises(ModelUnavailable) as caught:
        load(spec)
    assert detail in caught.value.detail
    assert "nano" in str(caught.value)
    assert len(asked) == 1


@pytest.mark.parametrize("spec", [ModelSpec("hf-hub:org/repo"), ModelSpec("ViT-B-32/laion2b_s34b_b79k")])
def test_what_failed_before_is_not_the_reason(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    errors = iter([http_error(GatedRepoError, 403), TimeoutError("timed out")])

    def refuse(url: str, *, timeout: float) -> None:
        raise next(errors)

    monkeypatch.setattr(openclip_files, "get_hf_file_metadata", refuse)
    try:
        load(ModelSpec("hf-hub:org/first"))
    except ModelUnavailable:
        with pytest.raises(ModelUnavailable) as caught:
            load(spec)
    assert caught.value.detail == "the hub cannot be reached: timed out"


@pytest.mark.parametrize("spec", [ModelSpec("hf-hub:org/repo"), ModelSpec("ViT-B-32", "openai")])
def test_offline_mode(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="offline mode is on, and they are not in the local cache"):
        load(spec)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (http_error(RemoteEntryNotFoundError), "has no open_clip model"),
        (ConnectionError("peer closed the connection"), "peer closed the connection"),
    ],
)
def test_a_download_that_fails(error: Exception, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**kwargs: Any) -> None:
        raise error

    def missing(url: str, *, timeout: float) -> None:
        raise EntryNotFoundError("the probe asks for one of several possible names")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(openclip_files, "get_hf_file_metadata", missing)
    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", fail)
    with pytest.raises(ModelUnavailable, match=detail):
        load(ModelSpec("hf-hub:org/repo"))


def test_what_failed_before_a_checkpoint_is_damaged_is_not_the_reason(folder: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    weights = damaged / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    try:
        raise OfflineModeIsEnabled("no")
    except OfflineModeIsEnabled:
        with pytest.raises(CheckpointError):
            load(ModelSpec(str(damaged)))


# --- silence ----------------------------------------------------------------------------------------------------------


def test_loading_is_silent_and_leaves_logging_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    load(ModelSpec(str(folder)))
    assert root.handlers == before
    assert capfd.readouterr() == ("", "")


def test_another_activation_function_is_a_message_and_no_crash(
    builtin: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tags = {"openai": {"file": str(builtin), "quick_gelu": True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, ARCHITECTURE, tags)
    with caplog.at_level(logging.WARNING, logger="zsindex.models.openclip_files"):
        load(ModelSpec(ARCHITECTURE, "openai"))
    assert f"{ARCHITECTURE}-quickgelu/openai may fit better" in caplog.text


# --- fingerprints -----------------------------------------------------------------------------------------------------


def fingerprint(path: Path, **changes: Any) -> str:
    return load(ModelSpec(str(path), **changes)).info.fingerprint


def test_a_fingerprint_is_the_same_in_another_process(folder: Path, tiny: OpenClipEncoder) -> None:
    code = (
        "import sys; from zsindex.models.openclip import load; from zsindex.records import ModelSpec; "
        "print(load(ModelSpec(sys.argv[1])).info.fingerprint)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert run.stdout == tiny.info.fingerprint + "\n"


def test_a_fingerprint_knows_the_weights_and_not_the_file(folder: Path, tiny: OpenClipEncoder, tmp_path: Path) -> None:
    state = load_file(folder / "open_clip_model.safetensors")
    wrapped = {"state_dict": {f"module.{name}": tensor for name, tensor in reversed(state.items())}, "epoch": 3}
    torch.save(wrapped, tiny_models.write_config(tmp_path / "pickle", tiny_models.CLIP) / "epoch_3.pth")
    assert fingerprint(tmp_path / "pickle") == tiny.info.fingerprint

    half = {name: tensor.half() for name, tensor in state.items()}
    save_file(half, tiny_models.write_config(tmp_path / "half", tiny_models.CLIP) / "model.safetensors")
    rounded = {name: tensor.float() for name, tensor in half.items()}
    save_file(rounded, tiny_models.write_config(tmp_path / "rounded", tiny_models.CLIP) / "model.safetensors")
    assert fingerprint(tmp_path / "half") == fingerprint(tmp_path / "rounded") != tiny.info.fingerprint


def test_a_fingerprint_changes_with_one_weight(folder: Path, tiny: OpenClipEncoder, tmp_path: Path) -> None:
    state = load_file(folder / "open_clip_model.safetensors")
    state["ln_final.bias"][5] += 1e-3
    save_file(state, tiny_models.write_config(tmp_path, tiny_models.CLIP) / "model.safetensors")
    assert fingerprint(tmp_path) != tiny.info.fingerprint


def test_a_fingerprint_changes_with_what_changes_vectors(folder: Path, tiny: OpenClipEncoder, tmp_path: Path) -> None:
    weights = folder / "open_clip_model.safetensors"

    def other(name: str, model_cfg: dict[str, Any], **preprocess: Any) -> str:
        path = tiny_models.write_config(tmp_path / name, model_cfg, {**tiny_models.PREPROCESS, **preprocess})
        (path / weights.name).symlink_to(weights)
        return fingerprint(path)

    prints = [
        tiny.info.fingerprint,
        fingerprint(folder, decode=DecodeMode.FAST),
        fingerprint(folder, precision="bf16"),
        fingerprint(folder, precision="fp16"),
        other("mean", tiny_models.CLIP, mean=[0.5, 0.5, 0.5]),
        other("resize", tiny_models.CLIP, resize_mode="squash"),
        other("interpolation", tiny_models.CLIP, interpolation="bilinear"),
        other("activation", tiny_models.config(quick_gelu=True)),
        other("heads", tiny_models.config(text_cfg={"heads": 4})),
        other("cleaning", tiny_models.config(text_cfg={"tokenizer_kwargs": {"clean": "canonicalize"}})),
    ]
    assert len(set(prints)) == len(prints)


def test_a_fingerprint_ignores_what_changes_no_vector(folder: Path, tiny: OpenClipEncoder, tmp_path: Path) -> None:
    spelt_out = tiny_models.config(
        vision_cfg={"patch_dropout": 0.5, "mlp_ratio": 4.0, "head_width": 64}, init_logit_scale=1.0, quick_gelu=False
    )
    path = tiny_models.write_config(tmp_path, spelt_out, {**tiny_models.PREPROCESS, "resize_mode": "shortest"})
    (path / "model.safetensors").symlink_to(folder / "open_clip_model.safetensors")
    assert fingerprint(path) == tiny.info.fingerprint


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_float32_is_float32_on_a_gpu() -> None:
    """Torch's default, TF32 in convolutions, moves these vectors by 8e-4."""
    on_cpu, on_gpu = (load(ModelSpec("nano"), device=device) for device in ("cpu", "cuda"))
    pixels = [on_cpu.preprocess(image) for image in some_images()]
    np.testing.assert_allclose(on_gpu.encode_images(pixels), on_cpu.encode_images(pixels), rtol=0, atol=1e-5)
    assert torch.backends.cudnn.allow_tf32  # as the program has it


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_fingerprint_does_not_depend_on_the_device(folder: Path, tiny: OpenClipEncoder) -> None:
    assert load(ModelSpec(str(folder)), device="cuda").info.fingerprint == tiny.info.fingerprint


def test_weights_hash_does_not_depend_on_precision(folder: Path, tiny: OpenClipEncoder) -> None:
    info = load(ModelSpec(str(folder), precision="bf16")).info
    assert info.weights_sha256 == tiny.info.weights_sha256
    assert info.logit_scale == tiny.info.logit_scale


# --- images -----------------------------------------------------------------------------------------------------------


def test_preprocess_is_open_clips_own_for_every_mode(folder: Path, tiny: OpenClipEncoder) -> None:
    _, transform, _ = reference(folder)
    image = some_images(1, (123, 45))[0]
    for mode in ("RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "YCbCr", "I;16"):
        converted = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
        pixels = tiny.preprocess(converted)
        assert pixels.dtype == np.float32
        assert pixels.shape == (3, *tiny.info.image_size)
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, transform(converted).numpy(), err_msg=mode)


def test_preprocess_from_several_threads(tiny: OpenClipEncoder) -> None:
    images = some_images(40)
    barrier = threading.Barrier(4)

    def work(_: int) -> list[FloatArray]:
        barrier.wait()
        return [tiny.preprocess(image) for image in images]

    expected = [tiny.preprocess(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(work, range(4)):
            np.testing.assert_array_equal(result, expected)


def test_image_vectors_equal_open_clips(folder: Path, tiny: OpenClipEncoder) -> None:
    model, transform, _ = reference(folder)
    images = some_images()
    with torch.inference_mode():
        batch = torch.stack([transform(image) for image in images])
        expected = model.encode_image(batch, normalize=True).numpy()
    vectors = tiny.encode_images([tiny.preprocess(image) for image in images])
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_image_vectors_do_not_depend_on_the_batch(embedded: OpenClipEncoder) -> None:
    pixels = [embedded.preprocess(image) for image in some_images(11)]
    together = embedded.encode_images(pixels)
    alone = np.concatenate([embedded.encode_images([one]) for one in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_out_of_memory_halves_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load(ModelSpec(str(folder)), batch_size=64)
    pixels = [encoder.preprocess(image) for image in some_images(11)]
    expected = encoder.encode_images(pixels)
    whole = encoder.model.encode_image
    sizes: list[int] = []

    def limited(batch: torch.Tensor, *, normalize: bool) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("too much")
        return whole(batch, normalize=normalize)

    monkeypatch.setattr(encoder.model, "encode_image", limited)
    np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-6)
    assert sizes == [11, 5, 2, 2, 2, 2, 2, 1]
    assert encoder.batch_size == 2

    monkeypatch.setattr(encoder.model, "encode_image", lambda *_, **__: torch.empty(2**62))
    with pytest.raises(RuntimeError):  # whatever else goes wrong is not hidden
        encoder.encode_images(pixels)


def test_out_of_memory_with_one_image_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load(ModelSpec(str(folder)))

    def never(*_: Any, **__: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(encoder.model, "encode_image", never)
    with pytest.raises(DeviceFull, match=encoder.device):
        encoder.encode_images([encoder.preprocess(image) for image in some_images(3)])


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.9995), ("fp16", 0.99999)])
def test_low_precision_stays_near(folder: Path, tiny: OpenClipEncoder, precision: str, least: float) -> None:
    low = load(ModelSpec(str(folder), precision=precision), device="cpu")
    pixels = [tiny.preprocess(image) for image in some_images()]
    for vectors, exact in (
        (low.encode_images(pixels), tiny.encode_images(pixels)),
        (low.encode_texts(TEXTS), tiny.encode_texts(TEXTS)),
    ):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert (vectors * exact).sum(axis=1).min() > least
        assert not np.array_equal(vectors, exact)


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CLIP", "SIGMOID", "CUSTOM_TEXT", "EOS_POOLED"])
def test_trimmed_prompts_give_the_padded_vectors(name: str, tmp_path: Path) -> None:
    folder = tiny_models.save(tmp_path, getattr(tiny_models, name))
    encoder = load(ModelSpec(str(folder)))
    widths = watch_widths(encoder)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), padded_texts(folder, TEXTS), atol=1e-6)
    assert max(widths) == max(encoder.count_tokens(text) for text in TEXTS) < encoder.info.context_length
    encoder.encode_texts(["a dog"])
    assert widths[-1] == 4


@pytest.mark.parametrize("name", ["BIDIRECTIONAL", "CAUSAL_LAST", "COCA"])
def test_prompts_are_not_trimmed_where_padding_matters(name: str, tmp_path: Path) -> None:
    folder = tiny_models.save(tmp_path, getattr(tiny_models, name))
    encoder = load(ModelSpec(str(folder)))
    widths = watch_widths(encoder)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), padded_texts(folder, TEXTS), atol=1e-6)
    assert set(widths) == {encoder.info.context_length}


def watch_widths(encoder: OpenClipEncoder) -> list[int]:
    widths: list[int] = []
    encoder.text_tower.register_forward_pre_hook(lambda _, arguments: widths.append(arguments[0].shape[1]))
    return widths


def test_trimming_a_vit_b_32() -> None:
    """The native text tower with its own width, heads, depth and context of 77; the image tower is left small."""
    config = open_clip.get_model_config("ViT-B-32")
    model = open_clip.CLIP(**{**config, "vision_cfg": tiny_models.CLIP["vision_cfg"]}).eval()
    tower = TextTower(model)
    tokens = open_clip.get_tokenizer("ViT-B-32")(list(TEXTS))
    lengths = tower.needed_lengths(tokens)
    assert tokens.shape[1] == 77
    assert lengths.tolist()[:2] == [4, 2]
    with torch.inference_mode():
        expected = model.encode_text(tokens, normalize=True)
        trimmed = torch.nn.functional.normalize(tower.encode(tokens[:, : lengths.max()]), dim=-1)
    np.testing.assert_allclose(trimmed.numpy(), expected.numpy(), atol=1e-6)


def test_trimming_nano(embedded: OpenClipEncoder) -> None:
    np.testing.assert_allclose(embedded.encode_texts(TEXTS), padded_texts(nano.FOLDER, TEXTS), atol=1e-6)


def test_encoding_leaves_the_model_as_it_was(tiny: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model
    before = (model.positional_embedding, model.attn_mask)
    tiny.encode_texts(["a dog"])

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(model, "encode_text", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        tiny.encode_texts(["a dog"])
    assert model.positional_embedding is before[0]
    assert model.attn_mask is before[1]


def test_text_vectors_do_not_depend_on_the_batch(embedded: OpenClipEncoder) -> None:
    texts = [f"{text} {number}" for number in range(3) for text in TEXTS]
    together = embedded.encode_texts(texts)
    alone = np.concatenate([embedded.encode_texts([text]) for text in texts])
    backwards = embedded.encode_texts(texts[::-1])[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together, backwards, atol=1e-6)
    assert together.flags.c_contiguous


def test_no_texts(tiny: OpenClipEncoder) -> None:
    assert tiny.encode_texts([]).shape == (0, tiny.info.dim)


def test_labels_in_japanese(embedded: OpenClipEncoder) -> None:
    labels = ["柴犬", "三毛猫", "消防車", "がぎぐげご"]
    vectors = embedded.encode_texts(labels)
    np.testing.assert_allclose(vectors, padded_texts(nano.FOLDER, tuple(labels)), atol=1e-6)
    assert len(np.unique(vectors, axis=0)) == len(labels)
    assert embedded.count_tokens("柴犬") > 3  # bytes, not one unknown token


def test_count_tokens_is_the_tokenizers_own(tiny: OpenClipEncoder) -> None:
    tokenizer = open_clip.SimpleTokenizer(context_length=200)
    for text in (*TEXTS, "word " * 60, "ﬁne &lt;b&gt; “quotes”"):
        assert tiny.count_tokens(text) == int((tokenizer([text]) != 0).sum())


def test_a_prompt_that_is_too_long(tiny: OpenClipEncoder, folder: Path) -> None:
    fits, long = "dog " * 22, "dog " * 23
    assert tiny.count_tokens(fits) == tiny.info.context_length == 24
    tiny.encode_texts([fits])
    with pytest.raises(PromptTooLong) as caught:
        tiny.encode_texts(["a cat", long])
    assert (caught.value.prompt, caught.value.tokens, caught.value.context_length) == (long, 25, 24)
    np.testing.assert_allclose(tiny.encode_texts([long], truncate=True), padded_texts(folder, (long,)), atol=1e-6)


def test_a_sigmoid_model_has_its_bias(tmp_path: Path) -> None:
    folder = tiny_models.save(tmp_path, tiny_models.SIGMOID)
    info = load(ModelSpec(str(folder))).info
    model, _, _ = reference(folder)
    assert info.logit_bias == float(model.logit_bias)
    assert info.logit_scale == float(model.logit_scale.exp())
    assert info.activation is Activation.SIGMOID


def test_every_model_error_is_expected() -> None:
    for error in (CheckpointError, DeviceError, ModelUnavailable, PackageMissing, PromptTooLong, UnknownModel):
        assert issubclass(error, ModelError)
