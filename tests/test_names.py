"""Names of models as people have them, told apart without loading anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

from tests import tiny_models
from zsindex import Library
from zsindex.errors import ModelUnavailable, PackageMissing, UnknownModel
from zsindex.models import hub, loading, names, openclip, openclip_files
from zsindex.models.names import TWINS, in_one_spelling, repository_of
from zsindex.models.openclip import OpenClipEncoder
from zsindex.records import ModelSpec


@pytest.fixture
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "has_transformers", lambda: False)


@pytest.fixture
def with_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "has_transformers", lambda: True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no way to the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def snapshot(cache: Path, repository: str, *, revision: str = "main", commit: str = "0" * 40) -> Path:
    """A folder of the cache's layout for a repository's files."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text(commit, encoding="utf-8")
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True)
    return folder


# --- one spelling -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_transformers")
@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("hf:openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("hf-hub:ORG/NAME", "hf-hub:ORG/NAME"),
        ("hf:ORG/NAME@v1.0", "ORG/NAME@v1.0"),
        ("ViT-B-32/openai", "ViT-B-32/openai"),  # also reads like a repository
        ("ViT-B/32", "ViT-B/32"),
        ("ViT-B/32/openai", "ViT-B/32/openai"),
        ("ViT-B-32", "ViT-B-32"),
        ("nano", "nano"),
        ("local-dir:/a/b", "local-dir:/a/b"),
        ("~/models/clip", "~/models/clip"),
        ("hf:", "hf:"),
    ],
)
def test_a_name_has_one_spelling(name: str, spelling: str) -> None:
    assert in_one_spelling(name) == spelling
    assert in_one_spelling(spelling) == spelling


@pytest.mark.usefixtures("with_transformers")
def test_vectors_under_another_spelling_are_what_is_meant() -> None:
    for held in ("ORG/NAME", "hf-hub:ORG/NAME"):
        for name in ("ORG/NAME", "hf:ORG/NAME", "hf-hub:ORG/NAME"):
            assert in_one_spelling(name, held=["nano", held]) == held
    both = ["ORG/NAME", "hf-hub:ORG/NAME"]
    assert in_one_spelling("hf-hub:ORG/NAME", held=both) == "hf-hub:ORG/NAME"
    assert in_one_spelling("hf:ORG/NAME", held=both) == "ORG/NAME"
    assert in_one_spelling("ORG/NAME@v2", held=both) == "ORG/NAME@v2"


def test_repositories_are_found_in_names() -> None:
    assert repository_of("hf-hub:ORG/NAME") == repository_of("ORG/NAME") == ("ORG/NAME", None)
    assert repository_of("ORG/NAME@v1") == repository_of("hf-hub:ORG/NAME@v1") == ("ORG/NAME", "v1")
    for name in ("nano", "ViT-B-32/openai", "local-dir:ORG/NAME", "/ORG/NAME", "ORG/NAME/more"):
        assert repository_of(name) is None


def test_architectures_are_known_without_open_clip() -> None:
    assert names.architectures() == set(open_clip.list_models())


# --- the same weights in open_clip's format ---------------------------------------------------------------------------


def test_every_twin_is_one_of_open_clips() -> None:
    offered = set(openclip_files.available_models())
    for repository, pair in TWINS.items():
        architecture, tag = pair.split("/")
        assert (architecture, tag) in offered, pair
        config = open_clip.get_pretrained_cfg(architecture, tag)
        if repository.startswith(("laion/", "apple/")):
            assert config["hf_hub"] == f"{repository}/"
        # A table with the wrong activation function would give other scores, and say nothing.
        quick = open_clip.get_model_config(architecture).get("quick_gelu", False)
        assert bool(config.get("quick_gelu", False)) == bool(quick), pair
    assert len(set(TWINS.values())) == len(TWINS)


