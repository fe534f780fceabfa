"""Every storage: what is kept of photos, models and prompts, how changes are counted, and what is forgotten."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.fakes import DIM
from tests.libraries import add_images, add_model, add_photos, digest_of, fake_info, unit_vectors
from tests.libraries import photo as seen
from tests.storage.implementations import Implementation
from zsindex.arguments.paths import is_under
from zsindex.errors import LibraryDamaged, ModelPruned
from zsindex.records import (
    Candidate,
    DecodeMode,
    IncompletePhoto,
    ModelSpec,
    SkippedFile,
    SkipReason,
)
from zsindex.storage import uses
from zsindex.storage.claims import Claim
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import (
    FileDetails,
    FileOutcome,
    ImageRecord,
    KnownFile,
    ModelRow,
    SnapshotRow,
    listing_text,
    now,
)
from zsindex.storage.stored import VectorsDamaged

VECTOR = unit_vectors(1)[0]


def skipped(path: str, reason: SkipReason = SkipReason.TRUNCATED, detail: str = "cut") -> FileOutcome:
    folder, _, name = path.rpartition("/")
    return FileOutcome(Candidate(folder or "/", name, 1, 1), skip_reason=reason, skip_detail=detail)


def save(storage: Storage, model: ModelRow, *paths: str) -> None:
    storage.photos.save([seen(path, vector=VECTOR) for path in paths], model.id)


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_comes_back_as_it_was_recorded(storage: Storage) -> None:
    spec = ModelSpec("ViT-B-32", "/weights.pt", precision="bf16", decode=DecodeMode.FAST)
    info = replace(fake_info(), spec=spec, logit_scale=100.00000762939453, logit_bias=-12.5, image_size=(224, 256))
    row = storage.photos.add_model(info, make_default=False)
    assert row.info == info
    assert storage.reads.models() == [row]
    assert storage.reads.find_model(spec) == row


def test_a_known_fingerprint_is_recorded_once(storage: Storage) -> None:
    assert add_model(storage) == add_model(storage)
    assert len(storage.reads.models()) == 1


def test_the_first_model_is_the_default_until_another_is_chosen(storage: Storage) -> None:
    assert storage.reads.default_model() is None
    first, second = add_model(storage, "a"), add_model(storage, "b")
    assert storage.reads.default_model() == first
    third = storage.photos.add_model(fake_info("c"), make_default=True)
    assert storage.reads.default_model() == third
    assert storage.photos.add_model(fake_info("b"), make_default=True) == second
    assert storage.reads.default_model() == second
    assert storage.photos.add_model(fake_info("a"), make_default=True) == first
    assert storage.reads.default_model() == first


@pytest.mark.parametrize(
    "other",
    [{"name": "x"}, {"pretrained": "tag"}, {"precision": "fp16"}, {"decode": DecodeMode.FAST}],
    ids=lambda other: next(iter(other)),
)
def test_a_model_is_found_by_all_of_its_spec(storage: Storage, other: dict[str, str]) -> None:
    row = add_model(storage)
    assert storage.reads.find_model(row.info.spec) == row
    assert storage.reads.find_model(replace(row.info.spec, **other)) is None  # type: ignore[arg-type]


def test_of_two_models_with_the_same_spec_the_newest_is_found(storage: Storage) -> None:
    add_model(storage)
    newer = storage.photos.add_model(replace(fake_info(), fingerprint="f" * 64), make_default=False)
    assert storage.reads.find_model(newer.info.spec) == newer


def test_an_unknown_model_has_nothing(storage: Storage) -> None:
    """A read-only library asks with a model that it cannot record."""
    unknown = ModelRow(-1, fake_info(), "")
    assert storage.reads.generation(unknown.id) == -1
    assert storage.reads.snapshot(unknown.id) is None
    last, ids, vectors = storage.reads.embeddings_after(unknown, 0)
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
def test_a_folder_inside_of_a_root_is_part_of_it(storage: Storage, added: list[str], kept: list[str]) -> None:
    storage.photos.add_roots(added)
    assert storage.photos.roots() == kept


# --- counting what a sync stores --------------------------------------------------------------------------------------


def test_new_photos_are_added(storage: Storage, model: ModelRow) -> None:
    counts = storage.photos.save([seen("/a/1", vector=VECTOR), seen("/b/2", vector=VECTOR)], model.id)
    assert counts == {"added": 2}
    assert storage.reads.files().paths == ["/a/1", "/b/2"]


def test_a_copy_is_added_and_shares_the_image(storage: Storage, model: ModelRow) -> None:
    counts = storage.photos.save([seen("/1", "x", VECTOR), seen("/2", "x")], model.id)
    counts += storage.photos.save([seen("/3", "x")], model.id)
    assert counts == {"added": 3}
    assert storage.reads.files().image_ids.tolist() == [1, 1, 1]
    assert storage.photos.model_sizes(model)["images"] == 1


def test_the_vector_of_a_copy_counts_wherever_in_the_batch_it_comes(storage: Storage, model: ModelRow) -> None:
    storage.photos.save([seen("/1", "x"), seen("/2", "x", VECTOR), seen("/3", "x")], model.id)
    assert storage.photos.model_sizes(model)["images"] == 1


def test_the_same_bytes_under_a_new_time_are_unchanged(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    assert storage.photos.save([seen("/1", mtime_ns=2)], model.id) == {"unchanged": 1}
    assert storage.photos.known_files("/", model.id)["1"].mtime_ns == 2


def test_other_bytes_are_a_change(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    assert storage.photos.save([seen("/1", "new", VECTOR, size=2)], model.id) == {"changed": 1}
    assert storage.reads.files().image_ids.tolist() == [2]


def test_a_vanished_photo_that_turns_up_elsewhere_has_moved(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/old")
    since = now()
    storage.photos.mark_missing("/", ["old"])
    assert storage.photos.save([seen("/new", "/old")], model.id, since=since) == {"moved": 1, "refound": 1}
    assert storage.reads.files().paths == ["/new"]
    assert storage.photos.counts()["missing"] == 0


def test_a_photo_that_had_vanished_long_ago_is_no_loss_of_this_sync(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/old")
    storage.photos.mark_missing("/", ["old"])
    assert storage.photos.save([seen("/new", "/old")], model.id, since=now()) == {"moved": 1, "refound": 0}


def test_each_vanished_copy_moves_once(storage: Storage, model: ModelRow) -> None:
    storage.photos.save([seen("/1", "x", VECTOR), seen("/2", "x")], model.id)
    storage.photos.mark_missing("/")
    counts = storage.photos.save([seen(f"/new/{i}", "x") for i in range(3)], model.id, since="0")
    assert counts == {"moved": 2, "refound": 2, "added": 1}
    assert storage.photos.counts()["missing"] == 0


def test_of_several_vanished_copies_the_last_to_vanish_has_moved(storage: Storage, model: ModelRow) -> None:
    storage.photos.save([seen("/1", "x", VECTOR), seen("/2", "x"), seen("/3", "x")], model.id)
    for name in ("3", "1", "2"):
        storage.photos.mark_missing("/", [name])
    assert storage.photos.save([seen("/new", "x")], model.id) == {"moved": 1, "refound": 1}
    assert sorted(storage.photos.known_files("/", model.id)) == ["1", "3", "new"]


def test_a_copy_beside_the_original_is_no_move(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    assert storage.photos.save([seen("/2", "/1")], model.id) == {"added": 1}


def test_a_photo_that_comes_back_is_added_and_takes_no_other_vanished_one_with_it(
    storage: Storage, model: ModelRow
) -> None:
    storage.photos.save([seen("/1", "x", VECTOR), seen("/2", "x")], model.id)
    storage.photos.mark_missing("/")
    assert storage.photos.save([seen("/1", "x")], model.id) == {"added": 1}
    assert storage.photos.counts()["missing"] == 1


def test_photos_that_swap_their_names_have_changed(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1", "/2")
    assert storage.photos.save([seen("/1", "/2"), seen("/2", "/1")], model.id) == {"changed": 2}
    assert storage.reads.files().image_ids.tolist() == [2, 1]


def test_what_cannot_be_read_is_skipped_and_replaces_what_was_there(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    assert storage.photos.save([skipped("/1"), skipped("/2", SkipReason.EMPTY, "")], model.id) == {"skipped": 2}
    assert len(storage.reads.files()) == 0
    assert storage.reads.skipped() == [
        SkippedFile("/1", SkipReason.TRUNCATED, "cut"),
        SkippedFile("/2", SkipReason.EMPTY, ""),
    ]
    assert storage.photos.skip_counts() == {"empty": 1, "truncated": 1}
    assert storage.photos.model_sizes(model)["images"] == 1  # until it is pruned


def test_what_could_not_be_read_and_now_can_has_changed(storage: Storage, model: ModelRow) -> None:
    storage.photos.save([skipped("/1")], None)
    assert storage.photos.save([seen("/1", vector=VECTOR)], model.id) == {"changed": 1}
    assert storage.reads.skipped() == []
    known = storage.photos.known_files("/", model.id)["1"]
    assert (known.skip_reason, known.skip_detail) == (None, None)


def test_a_vector_that_is_there_is_not_replaced(storage: Storage, model: ModelRow) -> None:
    first, second = unit_vectors(2)
    storage.photos.save([seen("/1", "x", first)], model.id)
    storage.photos.save([seen("/2", "x", second)], model.id)
    storage.photos.save_images([ImageRecord(digest_of("x"), vector=second)], model.id)
    assert np.array_equal(storage.reads.image_vectors([digest_of("x")], model)[digest_of("x")], first)


def test_a_second_model_adds_its_own_vector_to_the_same_image(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    first, second = unit_vectors(2)
    storage.photos.save([seen("/1", "x", first)], model.id)
    assert storage.photos.save([seen("/1", "x", second)], other.id) == {"unchanged": 1}
    digest = digest_of("x")
    assert np.array_equal(storage.reads.image_vectors([digest], model)[digest], first)
    assert np.array_equal(storage.reads.image_vectors([digest], other)[digest], second)


def test_vectors_come_back_bit_by_bit(storage: Storage, model: ModelRow) -> None:
    vectors = unit_vectors(50)
    add_photos(storage, model, vectors)
    last, ids, found = storage.reads.embeddings_after(model, 0)
    assert (last, ids.tolist()) == (50, list(range(1, 51)))
    assert found.tobytes() == vectors.tobytes()


def test_embeddings_after_a_sequence_number(storage: Storage, model: ModelRow) -> None:
    add_photos(storage, model, unit_vectors(5))
    last, ids, vectors = storage.reads.embeddings_after(model, 3)
    assert (last, ids.tolist(), vectors.shape) == (5, [4, 5], (2, DIM))
    last, ids, _ = storage.reads.embeddings_after(model, 5)
    assert (last, ids.tolist()) == (5, [])


def test_nothing_is_stored_of_an_empty_batch(storage: Storage, model: ModelRow) -> None:
    assert storage.photos.save([], model.id) == {}


def test_digests_of_many_paths_are_those_of_each(storage: Storage, model: ModelRow) -> None:
    known = ["/a/1.png", "/a/2.png", "/b/1.png", "/top.png", "/a/gone.png"]
    storage.photos.save([seen(path) for path in known], model.id)
    storage.photos.save([skipped("/a/broken.png")], model.id)
    storage.photos.mark_missing("/a", ["gone.png"])
    asked = [*known, "/a/broken.png", "/a/3.png", "/c/1.png", "/a/\udcff.png", "/b/1.png"]
    each = {path: storage.reads.digest_of(path) for path in asked}
    assert storage.photos.digests_of(asked) == {path: digest for path, digest in each.items() if digest is not None}
    assert set(storage.photos.digests_of(asked)) == set(known)


def test_the_revision_grows_when_files_change(storage: Storage, model: ModelRow) -> None:
    revisions = [storage.reads.files_revision()]
    save(storage, model, "/1")
    revisions.append(storage.reads.files_revision())
    storage.photos.mark_missing("/")
    revisions.append(storage.reads.files_revision())
    storage.photos.prune()
    revisions.append(storage.reads.files_revision())
    assert revisions == sorted(set(revisions))
    storage.photos.mark_missing("/")
    assert storage.reads.files_revision() == revisions[-1]


# --- what is known of files -------------------------------------------------------------------------------------------


def test_known_files_of_a_folder(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    storage.photos.save(
        [seen("/a/1", "x", VECTOR, size=3, mtime_ns=2**62), seen("/a/2", "y", VECTOR), skipped("/a/3")], model.id
    )
    save(storage, model, "/a/b/4", "/ab/5")
    storage.photos.mark_missing("/a", ["2"])
    known = storage.photos.known_files("/a", model.id)
    assert known == {
        "1": KnownFile(1, 3, 2**62, None, None, missing=False, has_vector=True),
        "2": KnownFile(2, 1, 1, None, None, missing=True, has_vector=True),
        "3": KnownFile(3, 1, 1, "truncated", "cut", missing=False, has_vector=False),
    }
    for model_id in (other.id, None):
        assert not any(file.has_vector for file in storage.photos.known_files("/a", model_id).values())
    assert storage.photos.known_files("/nowhere", model.id) == {}


def test_folders_with_files_that_are_there(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/a/1", "/a/b/2", "/ab/3", "/a/gone/4")
    storage.photos.mark_missing("/a/gone")
    assert sorted(storage.photos.folders_under("/a")) == ["/a", "/a/b"]
    assert storage.photos.folders_under("/a/b") == ["/a/b"]
    assert sorted(storage.photos.folders_under("/")) == ["/a", "/a/b", "/ab"]
    assert storage.photos.folders_under("/a/b/2") == []


def test_what_is_known_of_images_and_the_files_that_show_them(storage: Storage, model: ModelRow) -> None:
    storage.photos.save([seen("/a/1", "x", VECTOR, size=5, mtime_ns=6), seen("/b/2", "x"), seen("/b/3", "y")], model.id)
    storage.photos.mark_missing("/b", ["2"])
    assert storage.photos.details_of([1, 2, 99]) in (
        [FileDetails("/a/1", 1, 5, 6, digest_of("x"), 4, 3), FileDetails("/b/3", 2, 1, 1, digest_of("y"), 4, 3)],
        [FileDetails("/b/3", 2, 1, 1, digest_of("y"), 4, 3), FileDetails("/a/1", 1, 5, 6, digest_of("x"), 4, 3)],
    )
    assert storage.photos.details_of([]) == []
    assert storage.photos.image(1) == ImageRecord(digest_of("x"), 4, 3, "PNG")
    assert storage.photos.image(99) is None
    assert storage.reads.files_of([1, 2]).paths == ["/a/1", "/b/3"]
    assert storage.reads.digest_of("/b/2") == digest_of("x")  # as it was when it was there


def test_photos_that_are_cut_short_are_told_as_long_as_they_are_there(storage: Storage, model: ModelRow) -> None:
    whole, cut = seen("/b/whole", vector=VECTOR), seen("/b/2", "cut")
    assert cut.image is not None
    cut = replace(cut, image=replace(cut.image, vector=VECTOR, incomplete="half of it is missing"))
    again = replace(cut, file=Candidate("/a", "1", 1, 1))
    storage.photos.save([whole, cut, again], model.id)
    storage.photos.save([seen("/c/3", "cut")], model.id)  # as it is known by then, it is not read again
    assert storage.photos.incomplete() == [
        IncompletePhoto(path, "half of it is missing") for path in ("/a/1", "/b/2", "/c/3")
    ]
    assert storage.photos.counts()["incomplete"] == 3
    storage.photos.mark_missing("/a")
    assert [photo.path for photo in storage.photos.incomplete()] == ["/b/2", "/c/3"]
    storage.photos.prune(under=["/b", "/c"])
    assert storage.photos.incomplete() == []


def test_which_images_have_a_vector(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    save(storage, model, "/1", "/2")
    storage.photos.save([seen("/3")], model.id)  # no vector
    digests = [digest_of(path) for path in ("/1", "/2", "/3", "/4")]
    assert [storage.photos.has_vector(digest, model.id) for digest in digests] == [True, True, False, False]
    assert not any(storage.photos.has_vector(digest, other.id) for digest in digests)


def test_ids_of_images_stored_up_to_a_sequence_number(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    add_photos(storage, model, unit_vectors(3))
    add_photos(storage, other, unit_vectors(3))
    assert storage.reads.image_ids_of(model.id, through=2).tolist() == [1, 2]
    assert storage.reads.image_ids_of(other.id, through=5).tolist() == [1, 2]
    assert storage.reads.image_ids_of(model.id, through=100).tolist() == [1, 2, 3]


def test_what_is_claimed_is_encoded_once(storage: Storage, other: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    with storage.sync_lock.hold("sync", shared=True), storage.photos.claims(model.id) as claims:
        assert claims.take(digest_of("/1")) is Claim.KNOWN
        assert claims.take(digest_of("/2")) is Claim.MINE
        save(other, model, "/3")  # imported, say
        assert claims.take(digest_of("/3")) is Claim.KNOWN
        save(storage, model, "/2")
        claims.release([digest_of("/2"), digest_of("/4")])
        assert claims.take(digest_of("/2")) is Claim.KNOWN
        second = add_model(storage, "second")
        with storage.photos.claims(second.id) as under_another:
            assert under_another.take(digest_of("/2")) is Claim.MINE
    with other.sync_lock.hold("sync"), other.photos.claims(model.id) as claims:
        assert claims.take(digest_of("/4")) is Claim.MINE


def test_receipts_say_what_was_stored_until_they_are_taken(storage: Storage, other: Storage, model: ModelRow) -> None:
    name = f"{now()}/123456"
    first = [seen("/1", vector=VECTOR), replace(seen("/2"), image=ImageRecord(digest_of("/1"))), skipped("/é 3")]
    counts = storage.photos.save(first, model.id, receipt=f"{name}/1")
    storage.photos.save([seen("/4", vector=VECTOR)], model.id, receipt=f"{name}/1")
    storage.photos.save([seen("/5", vector=VECTOR)], model.id, receipt=f"{name}/10")
    storage.photos.save([seen("/6", vector=VECTOR)], model.id)
    longest = f"{now()}/abcdef/1234567"
    storage.photos.save([seen("/7", vector=VECTOR)], model.id, receipt=longest)
    assert len(longest) == 47
    assert len(storage.photos.take_receipts(longest)) == 1
    kept = sorted(other.photos.receipts(f"{name}/1"), key=lambda receipt: receipt.paths)
    assert [list(receipt.paths) for receipt in kept] == [["/1", "/2", "/é 3"], ["/4"]]
    assert kept[0].counts == counts + Counter(encoded=1, reused=1, read=3)
    assert list(kept[0].skips) == [SkippedFile("/é 3", SkipReason.TRUNCATED, "cut")]
    assert kept[1].counts == Counter(added=1, encoded=1, read=1)
    assert len(storage.photos.receipts(name)) == 3
    assert len(other.photos.take_receipts(f"{name}/1")) == 2
    assert storage.photos.receipts(f"{name}/1") == []
    assert [list(receipt.paths) for receipt in storage.photos.take_receipts(name)] == [["/5"]]
    assert storage.photos.take_receipts(name) == []


def test_a_batch_that_is_not_stored_leaves_no_receipt(storage: Storage, model: ModelRow) -> None:
    name = f"{now()}/a"
    with pytest.raises(ModelPruned):
        storage.photos.save([seen("/1", vector=VECTOR)], model.id + 7, receipt=name)
    assert storage.photos.receipts(name) == []


def test_receipts_that_nobody_took_are_forgotten_after_a_week(storage: Storage, model: ModelRow) -> None:
    days = {n: (datetime.now(UTC) - timedelta(days=n)).isoformat(timespec="microseconds") for n in (6, 8)}
    for n, day in days.items():
        storage.photos.save([seen(f"/{n}", vector=VECTOR)], model.id, receipt=f"{day}/a/1")
    storage.photos.take_receipts(f"{now()}/b")
    assert [len(storage.photos.receipts(f"{day}/a")) for day in days.values()] == [1, 0]


def test_a_folder_beside_files_that_cannot_be_used(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/a/b/1", "/a/c/2")
    storage.photos.save([skipped("/a/3")], model.id)
    assert storage.reads.files(["/a/b"]).paths == ["/a/b/1"]
    assert storage.reads.files(["/a/3"]).paths == []


# --- missing ----------------------------------------------------------------------------------------------------------


def test_missing_files_are_counted_once(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/a/1", "/a/2", "/a/b/3", "/ab/1")
    assert storage.photos.mark_missing("/a", ["1", "unknown"]) == 1
    assert storage.photos.mark_missing("/a", ["1"]) == 0
    assert storage.photos.mark_missing("/a") == 1
    assert storage.photos.mark_missing("/nowhere") == 0
    assert storage.photos.mark_missing("/a/b", []) == 0
    assert storage.reads.files().paths == ["/a/b/3", "/ab/1"]
    assert storage.photos.counts() == {
        "files": 2,
        "images": 2,
        "duplicates": 0,
        "incomplete": 0,
        "skipped": 0,
        "missing": 2,
    }
    assert storage.photos.model_sizes(model)["images"] == 4


def test_missing_files_are_not_listed_as_skipped(storage: Storage) -> None:
    storage.photos.save([skipped("/1")], None)
    storage.photos.mark_missing("/")
    assert storage.reads.skipped() == []
    assert storage.photos.skip_counts() == {}
    assert storage.photos.counts()["missing"] == 1


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
def test_a_prefix_selects_a_subtree_or_a_file_and_nothing_else(storage: Storage, model: ModelRow, prefix: str) -> None:
    save(storage, model, *PATHS)
    below = prefix.rstrip("/") + "/"
    expected = {path for path in PATHS if path == prefix or path.startswith(below)}
    assert set(storage.reads.files([prefix]).paths) == expected


def test_several_prefixes_select_their_union_once(storage: Storage, model: ModelRow) -> None:
    save(storage, model, *PATHS)
    assert set(storage.reads.files(["/a", "/a/1", "/a/1/deep", "/ab/1", "/a"]).paths) == {
        "/a/1", "/a/2", "/a/1/deep", "/a/*/1", "/a/[1]/1", "/ab/1"
    }  # fmt: skip
    assert storage.reads.files(["/a/1", "/a/1/deep"]).paths == ["/a/1", "/a/1/deep"]
    assert storage.reads.files(["/a/2", "/a/1"]).paths == ["/a/1", "/a/2", "/a/1/deep"]
    assert storage.reads.files([]).paths == []


def test_files_come_folder_by_folder(storage: Storage, model: ModelRow) -> None:
    save(storage, model, *PATHS)
    by_folder = sorted(PATHS, key=lambda path: (path.rpartition("/")[0] or "/", path.rpartition("/")[2]))
    found = storage.reads.files()
    assert found.paths == by_folder
    assert storage.reads.files(["/"]).paths == by_folder
    ids = dict(zip(PATHS, range(1, len(PATHS) + 1), strict=True))
    assert found.image_ids.tolist() == [ids[path] for path in by_folder]
    assert len(found) == len(PATHS)


def test_what_is_skipped_is_selected_the_same_way(storage: Storage, model: ModelRow) -> None:
    storage.photos.save([skipped(path) for path in ("/a/1", "/a/2", "/ab/1", "/a/b/3")], None)
    save(storage, model, "/a/fine")
    assert [s.path for s in storage.reads.skipped(["/a"])] == ["/a/1", "/a/2", "/a/b/3"]
    assert [s.path for s in storage.reads.skipped(["/a/2", "/ab/1"])] == ["/a/2", "/ab/1"]
    assert storage.reads.skipped(["/a/fine"]) == []
    assert storage.reads.files(["/a"]).paths == ["/a/fine"]


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_prompts_are_kept_per_model_and_exact_text(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    texts = ["owl", "Owl", "owl ", "café", unicodedata.normalize("NFD", "café"), "ow%"]
    vectors = unit_vectors(len(texts))
    storage.reads.save_prompts(texts, vectors, model.id, truncated=[False] * len(texts))
    found = storage.reads.prompt_vectors([*texts, "unknown"], model, truncated=False)
    assert set(found) == set(texts)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(found[text], vector)
    assert storage.reads.prompt_vectors(texts, other, truncated=False) == {}
    assert storage.reads.prompt_vectors([], model, truncated=False) == {}


def test_a_prompt_that_is_there_is_not_replaced(storage: Storage, model: ModelRow) -> None:
    first, second = unit_vectors(2)
    storage.reads.save_prompts(["owl"], first[None], model.id, truncated=[False])
    storage.reads.save_prompts(["fox", "owl"], np.stack([second, second]), model.id, truncated=[False, False])
    found = storage.reads.prompt_vectors(["owl", "fox"], model, truncated=False)
    assert np.array_equal(found["owl"], first)
    assert np.array_equal(found["fox"], second)


def test_a_cut_prompt_is_only_for_those_who_allow_it(storage: Storage, model: ModelRow) -> None:
    storage.reads.save_prompts(["long", "short"], unit_vectors(2), model.id, truncated=[True, False])
    assert set(storage.reads.prompt_vectors(["long", "short"], model, truncated=False)) == {"short"}
    assert set(storage.reads.prompt_vectors(["long", "short"], model, truncated=True)) == {"long", "short"}


def test_of_more_prompts_than_fit_the_oldest_go_but_those_of_saved_label_sets(
    storage: Storage, model: ModelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSINDEX_PROMPTS_MB", "1")
    texts = [f"{n:03} " + "x" * 2000 for n in range(400)]
    storage.labels.save_label_set("kept", {"labels": {"a": texts[:2]}, "negatives": {"a": [texts[2]]}})
    for start in range(0, 400, 50):
        part = texts[start : start + 50]
        storage.reads.save_prompts(part, unit_vectors(50), model.id, truncated=[False] * 50)
    left = set(storage.reads.prompt_vectors(texts, model, truncated=False))
    assert {*texts[:3], *texts[-50:]} <= left
    first = min(set(texts[3:]) & left)
    assert left == {*texts[:3], *texts[texts.index(first) :]}  # by age, and nothing in between
    assert 0.7 * 2**20 < sum(2 * len(text) + 4 * DIM for text in left) <= 2**20


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_replaces_the_one_before_of_its_model(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    first, second = (SnapshotRow(file, 1, 2, 3, "0" * 64) for file in ("first", "second"))
    assert storage.photos.save_snapshot(model.id, first) is None
    assert storage.photos.save_snapshot(other.id, first) is None
    assert storage.photos.save_snapshot(model.id, second) == first
    assert storage.reads.snapshot(model.id) == second
    assert storage.reads.snapshot(other.id) == first


# --- counting ---------------------------------------------------------------------------------------------------------


def test_counts(storage: Storage, model: ModelRow) -> None:
    assert set(storage.photos.counts().values()) == {0}
    storage.photos.save([seen("/1", "x", VECTOR), seen("/2", "x"), seen("/3", "y", VECTOR), skipped("/4")], model.id)
    add_images(storage, model, unit_vectors(2))  # no files
    assert storage.photos.counts() == {
        "files": 3,
        "images": 2,
        "duplicates": 1,
        "incomplete": 0,
        "skipped": 1,
        "missing": 0,
    }
    storage.reads.save_prompts(["owl"], unit_vectors(1), model.id, truncated=[False])
    assert storage.photos.model_sizes(model) == {"images": 4, "prompts": 1, "bytes": 5 * DIM * 4}


# --- forgetting -------------------------------------------------------------------------------------------------------


def everything(storage: Storage, model: ModelRow) -> object:
    """What is stored of files, images, vectors and prompts, without the revision."""
    files = [(folder, storage.photos.known_files(folder, model.id)) for folder in storage.photos.folders_under("/")]
    return files, storage.photos.counts(), storage.photos.model_sizes(model), storage.reads.models()


def test_nothing_is_pruned_where_nothing_is_missing(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    storage.photos.save([skipped("/2")], None)
    storage.reads.save_prompts(["owl"], unit_vectors(1), model.id, truncated=[False])
    before = everything(storage, model)
    assert set(storage.photos.prunable().values()) == {0}
    assert set(storage.photos.prune().values()) == {0}
    assert everything(storage, model) == before
    assert storage.reads.generation(model.id) == 0


def test_pruning_forgets_what_no_file_shows(storage: Storage, model: ModelRow) -> None:
    storage.photos.save(
        [seen("/a/1", "x", VECTOR), seen("/b/2", "x"), seen("/b/3", "y", VECTOR), skipped("/b/4")], model.id
    )
    add_images(storage, model, unit_vectors(2))
    storage.photos.mark_missing("/b")
    expected = {"files": 3, "vectors": 3, "images": 3, "prompts": 0, "models": 0}
    expected |= {"vector_bytes": 3 * 4 * DIM, "prompt_bytes": 0}
    assert storage.photos.prunable() == expected
    assert storage.photos.prune() == expected
    assert storage.photos.model_sizes(model)["images"] == 1
    assert list(storage.photos.known_files("/a", model.id)) == ["1"]
    assert storage.photos.known_files("/b", model.id) == {}
    assert storage.photos.images_of([digest_of("x"), digest_of("y"), digest_of("0")]) == {digest_of("x"): 1}
    assert storage.reads.files().paths == ["/a/1"]
    assert storage.problems() == []


def test_pruning_tells_the_index_of_models_that_lost_vectors(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    save(storage, model, "/1", "/2")
    storage.photos.save([seen("/1", vector=VECTOR)], other.id)
    storage.photos.mark_missing("/", ["2"])
    storage.photos.prune()
    assert (storage.reads.generation(model.id), storage.reads.generation(other.id)) == (1, 0)


def test_an_image_whose_file_was_changed_is_pruned(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    storage.photos.save([seen("/1", "new", VECTOR)], model.id)
    expected = {"files": 0, "vectors": 1, "images": 1, "prompts": 0, "models": 0}
    assert storage.photos.prune() == {**expected, "vector_bytes": 4 * DIM, "prompt_bytes": 0}
    assert storage.reads.files().image_ids.tolist() == [2]


def test_ids_are_never_given_again(storage: Storage, model: ModelRow) -> None:
    """Whoever still holds an old id must not take another image, or another model, for it."""
    save(storage, model, "/1", "/2")
    newest = add_model(storage, "newest")
    storage.photos.mark_missing("/")
    storage.photos.prune([newest.id])
    save(storage, model, "/3")
    assert storage.reads.files().image_ids.tolist() == [3]
    assert add_model(storage, "newer still").id == newest.id + 1
    assert storage.reads.embeddings_after(model, 2)[0] == 3


def test_a_model_is_pruned_with_all_that_is_its_own(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    add_photos(storage, model, unit_vectors(3))
    add_photos(storage, other, unit_vectors(3))
    for row in (model, other):
        storage.reads.save_prompts(["owl"], unit_vectors(1), row.id, truncated=[False])
        storage.photos.save_snapshot(row.id, SnapshotRow(row.info.fingerprint, 1, 3, 0, "0" * 64))
    expected = {"files": 0, "vectors": 3, "images": 0, "prompts": 1, "models": 1}
    expected |= {"vector_bytes": 3 * 4 * DIM, "prompt_bytes": 4 * DIM + uses.BESIDE_TEXT + 2 * len("owl")}
    assert storage.photos.prunable([other.id]) == expected
    assert storage.photos.prune([other.id]) == expected
    assert storage.reads.models() == [model]
    assert storage.photos.model_sizes(model) == {"images": 3, "prompts": 1, "bytes": 4 * DIM * 4}
    assert storage.reads.snapshot(other.id) is None
    assert storage.reads.snapshot(model.id) is not None
    assert storage.reads.generation(model.id) == 0
    assert len(storage.reads.files()) == 3
    assert storage.problems() == []


def test_a_file_that_comes_back_after_pruning_is_new(storage: Storage, model: ModelRow) -> None:
    save(storage, model, "/1")
    storage.photos.mark_missing("/")
    storage.photos.prune()
    assert not storage.photos.has_vector(digest_of("/1"), model.id)
    assert storage.photos.save([seen("/1", vector=VECTOR)], model.id) == {"added": 1}


# --- checking ---------------------------------------------------------------------------------------------------------


def test_bad_vectors_are_found_and_only_they_are_removed(
    library: Implementation, storage: Storage, model: ModelRow
) -> None:
    other = add_model(storage, "other")
    add_photos(storage, model, unit_vectors(8))
    add_photos(storage, other, unit_vectors(8))
    texts = [str(i) for i in range(4)]
    storage.reads.save_prompts(texts, unit_vectors(4), model.id, truncated=[False] * 4)
    assert storage.photos.bad_vectors(model) == {"images": [], "prompts": []}

    good = unit_vectors(1)[0]
    bad = {1: b"", 2: b"\0" * 4 * DIM, 3: (good * 2).tobytes(), 4: np.full(DIM, np.nan, "<f4").tobytes(),
           5: np.full(DIM, np.inf, "<f4").tobytes(), 6: good.tobytes() + b"\0"}  # fmt: skip
    for seq, content in bad.items():
        library.damage(seq=seq, content=content)
    library.damage(prompt="1", content=b"x")
    found = storage.photos.bad_vectors(model)
    assert found == {"images": [1, 2, 3, 4, 5, 6], "prompts": [2]}
    assert storage.photos.bad_vectors(other) == {"images": [], "prompts": []}

    with pytest.warns(VectorsDamaged, match="6 stored vectors of fake are damaged"):
        assert storage.reads.embeddings_after(model, 0)[1].tolist() == [7, 8]
    assert list(storage.reads.prompt_vectors(texts, model, truncated=True)) == ["0", "2", "3"]

    storage.photos.remove_vectors(model.id, found)
    assert storage.photos.bad_vectors(model) == {"images": [], "prompts": []}
    assert storage.photos.model_sizes(model) == {"images": 2, "prompts": 3, "bytes": 5 * DIM * 4}
    assert (storage.reads.generation(model.id), storage.reads.generation(other.id)) == (1, 0)
    assert sum(not f.has_vector for f in storage.photos.known_files("/photos", model.id).values()) == 6


def test_a_damaged_vector_never_comes_back(library: Implementation, storage: Storage, model: ModelRow) -> None:
    """One bit of a unit vector: it is one still, of another direction."""
    vectors = unit_vectors(3)
    paths = add_photos(storage, model, vectors)
    texts = ["owl", "fox"]
    storage.reads.save_prompts(texts, vectors[:2], model.id, truncated=[False] * 2)
    turned = bytearray(vectors[1].tobytes())
    turned[3] ^= 0x80
    library.damage(seq=2, content=bytes(turned))
    library.damage(prompt="fox", content=bytes(turned))

    with pytest.warns(VectorsDamaged, match="1 stored vector of fake is damaged"):
        last, ids, found = storage.reads.embeddings_after(model, 0)
    assert (last, ids.tolist(), found.tobytes()) == (3, [1, 3], vectors[[0, 2]].tobytes())
    with storage.reads.embeddings(model, after=0) as (count, parts):
        assert (count, [(end, part.tolist()) for end, part, _ in parts]) == (3, [(3, [1, 3])])
    digests = [digest_of(path) for path in paths]
    assert set(storage.reads.image_vectors(digests, model)) == {digests[0], digests[2]}
    with (
        storage.bulk.exporting(model, None) as view,
        pytest.raises(LibraryDamaged, match=re.escape(f"the vector of {paths[1]} under fake is damaged")),
    ):
        list(view.batches(iter([3])))
    assert set(storage.reads.prompt_vectors(texts, model, truncated=True)) == {"owl"}
    assert np.array_equal(storage.photos.all_prompt_vectors(model), vectors[:1])
    assert storage.photos.bad_vectors(model) == {"images": [2], "prompts": [2]}

    # A prompt that is encoded again takes the place of the damaged one, and of no other.
    storage.reads.save_prompts(texts, vectors[[2, 2]], model.id, truncated=[False] * 2)
    now = storage.reads.prompt_vectors(texts, model, truncated=True)
    assert (now["owl"].tobytes(), now["fox"].tobytes()) == (vectors[0].tobytes(), vectors[2].tobytes())
    # An image has its vector again where somebody has kept it.
    storage.photos.remove_vectors(model.id, storage.photos.bad_vectors(model), instead={2: vectors[1]})
    assert storage.photos.bad_vectors(model) == {"images": [], "prompts": []}
    last, ids, found = storage.reads.embeddings_after(model, 3)
    assert (ids.tolist(), found.tobytes()) == ([2], vectors[1].tobytes())
    assert storage.reads.generation(model.id) == 1


def test_a_file_that_came_back_is_not_taken_for_the_origin_of_its_copy(storage: Storage, model: ModelRow) -> None:
    there = seen("/a/z.png", "same", VECTOR)
    storage.photos.save([there], model.id)
    storage.photos.mark_missing("/a")
    assert storage.photos.save([seen("/a/copy of z.png", "same"), there], model.id) == {"added": 2}
    assert storage.reads.files().paths == ["/a/copy of z.png", "/a/z.png"]


def test_what_was_last_seen_equals_a_listing_where_nothing_is_to_be_done(storage: Storage, model: ModelRow) -> None:
    names = ["A.png", "a b.png", "a.png", "ä.png", "日.png"]
    outcomes = [seen(f"/a/{name}", vector=VECTOR, size=i, mtime_ns=i) for i, name in enumerate(names)]
    storage.photos.save([*reversed(outcomes), seen("/a/b/c.png", vector=VECTOR)], model.id)
    listing = listing_text(outcome.file for outcome in outcomes)
    found = storage.photos.last_seen(["/a", "/a/b", "/nowhere"], model.id)
    assert found == {"/a": listing, "/a/b": "c.png/1/1"}
    assert listing.count("/") == 3 * len(names) - 1
    assert storage.photos.every_image_has_vector(model.id)
    assert storage.photos.last_seen(["/a"], model.id, all_have_vectors=True) == {"/a": listing}


def test_what_was_last_seen_equals_nothing_where_a_look_at_the_stat_does_not_settle_it(
    storage: Storage, model: ModelRow
) -> None:
    other = add_model(storage, "other")
    storage.photos.save([seen("/a/gone", vector=VECTOR)], model.id)
    storage.photos.mark_missing("/a")
    storage.photos.save([seen("/a/fine", vector=VECTOR), seen("/a/other model", vector=None)], model.id)
    storage.photos.save([FileOutcome(Candidate("/a", "skipped", 1, 1), skip_reason=SkipReason.EMPTY)], None)
    assert storage.photos.last_seen(["/a"], model.id)["/a"] == "fine/1/1/other model/1//skipped/1/"
    assert not storage.photos.every_image_has_vector(model.id)
    for model_id in (None, other.id):
        assert storage.photos.last_seen(["/a"], model_id)["/a"] == "fine/1//other model/1//skipped/1/"
    assert not storage.photos.every_image_has_vector(other.id)
    trusting = storage.photos.last_seen(["/a"], model.id, all_have_vectors=True)["/a"]
    assert trusting == "fine/1/1/other model/1/1/skipped/1/"


# --- rules that all of them share -------------------------------------------------------------------------------------


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
