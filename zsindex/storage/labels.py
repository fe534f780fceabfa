"""What a library keeps for the label lab: label sets, templates, corrections, thresholds, temperatures, runs, sidecars.
`zsindex.storage.protocol.LabelStorage` in SQL that is no database's own. Bodies are stored as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, delete, func, insert, select

from zsindex.storage.database import Database, Dialect
from zsindex.storage.rows import MOST_DERIVED, MOST_QUESTIONS, CorrectionEntry, SidecarRow, ThresholdRow, now
from zsindex.storage.tables import (
    corrections,
    derived,
    label_sets,
    runs,
    sidecars,
    temperatures,
    template_sets,
    thresholds,
)


class SqlLabels:
    """`zsindex.storage.protocol.LabelStorage` over an open database."""

    def __init__(self, database: Database) -> None:
        self._dialect = database.dialect
        self._newest_run_first = database.dialect.arrival(runs).desc()
        self._read = database.read
        self._write = database.write

    # --- label sets ---------------------------------------------------------------------------------------------------

    def save_label_set(self, name: str, body: Mapping[str, Any]) -> int:
        """Store a label set as its newest version, unless that says the same. Returns the version's number."""
        with self._write("save a label set") as connection:
            row = connection.execute(
                select(label_sets).where(label_sets.c.name == name).order_by(label_sets.c.version.desc())
            ).first()
            # Compared with the order of keys, which is the order of labels.
            if row is not None and row.body == _json(body):
                return int(row.version)
            version = 1 if row is None else int(row.version) + 1
            connection.execute(insert(label_sets).values(name=name, version=version, body=_json(body), saved_at=now()))
            return version

    def remove_label_set(self, name: str) -> bool:
        """Forget a label set with all versions and thresholds; False if there was none of that name."""
        with self._write("remove a label set") as connection:
            connection.execute(delete(thresholds).where(thresholds.c.label_set == name))
            return connection.execute(delete(label_sets).where(label_sets.c.name == name)).rowcount > 0

    # --- template sets ------------------------------------------------------------------------------------------------

    def save_template_set(self, name: str, templates: Sequence[str]) -> None:
        """Store templates, in place of those of the same name."""
        with self._write("save a template set") as connection:
            connection.execute(delete(template_sets).where(template_sets.c.name == name))
            connection.execute(insert(template_sets).values(name=name, body=_json(list(templates)), saved_at=now()))

    def remove_template_set(self, name: str) -> bool:
        """Forget a template set; False if there was none of that name."""
        with self._write("remove a template set") as connection:
            return connection.execute(delete(template_sets).where(template_sets.c.name == name)).rowcount > 0

    # --- corrections --------------------------------------------------------------------------------------------------

    def corrections(self, label_set: str) -> list[CorrectionEntry]:
        """The log of a label set, oldest entry first."""
        with self._read() as connection:
            rows = connection.execute(
                select(corrections).where(corrections.c.label_set == label_set).order_by(corrections.c.id)
            )
            return [CorrectionEntry(row.digest, row.label, row.is_not) for row in rows]

    def add_corrections(self, label_set: str, entries: Sequence[CorrectionEntry]) -> int:
        """Append entries as one batch, which can be undone together. Returns how many batches there are now."""
        with self._write("keep corrections") as connection:
            batch = _last_batch(connection, label_set) + 1
            if entries:
                connection.execute(
                    insert(corrections),
                    [{**e._asdict(), "label_set": label_set, "batch": batch, "created_at": now()} for e in entries],
                )
            return batch

    def undo_corrections(self, label_set: str) -> list[CorrectionEntry]:
        """Take the last batch away; returns its entries, none if there was no batch."""
        with self._write("undo corrections") as connection:
            last = (corrections.c.label_set == label_set) & (corrections.c.batch == _last_batch(connection, label_set))
            rows = connection.execute(select(corrections).where(last).order_by(corrections.c.id)).all()
            connection.execute(delete(corrections).where(last))
            return [CorrectionEntry(row.digest, row.label, row.is_not) for row in rows]

    # --- thresholds ---------------------------------------------------------------------------------------------------

    def thresholds(self, label_set: str) -> dict[str, ThresholdRow]:
        """Thresholds of a label set by label."""
        with self._read() as connection:
            rows = connection.execute(
                select(thresholds).where(thresholds.c.label_set == label_set).order_by(thresholds.c.id)
            )
            return {
                row.label: ThresholdRow(row.label, row.rate, json.loads(row.chosen), row.created_at) for row in rows
            }

    def save_thresholds(self, label_set: str, chosen: Iterable[tuple[str, float, Mapping[str, Any]]]) -> None:
        """Store (label, rate, how it was chosen), in place of those of the same labels."""
        with self._write("keep thresholds") as connection:
            for label, rate, how in chosen:
                _remove_thresholds(connection, label_set, [label])
                connection.execute(
                    insert(thresholds).values(
                        label_set=label_set, label=label, rate=rate, chosen=_json(how), created_at=now()
                    )
                )

    def remove_thresholds(self, label_set: str, labels: Sequence[str] | None = None) -> int:
        """Forget thresholds of some labels, or of all; returns how many."""
        with self._write("remove thresholds") as connection:
            return _remove_thresholds(connection, label_set, labels)

    # --- what belongs to a model --------------------------------------------------------------------------------------

    def temperature(self, model_id: int) -> tuple[float, dict[str, Any]] | None:
        """The temperature that was fitted for a model, and how; None if there is none."""
        with self._read() as connection:
            row = connection.execute(select(temperatures).where(temperatures.c.model_id == model_id)).first()
        return None if row is None else (row.temperature, json.loads(row.fit))

    def save_temperature(self, model_id: int, temperature: float, fit: Mapping[str, Any]) -> None:
        """Store a model's temperature, in place of an earlier one."""
        with self._write("keep a temperature") as connection:
            connection.execute(delete(temperatures).where(temperatures.c.model_id == model_id))
            connection.execute(
                insert(temperatures).values(
                    model_id=model_id, temperature=temperature, fit=_json(fit), created_at=now()
                )
            )

    def remove_temperature(self, model_id: int) -> bool:
        """Forget a model's temperature; False if there was none."""
        with self._write("remove a temperature") as connection:
            return connection.execute(delete(temperatures).where(temperatures.c.model_id == model_id)).rowcount > 0

    def save_derived(self, model_id: int, kind: str, key: str, body: Any) -> None:
        """Remember what took time to compute. Of more than `MOST_DERIVED` of a kind the oldest go."""
        where = (derived.c.model_id == model_id) & (derived.c.kind == kind) & (derived.c.key == key)
        with self._write("remember what was computed") as connection:
            connection.execute(delete(derived).where(where))
            connection.execute(
                insert(derived).values(model_id=model_id, kind=kind, key=key, body=_json(body), created_at=now())
            )
            same = (derived.c.model_id == model_id) & (derived.c.kind == kind)
            newest = (
                select(derived.c.key).where(same).order_by(self._dialect.arrival(derived).desc()).limit(MOST_DERIVED)
            )
            connection.execute(delete(derived).where(same, derived.c.key.not_in(newest)))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def runs(self) -> list[tuple[str, dict[str, Any], str]]:
        """(key, document, when) of each run, newest first."""
        with self._read() as connection:
            rows = connection.execute(select(runs).order_by(self._newest_run_first))
            return [(row.key, json.loads(row.document), row.created_at) for row in rows]

    def run(self, key: str) -> tuple[str, dict[str, Any], str] | None:
        """(key, document, when) of a run; None if it was not recorded."""
        with self._read() as connection:
            row = connection.execute(select(runs).where(runs.c.key == key)).first()
        return None if row is None else (row.key, json.loads(row.document), row.created_at)

    def run_files(self) -> dict[str, dict[str, Any]]:
        """Of each run, newest first, only what its document says of the stored answer; documents may be long."""
        stored = self._dialect.json_text(runs.c.document, "stored")
        with self._read() as connection:
            rows = connection.execute(select(runs.c.key, stored).order_by(self._newest_run_first))
            return {key: json.loads(body) for key, body in rows if body is not None}

    def save_run(
        self, key: str, document: Mapping[str, Any], *, keep: int, max_size: int = MOST_QUESTIONS
    ) -> list[str]:
        """Record a run, or that it was asked for again. Of more than `keep`, or `max_size` characters of documents in
        all, the oldest go.

        Returns:
            Names of the files with the stored answers that are recorded no more.
        """
        with self._write("record a run") as connection:
            replaced = _stored_files(connection, self._dialect, runs.c.key == key)
            connection.execute(delete(runs).where(runs.c.key == key))
            connection.execute(insert(runs).values(key=key, document=_json(document), created_at=now()))
            sizes = connection.execute(
                select(runs.c.key, func.length(runs.c.document)).order_by(self._newest_run_first)
            ).all()
            together = accumulate(size for _, size in sizes)
            old = [
                name
                for n, ((name, _), size) in enumerate(zip(sizes, together, strict=True))
                if n and (n >= keep or size > max_size)
            ]
            replaced += _stored_files(connection, self._dialect, runs.c.key.in_(old))
            connection.execute(delete(runs).where(runs.c.key.in_(old)))
            return sorted(replaced)

    # --- sidecars -----------------------------------------------------------------------------------------------------

    def sidecar_paths(self) -> list[str]:
        """Paths of all sidecars that zsindex wrote into, in order."""
        with self._read() as connection:
            return list(connection.execute(select(sidecars.c.path).order_by(sidecars.c.path)).scalars())

    def sidecars(self, paths: Sequence[str]) -> dict[str, SidecarRow]:
        """What zsindex wrote into some sidecars, a few hundred at most, by path; those that it did not are left out."""
        with self._read() as connection:
            rows = connection.execute(select(sidecars).where(sidecars.c.path.in_(paths)))
            return {row.path: _sidecar(row) for row in rows}

    def save_sidecars(self, rows: Sequence[SidecarRow], *, forget: Sequence[str] = ()) -> None:
        """Record what was written into sidecars, in place of earlier records, and forget others, a few hundred at most.

        Args:
            rows: `written_at` is put in.
            forget: paths.
        """
        if not rows and not forget:
            return
        with self._write("record what was written into sidecars") as connection:
            connection.execute(delete(sidecars).where(sidecars.c.path.in_([*forget, *(row.path for row in rows)])))
            if rows:
                connection.execute(
                    insert(sidecars),
                    [{**row._asdict(), "tags": _json(row.tags), "written_at": now()} for row in rows],
                )


def _json(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False)


def _sidecar(row: sa.Row[Any]) -> SidecarRow:
    return SidecarRow(row.path, row.original, row.written_sha256, json.loads(row.tags), row.written_at)


def _stored_files(connection: Connection, dialect: Dialect, which: sa.ColumnElement[bool]) -> list[str]:
    name = dialect.json_text(runs.c.document, "stored", "file")
    return [name for name in connection.execute(select(name).where(which)).scalars() if name is not None]


def _last_batch(connection: Connection, label_set: str) -> int:
    last = connection.execute(
        select(func.max(corrections.c.batch)).where(corrections.c.label_set == label_set)
    ).scalar()
    return int(last or 0)


def _remove_thresholds(connection: Connection, label_set: str, labels: Sequence[str] | None) -> int:
    which = thresholds.c.label_set == label_set
    if labels is not None:
        which &= thresholds.c.label.in_(labels)
    return int(connection.execute(delete(thresholds).where(which)).rowcount)
