"""Every storage: photos with vectors that others computed, in and out."""

from __future__ import annotations

import os

import numpy as np

from tests.libraries import add_model, add_photos, digest_of, unit_vectors
from tests.libraries import photo as seen
from zsindex.records import Candidate, SkipReason
from zsindex.storage.protocol import Storage
from zsindex.storage.rows import (
    NEVER_SEEN,
    ExportedPhotos,
    FileOutcome,
    ImportedPhoto,
    KnownPhoto,
    ModelRow,
    SeenFile,
    path_digest,
)


def away(path: str, content: str | None = None, *, width: int = 0, here: str | None = None) -> ImportedPhoto:
    """A photo as it is imported.

    Args:
        content: stands for the bytes that whoever exported it knew.
        here: stands for the bytes on this disk.
    """
    digest = None if content is None else digest_of(content)
    on_disk = None if here is None else SeenFile(digest_of(here), 7, 8)
    return ImportedPhoto(path, *os.path.split(path), digest, width, 0, "", on_disk)


def exported(storage: Storage, model: ModelRow) -> ExportedPhotos:
    """Everything, in one batch."""
    with storage.bulk.exporting(model, None) as export:
        return next(export.batches(iter([export.n_photos])))


# --- in ---------------------------------------------------------------------------------------------------------------


def test_photos_that_nobody_has_seen_are_known_by_their_path(storage: Storage, model: ModelRow) -> None:
    vectors = unit_vectors(2)
    counts = storage.bulk.save([away("/a/1"), away("/b/2", "x")], vectors, model.id)
    assert {name: n for name, n in counts.items() if n} == {"stored": 2, "added": 2, "unread": 2}
    assert storage.reads.files().paths == ["/a/1", "/b/2"]
    assert storage.reads.digest_of("/a/1") == path_digest("/a/1")
    assert storage.reads.digest_of("/b/2") == digest_of("x")
    known = storage.photos.known_files("/a", model.id)["1"]
    assert (known.size, known.mtime_ns, known.has_vector, known.can_vanish) == (NEVER_SEEN, NEVER_SEEN, True, False)
    assert storage.photos.mark_missing("/a") == 0  # what was never seen cannot vanish
    found = storage.reads.image_vectors([digest_of("x")], model)
    assert found[digest_of("x")].tobytes() == vectors[1].tobytes()


def test_importing_again_changes_nothing(storage: Storage, model: ModelRow) -> None:
    photos, vectors = [away("/a/1"), away("/b/2", "x")], unit_vectors(2)
    storage.bulk.save(photos, vectors, model.id)
    before = storage.reads.files_revision(), storage.reads.embeddings_after(model, 0)[0]
    counts = storage.bulk.save(photos, unit_vectors(2, seed=1), model.id)
    assert {name: n for name, n in counts.items() if n} == {"kept": 2, "unread": 2}
    assert (storage.reads.files_revision(), storage.reads.embeddings_after(model, 0)[0]) == before
    assert storage.reads.embeddings_after(model, 0)[2].tobytes() == vectors.tobytes()


def test_a_file_on_this_disk_is_what_its_bytes_say(storage: Storage, model: ModelRow) -> None:
    photos = [away("/1", here="x"), away("/2", "y", here="y"), away("/3", "exported", here="other")]
    counts = storage.bulk.save(photos, unit_vectors(3), model.id)
    assert {name: n for name, n in counts.items() if n} == {"stored": 2, "added": 2, "found": 2, "changed": 1}
    assert storage.photos.digests_of(["/1", "/2", "/3"]) == {"/1": digest_of("x"), "/2": digest_of("y")}
    assert storage.photos.known_files("/", model.id)["1"][1:3] == (7, 8)


def test_a_photo_that_a_sync_has_seen_stays_what_it_is(storage: Storage, model: ModelRow) -> None:
    other = add_model(storage, "other")
    storage.photos.save([seen("/1", "x", size=5, mtime_ns=6), seen("/2", "y")], None)
    counts = storage.bulk.save([away("/1"), away("/2", "other bytes")], unit_vectors(2), other.id)
    assert {name: n for name, n in counts.items() if n} == {"stored": 1, "unread": 1, "changed": 1}
    assert storage.photos.known_files("/", other.id)["1"][1:3] == (5, 6)
    assert storage.photos.has_vector(digest_of("x"), other.id)
    assert not storage.photos.has_vector(digest_of("y"), other.id)


def test_an_import_replaces_what_was_missing_or_could_not_be_read(storage: Storage, model: ModelRow) -> None:
    storage.photos.save([seen("/a/1", "x"), seen("/b/1", "y")], model.id)
    storage.photos.mark_missing("/a")
    storage.photos.save([FileOutcome(Candidate("/c", "1", 1, 1), skip_reason=SkipReason.EMPTY)], None)
    storage.bulk.save([away("/a/1"), away("/c/1", "z")], unit_vectors(2), model.id)
    assert storage.reads.files().paths == ["/a/1", "/b/1", "/c/1"]
    assert storage.reads.digest_of("/a/1") == digest_of("x")  # as it was when it was there
    assert storage.reads.skipped() == []


def test_images_that_several_rows_show_have_one_vector(storage: Storage, model: ModelRow) -> None:
    photos = [away("/1", "x"), away("/2", "x"), away("/1", "x")]
    counts = storage.bulk.save(photos, unit_vectors(3), model.id)
    assert {name: n for name, n in counts.items() if n} == {"stored": 1, "kept": 2, "added": 2, "unread": 3}
    assert storage.reads.embeddings_after(model, 0)[2].tobytes() == unit_vectors(3)[0].tobytes()
    assert storage.photos.counts()["duplicates"] == 1