@pytest.mark.usefixtures("without_transformers", "cache")
@pytest.mark.parametrize(
    "name",
    ["openai/clip-vit-large-patch14", "google/siglip-base-patch16-224", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"],
)
def test_a_well_known_name_is_answered_by_its_twin(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zsindex.models.names")
    for spelling in (name, f"hf:{name}", f"hf-hub:{name}"):
        with Library.open(tmp_path / "library", model=spelling) as library:
            assert library.spec.name == TWINS[name]
    assert TWINS[name] in caplog.text
    assert "pip install 'zsindex[transformers]'" in caplog.text
    with pytest.raises(ModelUnavailable) as caught:
        loading.load(ModelSpec(name))
    ways_out = ("--model nano", "local-dir:FOLDER", "pip install 'zsindex[transformers]'")
    for part in (name, TWINS[name], "could not be downloaded", *ways_out):
        assert part in str(caught.value)


@pytest.mark.usefixtures("with_transformers")
def test_with_the_extra_a_well_known_name_is_its_own(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", model="openai/clip-vit-large-patch14") as library:
        assert library.spec.name == "openai/clip-vit-large-patch14"


# --- what lies in a repository ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "hf:", "hf-hub:"])
@pytest.mark.parametrize("extra", [True, False])
def test_a_repository_of_open_clip_is_loaded_from_the_cache(
    scheme: str, extra: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "has_transformers", lambda: extra)
    monkeypatch.setenv("ZSINDEX_CACHE", "off")
    folder = tiny_models.save(snapshot(cache, "org/repo"))
    # timm writes a configuration of its own beside open_clip's, which is none of transformers.
    (folder / "config.json").write_text('{"architecture": "vit"}', encoding="utf-8")
    encoder = loading.load(ModelSpec(f"{scheme}org/repo"), device="cpu")
    assert isinstance(encoder, OpenClipEncoder)
    assert encoder.info.fingerprint == openclip.load(ModelSpec(str(folder)), device="cpu").info.fingerprint


def test_a_revision_of_open_clips(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSINDEX_CACHE", "off")
    first = tiny_models.save(snapshot(cache, "org/repo", revision="v1", commit="1" * 40), seed=1)
    tiny_models.save(snapshot(cache, "org/repo", revision="v2", commit="2" * 40), seed=2)
    one = loading.load(ModelSpec("org/repo@v1"), device="cpu")
    assert one.info.fingerprint == openclip.load(ModelSpec(str(first)), device="cpu").info.fingerprint
    assert str(one.info.spec) == "org/repo@v1"
    assert loading.load(ModelSpec("hf-hub:org/repo@v2"), device="cpu").info.fingerprint != one.info.fingerprint
    with pytest.raises(ModelUnavailable):
        loading.load(ModelSpec("org/repo@v3"), device="cpu")


@pytest.mark.usefixtures("with_transformers")
def test_what_is_not_in_the_cache_is_told_with_the_ways_out(cache: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        loading.load(ModelSpec("org/repo"))
    message = str(caught.value)
    for part in ("'org/repo'", "offline mode is on", "--model nano", "local-dir:FOLDER", str(cache)):
        assert part in message
    assert "pip install" not in message


@pytest.mark.usefixtures("without_transformers")
def test_what_neither_way_can_serve_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailable, match=r"pip install 'zsindex\[transformers\]'"):
        loading.load(ModelSpec("BAAI/AltCLIP"))
    monkeypatch.setattr(hub, "offers", lambda spec, repository, revision, filename: filename == "config.json")
    with pytest.raises(PackageMissing, match=r"pip install 'zsindex\[transformers\]'"):
        loading.load(ModelSpec("BAAI/AltCLIP"))
    folder = snapshot(cache, "org/repo")
    (folder / "config.json").write_text('{"model_type": "altclip"}', encoding="utf-8")
    (folder / "model.safetensors").touch()
    with pytest.raises(PackageMissing, match=r"pip install 'zsindex\[transformers\]'"):
        loading.load(ModelSpec("org/repo"))


@pytest.mark.usefixtures("with_transformers", "cache")
def test_a_repository_that_holds_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "offers", lambda *_: False)
    with pytest.raises(UnknownModel, match="neither a checkpoint of transformers nor one of open_clip"):
        loading.load(ModelSpec("org/repo"))


@pytest.mark.usefixtures("with_transformers", "cache")
def test_a_misspelt_name_of_open_clip_is_no_repository() -> None:
    with pytest.raises(UnknownModel) as caught:
        loading.load(ModelSpec("ViT-B-23/openai"))
    assert "ViT-B-32/openai" in caught.value.near


@pytest.mark.usefixtures("with_transformers", "cache")
@pytest.mark.parametrize("name", ["./nothing", "../nothing", "~/nothing-here", "/nothing/here"])
def test_a_folder_that_is_not_there_is_no_repository(name: str) -> None:
    assert repository_of(name) is None
    with pytest.raises(UnknownModel, match="no such folder"):
        loading.load(ModelSpec(name))


@pytest.mark.parametrize("ask", [loading.describe, lambda name: loading.load(ModelSpec(name))])
def test_a_repository_has_to_follow_the_colon(ask: Callable[[str], object]) -> None:
    with pytest.raises(UnknownModel, match="has to follow the colon"):
        ask("hf-hub:")


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownModel, match="the model name is empty"):
        Library.open(tmp_path / "library", model=name)
    assert not (tmp_path / "library").exists()


@pytest.mark.usefixtures("with_transformers", "cache")
def test_a_hub_is_asked_once_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def missing(url: str, **_: object) -> None:
        asked.append(url.rpartition("/")[2])
        raise EntryNotFoundError("404")

    monkeypatch.setattr(hub, "get_hf_file_metadata", missing)
    with pytest.raises(UnknownModel):
        loading.load(ModelSpec("org/repo"))
    assert asked == ["config.json", "open_clip_config.json"]
    asked.clear()
    with pytest.raises(UnknownModel):
        loading.load(ModelSpec("hf-hub:org/repo"))
    assert asked == ["open_clip_config.json", "config.json"]
    assert "offline" in hub.why(OfflineModeIsEnabled("x"), None)
