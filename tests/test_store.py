"""The store: what is kept of photos, models and prompts, how changes are counted, and what is forgotten."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.fakes import DIM
from tests.libraries import (
    add_images,
    add_model,
    add_photos,
    digest_of,
    fake_info,
    new_library,
    open_store,
    storage_of,
    unit_vectors,
)
from tests.libraries import photo as seen
from zsindex.errors import LibraryReadOnly
from zsindex.records import Candidate, DecodeMode, ModelSpec, SkippedFile, SkipReason
from zsindex.storage.photos import Store
from zsindex.storage.rows import FileOutcome, ImageRecord, KnownFile, ModelRow, SnapshotRow, is_under, listing_text, now
from zsindex.storage.sqlite import fast_reads
from zsindex.storage.sqlite.database import FILE_NAME
from zsindex.storage.tables import embeddings, files, prompts

VECTOR = unit_vectors(1)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_library(tmp_path / "library")


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with open_store(folder) as opened:
        yield opened


@pytest.fixture
def model(store: Store) -> ModelRow:
    return add_model(store)


def skipped(path: str, reason: SkipReason = SkipReason.TRUNCATED, detail: str = "cut") -> FileOutcome:
    folder, _, name = path.rpartition("/")
    return FileOutcome(Candidate(folder or "/", name, 1, 1), skip_reason=reason, skip_detail=detail)


def save(store: Store, model: ModelRow, *paths: str) -> None:
    store.save([seen(path, vector=VECTOR) for path in paths], model.id)


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_comes_back_as_it_was_recorded(store: Store) -> None:
    spec = ModelSpec("ViT-B-32", "/weights.pt", precision="bf16", decode=DecodeMode.FAST)
    info = replace(fake_info(), spec=spec, logit_scale=100.00000762939453, logit_bias=-12.5, image_size=(224, 256))
    row = store.add_model(info, make_default=False)
    assert row.info == info
    assert store.models() == [row]
    assert store.find_model(spec) == row


def test_a_known_fingerprint_is_recorded_once(store: Store) -> None:
    assert add_model(store) == add_model(store)
    assert len(store.models()) == 1


def test_the_first_model_is_the_default_until_another_is_chosen(store: Store) -> None:
    assert store.default_model() is None
    first, second = add_model(store, "a"), add_model(store, "b")
    assert store.default_model() == first
    third = store.add_model(fake_info("c"), make_default=True)
    assert store.default_model() == third
    assert store.add_model(fake_info("b"), make_default=True) == second
    assert store.default_model() == second
    assert store.add_model(fake_info("a"), make_default=True) == first
    assert store.default_model() == first


@pytest.mark.parametrize(
    "other",
    [{"name": "x"}, {"pretrained": "tag"}, {"precision": "fp16"}, {"decode": DecodeMode.FAST}],
    ids=lambda other: next(iter(other)),
)
def test_a_model_is_found_by_all_of_its_spec(store: Store, other: dict[str, str]) -> None:
    row = add_model(store)
    assert store.find_model(row.info.spec) == row
    assert store.find_model(replace(row.info.spec, **other)) is None  # type: ignore[arg-type]


def test_of_two_models_with_the_same_spec_the_newest_is_found(store: Store) -> None:
    add_model(store)
    newer = store.add_model(replace(fake_info(), fingerprint="f" * 64), make_default=False)
    assert store.find_model(newer.info.spec) == newer


def test_an_unknown_model_has_nothing(store: Store) -> None:
    """A read-only library asks with a model that it cannot record."""
    unknown = ModelRow(-1, fake_info(), "")
    assert store.generation(unknown.id) == -1
    assert store.snapshot(unknown.id) is None
    last, ids, vectors = store.embeddings_after(unknown, 0)
    assert (last, len(ids), vectors.shape) == (0, 0, (0, DIM))


# --- roots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "kept"),
    [
        (["/b", "/a"], ["/a", "/b"]),
        (["/a", "/a"], ["/a"]),
        (["/a", "/a/b/c"], ["/a"]),
        (["/a/b/c", "/a/d", "/a"], ["/a"]),
        (["/a", "/ab", "/a b"], ["/a", "/a b", "/ab"]),
        (["/ab/x", "/a"], ["/a", "/ab/x"]),
        (["/a/x", "/b", "/"], ["/"]),
        (["/", "/a"], ["/"]),
        (["/%", "/x", "/_"], ["/%", "/_", "/x"]),
        (["/A", "/a/b"], ["/A", "/a/b"]),
    ],
    ids=str,
)
def test_a_folder_inside_of_a_root_is_part_of_it(store: Store, added: list[str], kept: list[str]) -> None:
    store.add_roots(added)
    assert store.roots() == kept


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a", "/", True),
        ("/", "/", True),
        ("/A/b", "/a", False),
    ],
)
def test_is_under(path: str, folder: str, expected: bool) -> None:
    assert is_under(path, folder) is expected


# --- counting what a sync stores --------------------------------------------------------------------------------------


def test_new_photos_are_added(store: Store, model: ModelRow) -> None:
    counts = store.save([seen("/a/1", vector=VECTOR), seen("/b/2", vector=VECTOR)], model.id)
    assert counts == {"added": 2}
    assert store.files().paths == ["/a/1", "/b/2"]


def test_a_copy_is_added_and_shares_the_image(store: Store, model: ModelRow) -> None:
    counts = store.save([seen("/1", "x", VECTOR), seen("/2", "x")], model.id)
    counts += store.save([seen("/3", "x")], model.id)
    assert counts == {"added": 3}
    assert store.files().image_ids.tolist() == [1, 1, 1]
    assert store.model_sizes(model)["images"] == 1


def test_the_vector_of_a_copy_counts_wherever_in_the_batch_it_comes(store: Store, model: ModelRow) -> None:
    store.save([seen("/1", "x"), seen("/2", "x", VECTOR), seen("/3", "x")], model.id)
    assert store.model_sizes(model)["images"] == 1


def test_the_same_bytes_under_a_new_time_are_unchanged(store: Store, model: ModelRow) -> None:
    save(store, model, "/1")
    assert store.save([seen("/1", mtime_ns=2)], model.id) == {"unchanged": 1}
    assert store.known_files("/", model.id)["1"].mtime_ns == 2


def test_other_bytes_are_a_change(store: Store, model: ModelRow) -> None:
    save(store, model, "/1")
    assert store.save([seen("/1", "new", VECTOR, size=2)], model.id) == {"changed": 1}
    assert store.files().image_ids.tolist() == [2]


def test_a_vanished_photo_that_turns_up_elsewhere_has_moved(store: Store, model: ModelRow) -> None:
    save(store, model, "/old")
    since = now()
    store.mark_missing("/", ["old"])
    assert store.save([seen("/new", "/old")], model.id, since=since) == {"moved": 1, "refound": 1}
    assert store.files().paths == ["/new"]
    assert store.counts()["missing"] == 0


def test_a_photo_that_had_vanished_long_ago_is_no_loss_of_this_sync(store: Store, model: ModelRow) -> None:
    save(store, model, "/old")
    store.mark_missing("/", ["old"])
    assert store.save([seen("/new", "/old")], model.id, since=now()) == {"moved": 1, "refound": 0}


def test_each_vanished_copy_moves_once(store: Store, model: ModelRow) -> None:
    store.save([seen("/1", "x", VECTOR), seen("/2", "x")], model.id)
    store.mark_missing("/")
    counts = store.save([seen(f"/new/{i}", "x") for i in range(3)], model.id, since="0")
    assert counts == {"moved": 2, "refound": 2, "added": 1}
    assert store.counts()["missing"] == 0


def test_a_copy_beside_the_original_is_no_move(store: Store, model: ModelRow) -> None:
    save(store, model, "/1")
    assert store.save([seen("/2", "/1")], model.id) == {"added": 1}


def test_a_photo_that_comes_back_is_added_and_takes_no_other_vanished_one_with_it(
    store: Store, model: ModelRow
) -> None:
    store.save([seen("/1", "x", VECTOR), seen("/2", "x")], model.id)
    store.mark_missing("/")
    assert store.save([seen("/1", "x")], model.id) == {"added": 1}
    assert store.counts()["missing"] == 1


def test_photos_that_swap_their_names_have_changed(store: Store, model: ModelRow) -> None:
    save(store, model, "/1", "/2")
    assert store.save([seen("/1", "/2"), seen("/2", "/1")], model.id) == {"changed": 2}
    assert store.files().image_ids.tolist() == [2, 1]


def test_what_cannot_be_read_is_skipped_and_replaces_what_was_there(store: Store, model: ModelRow) -> None:
    save(store, model, "/1")
    assert store.save([skipped("/1"), skipped("/2", SkipReason.EMPTY, "")], model.id) == {"skipped": 2}
    assert len(store.files()) == 0
    assert store.skipped() == [
        SkippedFile("/1", SkipReason.TRUNCATED, "cut"),
        SkippedFile("/2", SkipReason.EMPTY, ""),
    ]
    assert store.skip_counts() == {"empty": 1, "truncated": 1}
    assert store.model_sizes(model)["images"] == 1  # until it is pruned


def test_what_could_not_be_read_and_now_can_has_changed(store: Store, model: ModelRow) -> None:
    store.save([skipped("/1")], None)
    assert store.save([seen("/1", vector=VECTOR)], model.id) == {"changed": 1}
    assert store.skipped() == []
    known = store.known_files("/", model.id)["1"]
    assert (known.skip_reason, known.skip_detail) == (None, None)


def test_a_vector_that_is_there_is_not_replaced(store: Store, model: ModelRow) -> None:
    first, second = unit_vectors(2)
    store.save([seen("/1", "x", first)], model.id)
    store.save([seen("/2", "x", second)], model.id)
    store.save_images([ImageRecord(digest_of("x"), vector=second)], model.id)
    assert np.array_equal(store.image_vectors([digest_of("x")], model)[digest_of("x")], first)


def test_a_second_model_adds_its_own_vector_to_the_same_image(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    first, second = unit_vectors(2)
    store.save([seen("/1", "x", first)], model.id)
    assert store.save([seen("/1", "x", second)], other.id) == {"unchanged": 1}
    digest = digest_of("x")
    assert np.array_equal(store.image_vectors([digest], model)[digest], first)
    assert np.array_equal(store.image_vectors([digest], other)[digest], second)


def test_vectors_come_back_bit_by_bit(store: Store, model: ModelRow) -> None:
    vectors = unit_vectors(50)
    add_photos(store, model, vectors)
    last, ids, found = store.embeddings_after(model, 0)
    assert (last, ids.tolist()) == (50, list(range(1, 51)))
    assert found.tobytes() == vectors.tobytes()
    with store.read() as connection:
        blob = connection.execute(sa.select(embeddings.c.vector).limit(1)).scalar_one()
    assert blob == vectors[0].astype("<f4").tobytes()


def test_embeddings_after_a_sequence_number(store: Store, model: ModelRow) -> None:
    add_photos(store, model, unit_vectors(5))
    last, ids, vectors = store.embeddings_after(model, 3)
    assert (last, ids.tolist(), vectors.shape) == (5, [4, 5], (2, DIM))
    last, ids, _ = store.embeddings_after(model, 5)
    assert (last, ids.tolist()) == (5, [])


def test_nothing_is_stored_of_an_empty_batch(store: Store, model: ModelRow) -> None:
    assert store.save([], model.id) == {}


def test_digests_of_many_paths_are_those_of_each(store: Store, model: ModelRow) -> None:
    known = ["/a/1.png", "/a/2.png", "/b/1.png", "/top.png", "/a/gone.png"]
    store.save([seen(path) for path in known], model.id)
    store.save([skipped("/a/broken.png")], model.id)
    store.mark_missing("/a", ["gone.png"])
    asked = [*known, "/a/broken.png", "/a/3.png", "/c/1.png", "/a/\udcff.png", "/b/1.png"]
    each = {path: store.digest_of(path) for path in asked}
    assert store.digests_of(asked) == {path: digest for path, digest in each.items() if digest is not None}
    assert set(store.digests_of(asked)) == set(known)


def test_batches_larger_than_a_query_takes(store: Store, model: ModelRow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_reads, "IN_LIMIT", 7)
    paths = add_photos(store, model, unit_vectors(20))
    assert store.save([seen(path) for path in paths], model.id) == {"unchanged": 20}
    assert len(store.image_vectors([digest_of(path) for path in paths], model)) == 20
    assert store.digests_of(paths) == {path: digest_of(path) for path in paths}
    texts = [str(i) for i in range(20)]
    store.save_prompts(texts, unit_vectors(20), model.id, truncated=[False] * 20)
    assert set(store.prompt_vectors(texts, model, truncated=False)) == set(texts)
    assert store.mark_missing("/photos", [path.rpartition("/")[2] for path in paths]) == 20


def test_the_revision_grows_when_files_change(store: Store, model: ModelRow) -> None:
    revisions = [store.files_revision()]
    save(store, model, "/1")
    revisions.append(store.files_revision())
    store.mark_missing("/")
    revisions.append(store.files_revision())
    store.prune()
    revisions.append(store.files_revision())
    assert revisions == sorted(set(revisions))
    store.mark_missing("/")
    assert store.files_revision() == revisions[-1]


def test_a_read_only_store_refuses_to_write(folder: Path) -> None:
    with open_store(folder, read_only=True) as store, pytest.raises(LibraryReadOnly, match="cannot store photos"):
        store.save([seen("/1")], None)


# --- what is known of files -------------------------------------------------------------------------------------------


def test_known_files_of_a_folder(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    store.save(
        [seen("/a/1", "x", VECTOR, size=3, mtime_ns=2**62), seen("/a/2", "y", VECTOR), skipped("/a/3")], model.id
    )
    save(store, model, "/a/b/4", "/ab/5")
    store.mark_missing("/a", ["2"])
    known = store.known_files("/a", model.id)
    assert known == {
        "1": KnownFile(1, 3, 2**62, None, None, missing=False, has_vector=True),
        "2": KnownFile(2, 1, 1, None, None, missing=True, has_vector=True),
        "3": KnownFile(3, 1, 1, "truncated", "cut", missing=False, has_vector=False),
    }
    for model_id in (other.id, None):
        assert not any(file.has_vector for file in store.known_files("/a", model_id).values())
    assert store.known_files("/nowhere", model.id) == {}


def test_folders_with_files_that_are_there(store: Store, model: ModelRow) -> None:
    save(store, model, "/a/1", "/a/b/2", "/ab/3", "/a/gone/4")
    store.mark_missing("/a/gone")
    assert sorted(store.folders_under("/a")) == ["/a", "/a/b"]
    assert store.folders_under("/a/b") == ["/a/b"]
    assert sorted(store.folders_under("/")) == ["/a", "/a/b", "/ab"]
    assert store.folders_under("/a/b/2") == []


def test_which_images_have_a_vector(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    save(store, model, "/1", "/2")
    store.save([seen("/3")], model.id)  # no vector
    digests = [digest_of(path) for path in ("/1", "/2", "/3", "/4")]
    assert [store.has_vector(digest, model.id) for digest in digests] == [True, True, False, False]
    assert not any(store.has_vector(digest, other.id) for digest in digests)


def test_ids_of_images_stored_up_to_a_sequence_number(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    add_photos(store, model, unit_vectors(3))
    add_photos(store, other, unit_vectors(3))
    assert store.image_ids_of(model.id, through=2).tolist() == [1, 2]
    assert store.image_ids_of(other.id, through=5).tolist() == [1, 2]
    assert store.image_ids_of(model.id, through=100).tolist() == [1, 2, 3]


# --- missing ----------------------------------------------------------------------------------------------------------


def test_missing_files_are_counted_once(store: Store, model: ModelRow) -> None:
    save(store, model, "/a/1", "/a/2", "/a/b/3", "/ab/1")
    assert store.mark_missing("/a", ["1", "unknown"]) == 1
    assert store.mark_missing("/a", ["1"]) == 0
    assert store.mark_missing("/a") == 1
    assert store.mark_missing("/nowhere") == 0
    assert store.mark_missing("/a/b", []) == 0
    assert store.files().paths == ["/a/b/3", "/ab/1"]
    assert store.counts() == {"files": 2, "images": 2, "duplicates": 0, "incomplete": 0, "skipped": 0, "missing": 2}
    assert store.model_sizes(model)["images"] == 4


def test_missing_files_are_not_listed_as_skipped(store: Store) -> None:
    store.save([skipped("/1")], None)
    store.mark_missing("/")
    assert store.skipped() == []
    assert store.skip_counts() == {}
    assert store.counts()["missing"] == 1


# --- selecting files --------------------------------------------------------------------------------------------------

NFC, NFD = (unicodedata.normalize(form, "/café") for form in ("NFC", "NFD"))
PATHS = [
    "/top",
    "/a/1",
    "/a/2",
    "/a/1/deep",  # a folder of the same name as a file: before and after somebody reorganised
    "/a b/1",
    "/ab/1",
    "/A/1",
    "/a_/1",
    "/ax/1",
    "/%/1",
    "/a%/1",
    f"{NFC}/1",
    f"{NFD}/1",
    "/写真/1",
    "/📷/1",
    '/it\'s "quoted"; --/1',
    "/a\\b/1",
    "/new\nline/1",
    "/a/*/1",
    "/a/[1]/1",
]


@pytest.mark.parametrize(
    "prefix",
    ["/", "/a", "/A", "/ab", "/a_", "/%", "/a%", "/a/1", "/a/3", "/a/1/deep", NFC, NFD, "/写真", "/📷", "/caf", "/写",
     "/it's \"quoted\"; --", "/a\\b", "/new\nline", "/a/*", "/a/[1]", "/nowhere", "/top", "/to"],
    ids=ascii,
)  # fmt: skip
def test_a_prefix_selects_a_subtree_or_a_file_and_nothing_else(store: Store, model: ModelRow, prefix: str) -> None:
    save(store, model, *PATHS)
    below = prefix.rstrip("/") + "/"
    expected = {path for path in PATHS if path == prefix or path.startswith(below)}
    assert set(store.files([prefix]).paths) == expected


def test_several_prefixes_select_their_union_once(store: Store, model: ModelRow) -> None:
    save(store, model, *PATHS)
    assert set(store.files(["/a", "/a/1", "/a/1/deep", "/ab/1", "/a"]).paths) == {
        "/a/1", "/a/2", "/a/1/deep", "/a/*/1", "/a/[1]/1", "/ab/1"
    }  # fmt: skip
    assert store.files(["/a/1", "/a/1/deep"]).paths == ["/a/1", "/a/1/deep"]
    assert store.files(["/a/2", "/a/1"]).paths == ["/a/1", "/a/2", "/a/1/deep"]
    assert store.files([]).paths == []


def test_files_come_folder_by_folder(store: Store, model: ModelRow) -> None:
    save(store, model, *PATHS)
    by_folder = sorted(PATHS, key=lambda path: (path.rpartition("/")[0] or "/", path.rpartition("/")[2]))
    found = store.files()
    assert found.paths == by_folder
    assert store.files(["/"]).paths == by_folder
    ids = dict(zip(PATHS, range(1, len(PATHS) + 1), strict=True))
    assert found.image_ids.tolist() == [ids[path] for path in by_folder]
    assert len(found) == len(PATHS)


def test_what_is_skipped_is_selected_the_same_way(store: Store, model: ModelRow) -> None:
    store.save([skipped(path) for path in ("/a/1", "/a/2", "/ab/1", "/a/b/3")], None)
    save(store, model, "/a/fine")
    assert [s.path for s in store.skipped(["/a"])] == ["/a/1", "/a/2", "/a/b/3"]
    assert [s.path for s in store.skipped(["/a/2", "/ab/1"])] == ["/a/2", "/ab/1"]
    assert store.skipped(["/a/fine"]) == []
    assert store.files(["/a"]).paths == ["/a/fine"]


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_prompts_are_kept_per_model_and_exact_text(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    texts = ["owl", "Owl", "owl ", "café", unicodedata.normalize("NFD", "café"), "ow%"]
    vectors = unit_vectors(len(texts))
    store.save_prompts(texts, vectors, model.id, truncated=[False] * len(texts))
    found = store.prompt_vectors([*texts, "unknown"], model, truncated=False)
    assert set(found) == set(texts)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(found[text], vector)
    assert store.prompt_vectors(texts, other, truncated=False) == {}
    assert store.prompt_vectors([], model, truncated=False) == {}


def test_a_prompt_that_is_there_is_not_replaced(store: Store, model: ModelRow) -> None:
    first, second = unit_vectors(2)
    store.save_prompts(["owl"], first[None], model.id, truncated=[False])
    store.save_prompts(["fox", "owl"], np.stack([second, second]), model.id, truncated=[False, False])
    found = store.prompt_vectors(["owl", "fox"], model, truncated=False)
    assert np.array_equal(found["owl"], first)
    assert np.array_equal(found["fox"], second)


def test_a_cut_prompt_is_only_for_those_who_allow_it(store: Store, model: ModelRow) -> None:
    store.save_prompts(["long", "short"], unit_vectors(2), model.id, truncated=[True, False])
    assert set(store.prompt_vectors(["long", "short"], model, truncated=False)) == {"short"}
    assert set(store.prompt_vectors(["long", "short"], model, truncated=True)) == {"long", "short"}


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_replaces_the_one_before_of_its_model(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    first, second = (SnapshotRow(file, 1, 2, 3, "0" * 64) for file in ("first", "second"))
    assert store.save_snapshot(model.id, first) is None
    assert store.save_snapshot(other.id, first) is None
    assert store.save_snapshot(model.id, second) == first
    assert store.snapshot(model.id) == second
    assert store.snapshot(other.id) == first


# --- counting ---------------------------------------------------------------------------------------------------------


def test_counts(store: Store, model: ModelRow) -> None:
    assert set(store.counts().values()) == {0}
    store.save([seen("/1", "x", VECTOR), seen("/2", "x"), seen("/3", "y", VECTOR), skipped("/4")], model.id)
    add_images(store, model, unit_vectors(2))  # no files
    assert store.counts() == {"files": 3, "images": 2, "duplicates": 1, "incomplete": 0, "skipped": 1, "missing": 0}
    store.save_prompts(["owl"], unit_vectors(1), model.id, truncated=[False])
    assert store.model_sizes(model) == {"images": 4, "prompts": 1, "bytes": 5 * DIM * 4}


# --- forgetting -------------------------------------------------------------------------------------------------------


def rows(store: Store) -> dict[str, int]:
    """Every table with its number of rows."""
    with store.read() as connection:
        tables = [files, embeddings, prompts, *map(files.metadata.tables.get, ("images", "folders", "models"))]
        return {
            str(table): int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in tables
            if table is not None
        }


def test_nothing_is_pruned_where_nothing_is_missing(store: Store, model: ModelRow) -> None:
    save(store, model, "/1")
    store.save([skipped("/2")], None)
    store.save_prompts(["owl"], unit_vectors(1), model.id, truncated=[False])
    before = rows(store)
    assert set(store.prunable().values()) == {0}
    assert set(store.prune().values()) == {0}
    assert rows(store) == before
    assert store.generation(model.id) == 0


def test_pruning_forgets_what_no_file_shows(store: Store, model: ModelRow) -> None:
    store.save([seen("/a/1", "x", VECTOR), seen("/b/2", "x"), seen("/b/3", "y", VECTOR), skipped("/b/4")], model.id)
    add_images(store, model, unit_vectors(2))
    store.mark_missing("/b")
    expected = {"files": 3, "vectors": 3, "images": 3, "prompts": 0, "models": 0}
    assert store.prunable() == expected
    assert store.prune() == expected
    assert rows(store) == {"files": 1, "embeddings": 1, "prompts": 0, "images": 1, "folders": 1, "models": 1}
    assert store.files().paths == ["/a/1"]
    assert storage_of(store).problems() == []


def test_pruning_tells_the_index_of_models_that_lost_vectors(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    save(store, model, "/1", "/2")
    store.save([seen("/1", vector=VECTOR)], other.id)
    store.mark_missing("/", ["2"])
    store.prune()
    assert (store.generation(model.id), store.generation(other.id)) == (1, 0)


def test_an_image_whose_file_was_changed_is_pruned(store: Store, model: ModelRow) -> None:
    save(store, model, "/1")
    store.save([seen("/1", "new", VECTOR)], model.id)
    assert store.prune() == {"files": 0, "vectors": 1, "images": 1, "prompts": 0, "models": 0}
    assert store.files().image_ids.tolist() == [2]


def test_ids_are_never_given_again(store: Store, model: ModelRow) -> None:
    """Whoever still holds an old id must not take another image, or another model, for it."""
    save(store, model, "/1", "/2")
    newest = add_model(store, "newest")
    store.mark_missing("/")
    store.prune([newest.id])
    save(store, model, "/3")
    assert store.files().image_ids.tolist() == [3]
    assert add_model(store, "newer still").id == newest.id + 1
    assert store.embeddings_after(model, 2)[0] == 3


def test_a_model_is_pruned_with_all_that_is_its_own(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    add_photos(store, model, unit_vectors(3))
    add_photos(store, other, unit_vectors(3))
    for row in (model, other):
        store.save_prompts(["owl"], unit_vectors(1), row.id, truncated=[False])
        store.save_snapshot(row.id, SnapshotRow(row.info.fingerprint, 1, 3, 0, "0" * 64))
    expected = {"files": 0, "vectors": 3, "images": 0, "prompts": 1, "models": 1}
    assert store.prunable([other.id]) == expected
    assert store.prune([other.id]) == expected
    assert store.models() == [model]
    assert store.model_sizes(model) == {"images": 3, "prompts": 1, "bytes": 4 * DIM * 4}
    assert store.snapshot(other.id) is None
    assert store.snapshot(model.id) is not None
    assert store.generation(model.id) == 0
    assert len(store.files()) == 3
    assert storage_of(store).problems() == []


def test_a_file_that_comes_back_after_pruning_is_new(store: Store, model: ModelRow) -> None:
    save(store, model, "/1")
    store.mark_missing("/")
    store.prune()
    assert not store.has_vector(digest_of("/1"), model.id)
    assert store.save([seen("/1", vector=VECTOR)], model.id) == {"added": 1}


# --- checking ---------------------------------------------------------------------------------------------------------


def test_bad_vectors_are_found_and_only_they_are_removed(store: Store, model: ModelRow) -> None:
    other = add_model(store, "other")
    add_photos(store, model, unit_vectors(8))
    add_photos(store, other, unit_vectors(8))
    texts = [str(i) for i in range(4)]
    store.save_prompts(texts, unit_vectors(4), model.id, truncated=[False] * 4)
    assert store.bad_vectors(model) == {"embeddings": [], "prompts": []}

    good = unit_vectors(1)[0]
    bad = {1: b"", 2: b"\0" * 4 * DIM, 3: (good * 2).tobytes(), 4: np.full(DIM, np.nan, "<f4").tobytes(),
           5: np.full(DIM, np.inf, "<f4").tobytes(), 6: good.tobytes() + b"\0"}  # fmt: skip
    with store.write("damage") as connection:
        for seq, blob in bad.items():
            connection.execute(sa.update(embeddings).where(embeddings.c.seq == seq).values(vector=blob))
        connection.execute(sa.update(prompts).where(prompts.c.id == 2).values(vector=b"x"))
    found = store.bad_vectors(model)
    assert found == {"embeddings": [1, 2, 3, 4, 5, 6], "prompts": [2]}
    assert store.bad_vectors(other) == {"embeddings": [], "prompts": []}

    store.remove_vectors(model.id, found)
    assert store.bad_vectors(model) == {"embeddings": [], "prompts": []}
    assert store.model_sizes(model) == {"images": 2, "prompts": 3, "bytes": 5 * DIM * 4}
    assert (store.generation(model.id), store.generation(other.id)) == (1, 0)
    assert sum(not f.has_vector for f in store.known_files("/photos", model.id).values()) == 6


def test_dangling_references_are_found(store: Store, folder: Path, model: ModelRow) -> None:
    save(store, model, "/1")
    assert storage_of(store).problems() == []
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:  # does not enforce foreign keys
        connection.execute("DELETE FROM images")
    assert "row 1 of files refers to nothing in images" in storage_of(store).problems()


def test_files_come_by_name_whatever_the_order_of_the_database(
    store: Store, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, model, "/a/2", "/a/10", "/a/1", "/b/1")
    expected = store.files()
    assert expected.paths == ["/a/1", "/a/10", "/a/2", "/b/1"]
    assert expected.revision == store.files_revision() > 0
    ordered = fast_reads._by_folder

    def backwards(*arguments: Any) -> Any:
        folders, rows = ordered(*arguments)

        def turned(text: Any, separator: str) -> Any:
            return separator.join(text.split(separator)[::-1])

        return folders, [(folder, turned(names, "\0"), turned(ids, ",")) for folder, names, ids in rows[::-1]]

    monkeypatch.setattr(fast_reads, "_by_folder", backwards)
    found = store.files()
    assert found.paths == expected.paths
    np.testing.assert_array_equal(found.image_ids, expected.image_ids)


def test_a_file_that_came_back_is_not_taken_for_the_origin_of_its_copy(store: Store, model: ModelRow) -> None:
    there = seen("/a/z.png", "same", VECTOR)
    store.save([there], model.id)
    store.mark_missing("/a")
    assert store.save([seen("/a/copy of z.png", "same"), there], model.id) == {"added": 2}
    assert store.files().paths == ["/a/copy of z.png", "/a/z.png"]


def test_what_was_last_seen_equals_a_listing_where_nothing_is_to_be_done(store: Store, model: ModelRow) -> None:
    names = ["A.png", "a b.png", "a.png", "ä.png", "日.png"]
    outcomes = [seen(f"/a/{name}", vector=VECTOR, size=i, mtime_ns=i) for i, name in enumerate(names)]
    store.save([*reversed(outcomes), seen("/a/b/c.png", vector=VECTOR)], model.id)
    listing = listing_text(outcome.file for outcome in outcomes)
    found = store.last_seen(["/a", "/a/b", "/nowhere"], model.id)
    assert found == {"/a": listing, "/a/b": "c.png/1/1"}
    assert listing.count("/") == 3 * len(names) - 1
    assert store.every_image_has_vector(model.id)
    assert store.last_seen(["/a"], model.id, all_have_vectors=True) == {"/a": listing}


def test_what_was_last_seen_equals_nothing_where_a_look_at_the_stat_does_not_settle_it(
    store: Store, model: ModelRow
) -> None:
    other = add_model(store, "other")
    store.save([seen("/a/gone", vector=VECTOR)], model.id)
    store.mark_missing("/a")
    store.save([seen("/a/fine", vector=VECTOR), seen("/a/other model", vector=None)], model.id)
    store.save([FileOutcome(Candidate("/a", "skipped", 1, 1), skip_reason=SkipReason.EMPTY)], None)
    assert store.last_seen(["/a"], model.id)["/a"] == "fine/1/1/other model/1//skipped/1/"
    assert not store.every_image_has_vector(model.id)
    for model_id in (None, other.id):
        assert store.last_seen(["/a"], model_id)["/a"] == "fine/1//other model/1//skipped/1/"
    assert not store.every_image_has_vector(other.id)
    trusting = store.last_seen(["/a"], model.id, all_have_vectors=True)["/a"]
    assert trusting == "fine/1/1/other model/1/1/skipped/1/"
