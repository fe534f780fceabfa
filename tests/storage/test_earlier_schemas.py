"""A library of each earlier schema opens, is backed up and upgraded, answers, and has lost nothing."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.libraries import fake_info, open_storage
from tests.storage import make_libraries as made
from zsindex.errors import LibraryReadOnly
from zsindex.index.snapshots import IndexRebuilt
from zsindex.library import Library
from zsindex.records import IccMode, ModelSpec, SkipReason, TransparencyMode
from zsindex.storage.rows import AlbumRow, CorrectionEntry, DecisionEntry, LookRow, SidecarRow, SurveyRow
from zsindex.storage.sqlite import schema
from zsindex.storage.sqlite.file import FILE_NAME


@pytest.fixture(params=made.REVISIONS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, revision: str) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(gzip.decompress((made.FOLDER / f"{revision}.db.gz").read_bytes()))
    return folder


def revision_of(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_there_is_one_of_each() -> None:
    scripts = sorted(file.name[:4] for file in (schema.SCRIPTS / "versions").glob("0*.py"))
    assert list(made.REVISIONS) == scripts
    assert {file.name for file in made.FOLDER.iterdir()} == {f"{revision}.db.gz" for revision in scripts}
    assert all(file.stat().st_size < 10_000 for file in made.FOLDER.iterdir())


def test_it_is_upgraded_and_what_was_before_is_kept_beside(folder: Path, revision: str) -> None:
    assert revision_of(folder / FILE_NAME) == revision
    with open_storage(folder, create=False) as storage:
        assert storage.problems() == []
    assert revision_of(folder / FILE_NAME) == schema.HEAD
    backups = list(folder.glob("*.backup-*"))
    if revision == schema.HEAD:
        assert backups == []
        return
    (backup,) = backups
    assert backup.name.startswith(f"{FILE_NAME}.backup-{revision}-")
    assert revision_of(backup) == revision
    with closing(sqlite3.connect(backup)) as connection:
        for table, row in made.rows(revision):
            which = " AND ".join(f"{name} IS ?" for name in row)
            count = connection.execute(f"SELECT count(*) FROM {table} WHERE {which}", tuple(row.values())).fetchone()[0]
            assert count == (0 if row.get("model_id", row.get("id")) == 5 else 1), (table, row)


def test_nothing_is_lost(folder: Path, revision: str) -> None:
    with open_storage(folder, create=False) as storage:
        reads, photos, labels = storage.reads, storage.photos, storage.labels
        (model,) = reads.models()
        is_new = revision >= "0006"
        icc = IccMode.CONVERT if is_new else IccMode.IGNORE
        transparency = TransparencyMode.SHOW if is_new else TransparencyMode.REFERENCE
        assert (model.id, model.info.fingerprint) == (3, f"{3:064x}")
        assert model.info.spec == ModelSpec("first", icc=icc, transparency=transparency)
        assert reads.default_model() == model
        assert reads.generation(3) == 2
        assert photos.roots() == ["/photos"]
        assert reads.files().paths == list(made.PATHS)
        assert reads.files_revision() == 4
        assert photos.digests_of(made.PATHS) == {path: made.digest(path) for path in made.PATHS}
        assert [(s.path, s.reason, s.detail) for s in reads.skipped()] == [
            ("/photos/bad.png", SkipReason.TRUNCATED, "cut")
        ]
        assert photos.counts()["missing"] == 1
        last, ids, vectors = reads.embeddings_after(model, 0)
        assert (last, ids.tolist()) == (8, [1, 2])
        assert np.array_equal(vectors, np.array(list(made.PATHS.values()), dtype=np.float32))
        prompts = reads.prompt_vectors([made.TEMPLATE.format("red")], model, truncated=False)
        assert prompts[made.TEMPLATE.format("red")].tobytes() == made.vector(made.RED)
        snapshot = reads.snapshot(3)
        assert snapshot is not None
        assert (snapshot.file, snapshot.watermark, snapshot.n_cells) == ("gone.faiss", 8, 0)
        assert (snapshot.verified is None) == (revision < "0002")
        versions = reads.label_set_versions("colours")
        assert [(v.version, v.saved_at) for v in versions] == [(n, made.THEN) for n in (1, 2)][
            : 1 + (revision > "0002")
        ]
        assert versions[0].body == made.LABEL_SET
        if revision >= "0003":
            assert reads.template_sets() == {"mine": ("a {}",)}
            assert labels.corrections("colours") == [
                CorrectionEntry(made.digest(path), "red", is_not=n == 1) for n, path in enumerate(made.PATHS)
            ]
            assert [(row.label, row.rate, row.chosen) for row in labels.thresholds("colours").values()] == [
                ("red", 0.25, {"by": "rate"})
            ]
            assert labels.temperature(3) == (1.5, {"n": 3})
            assert storage.reads.derived(3, "negatives", "k") == ["x"]
            assert labels.runs() == [(made.RUN["run"]["key"], made.RUN, made.THEN)]
            assert labels.sidecars(["/photos/red.xmp"]) == {
                "/photos/red.xmp": SidecarRow("/photos/red.xmp", b"\x00before", "s" * 64, {"sets": {}}, made.THEN)
            }
        assert [job.id for job in storage.jobs.jobs(9)] == (["job"] if revision >= "0004" else [])
        assert [photo.path for photo in photos.incomplete()] == (["/photos/red.png"] if revision >= "0005" else [])
        blue, red = made.PATHS
        different = DecisionEntry("different", made.digest(blue), blue, made.digest(red), red, made.THEN)
        keep = DecisionEntry("keep", made.digest(blue), blue, decided_at=made.THEN)
        assert labels.decisions() == ([different, keep] if revision >= "0011" else [])
        question = {"query": "Öl", "options": {"top": 5}, "where": {"year": "2019"}}
        looked = AlbumRow("a", question, made.THEN, {made.digest(red): red}, made.THEN)
        not_looked = AlbumRow("b", question, made.THEN)
        assert labels.albums() == ([looked, not_looked] if revision >= "0012" else [])
        if revision >= "0013":
            [counted, reviewed] = labels.surveys()
            assert counted.image_ids is not None
            assert counted.image_ids.tolist() == [1, 2]
            assert counted._replace(image_ids=None) == SurveyRow(1, "count", {"label": "Öl"}, None, made.THEN)
            assert reviewed == SurveyRow(2, "review", {}, None, made.THEN, made.THEN, {"found": 1})
            assert labels.looks(1) == [
                LookRow(1, made.digest(blue), blue, {"chance": 0.5}, "yes", made.THEN),
                LookRow(2, made.digest(red), red, {}),
            ]
        else:
            assert labels.surveys() == []
        # Neither the ids of what was pruned are given again, nor sequence numbers.
        assert photos.add_model(fake_info("third"), make_default=False).id == 6


def test_it_answers_without_a_model(folder: Path, revision: str) -> None:
    version = "colours" if revision < "0003" else "colours@1"
    with Library.open(folder, create=False) as library:
        with pytest.warns(IndexRebuilt, match="gone.faiss"):
            result = library.classify(label_set=version, sync=False)
        assert {photo.path: photo.label for photo in result} == {"/photos/blue.png": "blue", "/photos/red.png": "red"}
        assert library.usage["prompts_encoded"] == 0
        assert library.check().problems == ()


def test_one_that_cannot_be_written_is_left_as_it_is(folder: Path, revision: str) -> None:
    before = (folder / FILE_NAME).read_bytes()
    if revision == schema.HEAD:
        with open_storage(folder, read_only=True, create=False) as storage:
            assert len(storage.reads.files()) == 2
    else:
        with (
            pytest.raises(LibraryReadOnly, match=f"upgrade it from schema {revision} to {schema.HEAD}"),
            open_storage(folder, read_only=True, create=False),
        ):
            pass
    assert (folder / FILE_NAME).read_bytes() == before
    assert list(folder.glob("*.backup-*")) == []
