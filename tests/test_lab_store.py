"""What a library keeps for the label lab, and what becomes of it when a library is upgraded or pruned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config

from tests.libraries import add_model, digest_of, new_library, open_store
from zsindex.errors import LibraryReadOnly
from zsindex.storage import schema
from zsindex.storage.labels import LabStore
from zsindex.storage.photos import Store
from zsindex.storage.rows import CorrectionEntry, SidecarRow
from zsindex.storage.sqlite.database import FILE_NAME, Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(new_library(tmp_path / "library"), create=False)
    yield opened
    opened.close()


@pytest.fixture
def lab(database: Database) -> LabStore:
    return LabStore(database)


def test_label_sets_are_kept_by_name_and_version(lab: LabStore) -> None:
    assert lab.save_label_set("b", {"labels": ["ü", "猫"]}) == 1
    assert lab.save_label_set("a", {"labels": []}) == 1
    assert lab.save_label_set("b", {"labels": ["new"]}) == 2
    assert lab.save_label_set("b", {"labels": ["new"]}) == 2  # the same again is no new version
    assert lab.save_label_set("b", {"labels": ["ü", "猫"]}) == 3  # what an older one says is
    assert [(s.name, s.version, s.body) for s in lab.label_sets()] == [
        ("a", 1, {"labels": []}), ("b", 3, {"labels": ["ü", "猫"]})
    ]  # fmt: skip
    assert [(s.version, s.body["labels"]) for s in lab.label_set_versions("b")] == [
        (1, ["ü", "猫"]), (2, ["new"]), (3, ["ü", "猫"])
    ]  # fmt: skip
    assert lab.label_set_versions("c") == []


def test_the_order_of_labels_makes_a_version(lab: LabStore) -> None:
    assert lab.save_label_set("a", {"labels": {"x": ["p"], "y": ["q"]}}) == 1
    assert lab.save_label_set("a", {"labels": {"y": ["q"], "x": ["p"]}}) == 2


def test_removing_a_label_set_takes_its_versions_and_thresholds(lab: LabStore) -> None:
    for labels in (["x"], ["y"]):
        lab.save_label_set("a", {"labels": labels})
    lab.save_thresholds("a", [("y", 0.1, {})])
    lab.add_corrections("a", [CorrectionEntry(digest_of("1"), "y")])
    assert lab.remove_label_set("a")
    assert not lab.remove_label_set("a")
    assert (lab.label_set_versions("a"), lab.thresholds("a")) == ([], {})
    assert lab.corrections("a") == [CorrectionEntry(digest_of("1"), "y", False)]  # a person's work outlives it


def test_template_sets_are_replaced(lab: LabStore) -> None:
    lab.save_template_set("b", ["a {}"])
    lab.save_template_set("a", ["ein {}", "das {}"])
    lab.save_template_set("b", ["the {}"])
    assert lab.template_sets() == {"a": ("ein {}", "das {}"), "b": ("the {}",)}
    assert [lab.remove_template_set("b"), lab.remove_template_set("b")] == [True, False]


def test_corrections_are_undone_a_batch_at_a_time(lab: LabStore) -> None:
    first = CorrectionEntry(digest_of("1"), "cat")
    bulk = [CorrectionEntry(digest_of("2"), "dog"), CorrectionEntry(digest_of("1"), "dog", is_not=True)]
    last = CorrectionEntry(digest_of("1"), None)
    lab.add_corrections("a", [first])
    lab.add_corrections("other", [first])
    lab.add_corrections("a", bulk)
    lab.add_corrections("a", [last])
    assert lab.corrections("a") == [first, *bulk, last]
    assert lab.undo_corrections("a") == [last]
    assert lab.undo_corrections("a") == bulk
    lab.add_corrections("a", bulk)
    assert lab.undo_corrections("a") == bulk
    assert lab.undo_corrections("a") == [first]
    assert lab.undo_corrections("a") == []
    assert lab.corrections("other") == [first]


def test_thresholds_replace_those_of_the_same_labels(lab: LabStore) -> None:
    lab.save_thresholds("a", [("cat", 0.25, {"by": "rate"}), ("dog", 0.5, {"by": "score", "score": 0.7})])
    lab.save_thresholds("a", [("cat", 0.125, {"by": "count"})])
    found = lab.thresholds("a")
    assert {label: (row.rate, row.chosen["by"]) for label, row in found.items()} == {
        "dog": (0.5, "score"), "cat": (0.125, "count")
    }  # fmt: skip
    assert lab.remove_thresholds("a", ["dog", "x"]) == 1
    assert lab.remove_thresholds("a") == 1
    assert lab.thresholds("a") == {}


def test_what_belongs_to_a_model_goes_with_it(database: Database, lab: LabStore) -> None:
    store = Store(database)
    kept, gone = add_model(store, "kept"), add_model(store, "gone")
    for model in (kept, gone):
        lab.save_temperature(model.id, 0.5, {"n": 3})
        lab.save_temperature(model.id, 0.25, {"n": 4})
        lab.save_derived(model.id, "negatives", "key", ["x"])
        lab.save_derived(model.id, "negatives", "key", ["y"])
    store.prune([gone.id])
    assert (lab.temperature(gone.id), lab.derived(gone.id, "negatives", "key")) == (None, None)
    assert (lab.temperature(kept.id), lab.derived(kept.id, "negatives", "key")) == ((0.25, {"n": 4}), ["y"])
    assert lab.derived(kept.id, "other", "key") is None
    assert [lab.remove_temperature(kept.id), lab.remove_temperature(kept.id)] == [True, False]


def test_only_so_many_runs_are_kept(lab: LabStore) -> None:
    def document(n: int, **more: str) -> dict[str, Any]:
        return {"n": n, "stored": {"file": f"file{n}"}, **more}

    for n in range(4):
        assert lab.save_run(f"run{n}", document(n), keep=4) == []
    assert lab.save_run("run0", document(9), keep=4) == ["file0"]  # asked for again: it is the newest now
    assert lab.save_run("run4", document(4), keep=3) == ["file1", "file2"]
    assert [(key, document["n"]) for key, document, _ in lab.runs()] == [("run4", 4), ("run0", 9), ("run3", 3)]
    found = lab.run("run3")
    assert found is not None
    assert found[:2] == ("run3", document(3))
    assert lab.run("run1") is None
    assert lab.save_run("run5", document(5, text="x" * 1000), keep=9, max_size=1060) == ["file3", "file4", "file9"]
    assert lab.save_run("run6", document(6), keep=9, max_size=10) == ["file5"]  # the newest always stays
    assert lab.run_files() == {"run6": {"file": "file6"}}


def test_sidecars_are_kept_to_the_byte(lab: LabStore) -> None:
    b = SidecarRow("/b.xmp", b"\x00\xff", "b" * 64, {"dc:subject": ["x"]})
    a = SidecarRow("/a.xmp", None, "a" * 64, {})
    lab.save_sidecars([b, a])
    lab.save_sidecars([a._replace(written_sha256="c" * 64, tags={"dc:subject": ["猫"]})])
    assert lab.sidecar_paths() == ["/a.xmp", "/b.xmp"]
    found = lab.sidecars(["/a.xmp", "/b.xmp", "/c.xmp"])
    assert {path: row._replace(written_at="") for path, row in found.items()} == {
        "/a.xmp": SidecarRow("/a.xmp", None, "c" * 64, {"dc:subject": ["猫"]}),
        "/b.xmp": b,
    }
    assert all(row.written_at for row in found.values())
    lab.save_sidecars([a], forget=["/b.xmp"])
    assert lab.sidecar_paths() == ["/a.xmp"]
    lab.save_sidecars([], forget=["/a.xmp"])
    assert lab.sidecars(["/a.xmp", "/b.xmp"]) == {}


def test_nothing_is_kept_in_a_library_that_cannot_be_written(database: Database, tmp_path: Path) -> None:
    reader = Database.open(tmp_path / "library", create=False, read_only=True)
    with closing(reader), pytest.raises(LibraryReadOnly, match="keep corrections"):
        LabStore(reader).add_corrections("a", [])


def test_label_sets_from_before_they_had_versions_become_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    with open_store(folder):
        pass
    (folder / FILE_NAME).unlink()
    config = Config()
    config.set_main_option("script_location", str(schema.SCRIPTS))
    database = Database.open(folder, create=True)  # for its settings; the schema comes from the older revision
    database.close()
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if name != "sqlite_sequence":
                connection.execute(f'DROP TABLE "{name}"')
        connection.commit()
    import sqlalchemy as sa

    engine = sa.create_engine(f"sqlite:///{folder / FILE_NAME}")
    with engine.begin() as made:
        config.attributes["connection"] = made
        command.upgrade(config, "0002")
        made.exec_driver_sql("INSERT INTO label_sets (name, body, saved_at) VALUES ('old', '{\"labels\": {}}', 'then')")
    engine.dispose()
    opened = Database.open(folder, create=False)
    with closing(opened):
        lab = LabStore(opened)
        assert [(s.name, s.version, s.body, s.saved_at) for s in lab.label_sets()] == [
            ("old", 1, {"labels": {}}, "then")
        ]
        assert lab.save_label_set("old", {"labels": {"x": ["x"]}}) == 2
    assert list(folder.glob("*.backup-0002-*"))