def test_a_sync_and_an_import_share_images(storage: Storage, model: ModelRow) -> None:
    storage.bulk.save([away("/away", "x")], unit_vectors(1), model.id)
    assert storage.photos.has_vector(digest_of("x"), model.id)
    assert storage.photos.save([seen("/here", "x")], model.id) == {"added": 1}
    assert storage.reads.files().image_ids.tolist() == [1, 1]
    storage.bulk.save([away("/z", "x"), away("/y", "new")], unit_vectors(2, seed=1), model.id)
    assert storage.reads.files().image_ids.tolist() == [1, 1, 2, 1]


def test_what_is_known_of_photos(storage: Storage, model: ModelRow) -> None:
    add_photos(storage, model, unit_vectors(2))
    storage.photos.mark_missing("/photos", ["00001.png"])
    storage.photos.save([FileOutcome(Candidate("/a", "bad", 3, 4), skip_reason=SkipReason.EMPTY)], None)
    paths = ["/photos/00000.png", "/photos/00001.png", "/a/bad", "/a/unknown", "/b/unknown"]
    assert storage.bulk.known_photos(map(away, paths)) == {
        paths[0]: KnownPhoto(1, 1, 1, False, 1, digest_of(paths[0])),
        paths[1]: KnownPhoto(2, 1, 1, True, 2, digest_of(paths[1])),
        paths[2]: KnownPhoto(3, 3, 4, False, None, None),
    }


# --- out --------------------------------------------------------------------------------------------------------------


def test_what_was_imported_is_exported_folder_by_folder(storage: Storage, model: ModelRow) -> None:
    paths = ["/b/2", "/b/10", "/a/1", "/a b/1", "/a/c/1"]
    vectors = unit_vectors(len(paths))
    storage.bulk.save([away(path, f"{path}!", width=n) for n, path in enumerate(paths)], vectors, model.id)
    storage.photos.save([seen("/a/without", "no vector")], None)
    found = exported(storage, model)
    assert found.paths == ["/a/1", "/a b/1", "/a/c/1", "/b/10", "/b/2"]
    order = [paths.index(path) for path in found.paths]
    assert found.vectors.tobytes() == vectors[order].tobytes()
    assert found.digests == [digest_of(f"{path}!") for path in found.paths]
    assert found.widths == [n or None for n in order]
    assert (found.heights, found.formats) == ([None] * 5, [None] * 5)


def test_the_digest_of_a_path_is_not_exported_as_one_of_a_photo(storage: Storage, model: ModelRow) -> None:
    storage.bulk.save([away("/1"), away("/2", "x")], unit_vectors(2), model.id)
    assert exported(storage, model).digests == [None, digest_of("x")]


def test_an_export_is_of_what_was_asked_for(storage: Storage, model: ModelRow) -> None:
    paths = ["/a/1", "/a/2", "/a/c/1", "/ab/1", "/b/1"]
    storage.bulk.save([away(path) for path in paths], unit_vectors(5), model.id)
    for asked, expected in (
        (["/a"], paths[:3]),
        (["/a/2", "/b"], ["/a/2", "/b/1"]),
        (["/"], paths),
        (["/nowhere", "/a/1/x", "/\udcff"], []),
        ([], []),
    ):
        with storage.bulk.exporting(model, asked) as export:
            assert (export.n_photos, export.n_without) == (len(expected), 0)
            assert [
                p for batch in export.batches(iter([export.n_photos] * bool(expected))) for p in batch.paths
            ] == expected


def test_an_export_comes_in_batches_of_any_size_and_is_one_moments_view(
    storage: Storage, other: Storage, model: ModelRow
) -> None:
    add_photos(storage, model, unit_vectors(7))
    storage.photos.save([seen("/photos/none", "no vector")], None)
    with storage.bulk.exporting(model, None) as export:
        other.photos.mark_missing("/photos", ["00006.png"])
        add_photos(other, model, unit_vectors(2, seed=1), folder="/later")
        assert (export.n_photos, export.n_without) == (7, 1)
        batches = list(export.batches(iter([3, 3, 1])))
    assert [len(batch.paths) for batch in batches] == [3, 3, 1]
    vectors = np.concatenate([batch.vectors for batch in batches])
    assert vectors.tobytes() == unit_vectors(7).tobytes()


def test_parts_of_an_export_together_are_all_of_it(storage: Storage, model: ModelRow) -> None:
    """However they fall on folders, of which some hold nothing that is exported."""
    paths = [f"/{folder}/{n}" for folder, many in (("a", 5), ("b/c", 1), ("d", 7), ("é", 3)) for n in range(many)]
    vectors = unit_vectors(len(paths))
    storage.photos.save([seen(path, vector=v) for path, v in zip(paths, vectors, strict=True)], model.id)
    storage.photos.save([FileOutcome(Candidate("/aa", "1", 1, 1), skip_reason=SkipReason.EMPTY)], model.id)
    for asked in (None, ["/a", "/d/3", "/d/5", "/é"]):
        with storage.bulk.exporting(model, asked) as export:
            (whole,) = export.batches(iter([export.n_photos]))
            for size in (1, 4, 9):
                for start in range(0, export.n_photos, size):
                    rows = range(start, min(start + size, export.n_photos))
                    got = list(export.batches(iter([1] * len(rows)), rows=rows))
                    assert [path for batch in got for path in batch.paths] == whole.paths[start : start + size]
                    assert np.array_equal(
                        np.concatenate([batch.vectors for batch in got]), whole.vectors[start : start + size]
                    )
