"""What a library keeps for the label lab, from label sets and corrections to runs and sidecars.
`zsindex.storage.protocol.LabelStorage` in SQL that is no database's own. Bodies are stored as JSON.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, delete, func, insert, select, true, update

from zsindex.errors import LibraryDamaged
from zsindex.records import IdArray
from zsindex.storage.database import Database, Dialect
from zsindex.storage.rows import (
    MOST_DERIVED,
    MOST_QUESTIONS,
    AlbumRow,
    CorrectionEntry,
    DecisionEntry,
    LookRow,
    SidecarRow,
    SurveyRow,
    ThresholdRow,
    now,
)
from zsindex.storage.sealing import put_seals, reseal, rows_of, seals_of, unseal
from zsindex.storage.seals import Kind, seal, warn_of_rows
from zsindex.storage.tables import (
    albums,
    corrections,
    decisions,
    derived,
    label_sets,
    looks,
    runs,
    seals,
    sidecars,
    surveys,
    temperatures,
    template_sets,
    thresholds,
)

_DECISIONS = "the decisions about duplicates are"


class SqlLabels:
    """`zsindex.storage.protocol.LabelStorage` over an open database."""

    def __init__(self, database: Database) -> None:
        self._place = database.place
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
            self._seal(connection, Kind.LABEL_SET, [version], part=name)
            return version

    def remove_label_set(self, name: str) -> bool:
        """Forget a label set with all versions and thresholds; False if there was none of that name."""
        with self._write("remove a label set") as connection:
            connection.execute(delete(thresholds).where(thresholds.c.label_set == name))
            self._unseal(connection, Kind.THRESHOLD, part=name)
            self._unseal(connection, Kind.LABEL_SET, part=name)
            return connection.execute(delete(label_sets).where(label_sets.c.name == name)).rowcount > 0

    # --- template sets ------------------------------------------------------------------------------------------------

    def save_template_set(self, name: str, templates: Sequence[str]) -> None:
        """Store templates, in place of those of the same name."""
        with self._write("save a template set") as connection:
            connection.execute(delete(template_sets).where(template_sets.c.name == name))
            connection.execute(insert(template_sets).values(name=name, body=_json(list(templates)), saved_at=now()))
            self._seal(connection, Kind.TEMPLATE_SET, [name])

    def remove_template_set(self, name: str) -> bool:
        """Forget a template set; False if there was none of that name."""
        with self._write("remove a template set") as connection:
            self._unseal(connection, Kind.TEMPLATE_SET, [name])
            return connection.execute(delete(template_sets).where(template_sets.c.name == name)).rowcount > 0

    # --- corrections --------------------------------------------------------------------------------------------------

    def corrections(self, label_set: str) -> list[CorrectionEntry]:
        """The log of a label set, oldest entry first."""
        with self._read() as connection:
            rows = self._whole(connection, Kind.CORRECTION, label_set, f"the corrections of label set {label_set} are")
        return [CorrectionEntry(digest, label, bool(is_not)) for _, _, _, digest, label, is_not in rows.values()]

    def add_corrections(self, label_set: str, entries: Sequence[CorrectionEntry]) -> int:
        """Append entries as one batch, which can be undone together.

        Returns:
            The number of the batch, which no other one has or had: the id of its last entry. 0 if there are no entries.
        """
        if not entries:
            return 0
        with self._write("keep corrections") as connection:
            before = connection.execute(select(func.max(corrections.c.id))).scalar() or 0
            batch = _last_batch(connection, label_set) + 1
            connection.execute(
                insert(corrections),
                [{**e._asdict(), "label_set": label_set, "batch": batch, "created_at": now()} for e in entries],
            )
            made = list(connection.execute(select(corrections.c.id).where(corrections.c.id > before)).scalars())
            for some in _in_parts(made):
                self._seal(connection, Kind.CORRECTION, some, part=label_set)
            return int(max(made))

    def undo_corrections(self, label_set: str, *, only: int | None = None) -> list[CorrectionEntry]:
        """Take the last batch away, or `only` the one of this number, if it is the last; returns its entries, none if
        there was no such batch.
        """
        with self._write("undo corrections") as connection:
            self._whole(connection, Kind.CORRECTION, label_set, f"the corrections of label set {label_set} are")
            last = (corrections.c.label_set == label_set) & (corrections.c.batch == _last_batch(connection, label_set))
            rows = connection.execute(select(corrections).where(last).order_by(corrections.c.id)).all()
            if only is not None and (not rows or rows[-1].id != only):
                return []
            connection.execute(delete(corrections).where(last))
            self._unseal(connection, Kind.CORRECTION, [str(row.id) for row in rows], part=label_set)
            return [CorrectionEntry(row.digest, row.label, row.is_not) for row in rows]

    def corrected_at(self, label_set: str) -> dict[bytes, str]:
        """When the last entry of a label set's log about an image was made, by digest."""
        columns = select(corrections.c.digest, corrections.c.created_at)
        with self._read() as connection:
            rows = connection.execute(columns.where(corrections.c.label_set == label_set).order_by(corrections.c.id))
            return {bytes(digest): at for digest, at in rows}

    # --- decisions ----------------------------------------------------------------------------------------------------

    def decisions(self) -> list[DecisionEntry]:
        """The log, oldest entry first."""
        with self._read() as connection:
            rows = self._whole(connection, Kind.DECISION, "", _DECISIONS)
        return [DecisionEntry(kind, digest, path, other, at, when)
                for _, _, kind, digest, other, path, at, when in rows.values()]  # fmt: skip

    def add_decisions(self, entries: Sequence[DecisionEntry]) -> None:
        """Append entries as one batch, which can be undone together."""
        if not entries:
            return
        with self._write("keep decisions") as connection:
            before = connection.execute(select(func.max(decisions.c.id))).scalar() or 0
            batch = (connection.execute(select(func.max(decisions.c.batch))).scalar() or 0) + 1
            columns = ("kind", "digest", "path", "other", "other_path")
            rows = [
                {name: getattr(e, name) for name in columns} | {"batch": batch, "created_at": now()} for e in entries
            ]
            connection.execute(insert(decisions), rows)
            made = connection.execute(select(decisions.c.id).where(decisions.c.id > before)).scalars()
            for some in _in_parts(list(made)):
                self._seal(connection, Kind.DECISION, some)

    def undo_decisions(self) -> list[DecisionEntry]:
        """Take the last batch away; returns its entries, none if there was no batch."""
        with self._write("undo decisions") as connection:
            self._whole(connection, Kind.DECISION, "", _DECISIONS)
            last = decisions.c.batch == select(func.max(decisions.c.batch)).scalar_subquery()
            rows = connection.execute(select(decisions).where(last).order_by(decisions.c.id)).all()
            if rows:
                connection.execute(delete(decisions).where(decisions.c.batch == rows[0].batch))
                self._unseal(connection, Kind.DECISION, [str(row.id) for row in rows])
            return [
                DecisionEntry(row.kind, row.digest, row.path, row.other, row.other_path, row.created_at) for row in rows
            ]

    # --- albums -------------------------------------------------------------------------------------------------------

    def albums(self) -> list[AlbumRow]:
        """All albums, by name in the order of code points."""
        with self._read() as connection:
            rows = self._whole(connection, Kind.ALBUM, "", "the albums are")
        return [
            AlbumRow(name, json.loads(body), saved_at, unpacked(seen), seen_at)
            for name, body, saved_at, seen, seen_at in sorted(rows.values(), key=lambda row: str(row[0]))
        ]

    def save_album(self, name: str, body: Mapping[str, Any]) -> None:
        """Store a question under a name, in place of another one, of which what was seen is forgotten; one that says
        the same stays as it is.
        """
        with self._write("save an album") as connection:
            there = connection.execute(select(albums.c.body).where(albums.c.name == name)).scalar()
            if there == _json(body):
                return
            connection.execute(delete(albums).where(albums.c.name == name))
            connection.execute(insert(albums).values(name=name, body=_json(body), saved_at=now()))
            self._seal(connection, Kind.ALBUM, [name])

    def change_album(self, name: str, change: Callable[[dict[str, Any] | None], Mapping[str, Any]]) -> None:
        """Store what `change` makes of an album's body, or of None if there is none, with no other change in between.
        What was seen of it stays.
        """
        with self._write("change an album") as connection:
            there = connection.execute(select(albums.c.body).where(albums.c.name == name).with_for_update()).scalar()
            body = {"body": _json(change(None if there is None else json.loads(there))), "saved_at": now()}
            if there is None:
                connection.execute(insert(albums).values(name=name, **body))
            elif body["body"] != there:
                connection.execute(update(albums).where(albums.c.name == name).values(**body))
            self._seal(connection, Kind.ALBUM, [name])

    def see_album(self, name: str, photos: Mapping[bytes, str]) -> bool:
        """Record what an album holds now: paths by digest. False if there is none of that name."""
        with self._write("record what was seen of an album") as connection:
            seen = {"seen": packed(photos), "seen_at": now()}
            if not connection.execute(update(albums).where(albums.c.name == name).values(seen)).rowcount:
                return False
            self._seal(connection, Kind.ALBUM, [name])
            return True

    def remove_album(self, name: str) -> bool:
        """Forget an album; False if there was none of that name."""
        with self._write("remove an album") as connection:
            self._unseal(connection, Kind.ALBUM, [name])
            return connection.execute(delete(albums).where(albums.c.name == name)).rowcount > 0

    # --- surveys ------------------------------------------------------------------------------------------------------

    def surveys(self) -> list[SurveyRow]:
        """All surveys, oldest first."""
        with self._read() as connection:
            rows = self._whole(connection, Kind.SURVEY, "", "the surveys are")
        return [
            SurveyRow(number, kind, json.loads(question), unpacked_ids(ids), begun, ended, _of_json(result))
            for number, kind, question, ids, begun, ended, result in rows.values()
        ]

    def begin_survey(self, kind: str, question: Mapping[str, Any], image_ids: IdArray | None = None) -> int:
        """Begin a survey, unless one of that kind and question goes on; returns its id, which is never given again."""
        asked = json.dumps(question, ensure_ascii=False, sort_keys=True)
        with self._write("begin a survey") as connection:
            same = (surveys.c.kind == kind) & (surveys.c.question == asked) & surveys.c.ended_at.is_(None)
            there = connection.execute(select(surveys.c.id).where(same)).scalar()
            if there is not None:
                return int(there)
            made = connection.execute(
                insert(surveys).values(
                    kind=kind,
                    question=asked,
                    image_ids=None if image_ids is None else packed_ids(image_ids),
                    begun_at=now(),
                )
            ).inserted_primary_key
            assert made is not None
            self._seal(connection, Kind.SURVEY, [made[0]])
            return int(made[0])

    def end_survey(self, survey_id: int, result: Mapping[str, Any] | None) -> bool:
        """Say that a survey has ended, and what came out. False if there is none of that id."""
        with self._write("end a survey") as connection:
            said = {"ended_at": now(), "result": None if result is None else _json(result)}
            if not connection.execute(update(surveys).where(surveys.c.id == survey_id).values(said)).rowcount:
                return False
            self._seal(connection, Kind.SURVEY, [survey_id])
            return True

    def forget_survey(self, survey_id: int) -> bool:
        """Forget a survey with its looks; False if there was none of that id."""
        with self._write("forget a survey") as connection:
            connection.execute(delete(looks).where(looks.c.survey_id == survey_id))
            self._unseal(connection, Kind.LOOK, part=str(survey_id))
            self._unseal(connection, Kind.SURVEY, [str(survey_id)])
            return connection.execute(delete(surveys).where(surveys.c.id == survey_id)).rowcount > 0

    def looks(self, survey_id: int) -> list[LookRow]:
        """The looks of a survey, by number; none if there is no such survey."""
        with self._read() as connection:
            rows = self._whole(connection, Kind.LOOK, str(survey_id), f"the looks of survey {survey_id} are")
        return [
            LookRow(number, digest, path, json.loads(drawn), answer, answered_at)
            for _, number, digest, path, drawn, answer, answered_at in rows.values()
        ]

    def add_looks(self, survey_id: int, added: Sequence[LookRow]) -> bool:
        """Add looks. False, and nothing is added, if a number is taken or there is no such survey, or it has ended."""
        with self._write("keep looks") as connection:
            if not _goes_on(connection, survey_id):
                return False
            of = looks.c.survey_id == survey_id
            taken = set(connection.execute(select(looks.c.number).where(of)).scalars())
            if not taken.isdisjoint(row.number for row in added):
                return False
            rows = [{**row._asdict(), "survey_id": survey_id, "drawn": _json(row.drawn)} for row in added]
            if rows:
                connection.execute(insert(looks), rows)
            for some in _in_parts([row.number for row in added]):
                self._seal(connection, Kind.LOOK, some, part=str(survey_id))
            return True

    def answer_look(self, survey_id: int, number: int, answer: str | None, *, waiting: bool = False) -> bool:
        """Store an answer, in place of an earlier one, or with None take it back, and forget later looks that have no
        answer. False if there is no such look, or its survey has ended; with `waiting` also if it has an answer.
        """
        with self._write("keep an answer") as connection:
            of = looks.c.survey_id == survey_id
            this = of & (looks.c.number == number) & (looks.c.answer.is_(None) if waiting else true())
            values = {"answer": answer, "answered_at": None if answer is None else now()}
            if (
                not _goes_on(connection, survey_id)
                or not connection.execute(update(looks).where(this).values(values)).rowcount
            ):
                return False
            self._seal(connection, Kind.LOOK, [number], part=str(survey_id))
            if answer is None:
                later = of & (looks.c.number > number) & looks.c.answer.is_(None)
                gone = [str(one) for one in connection.execute(select(looks.c.number).where(later)).scalars()]
                connection.execute(delete(looks).where(later))
                self._unseal(connection, Kind.LOOK, gone, part=str(survey_id))
            return True

    # --- thresholds ---------------------------------------------------------------------------------------------------

    def thresholds(self, label_set: str) -> dict[str, ThresholdRow]:
        """Thresholds of a label set by label."""
        with self._read() as connection:
            rows = self._whole(connection, Kind.THRESHOLD, label_set, f"the thresholds of label set {label_set} are")
            order = connection.execute(
                select(thresholds.c.label).where(thresholds.c.label_set == label_set).order_by(thresholds.c.id)
            ).scalars()
        return {
            label: ThresholdRow(label, rate, json.loads(chosen), created_at)
            for _, label, rate, chosen, created_at in map(rows.__getitem__, order)
        }

    def save_thresholds(self, label_set: str, chosen: Iterable[tuple[str, float, Mapping[str, Any]]]) -> None:
        """Store (label, rate, how it was chosen), in place of those of the same labels."""
        with self._write("keep thresholds") as connection:
            for label, rate, how in chosen:
                self._remove_thresholds(connection, label_set, [label])
                connection.execute(
                    insert(thresholds).values(
                        label_set=label_set, label=label, rate=rate, chosen=_json(how), created_at=now()
                    )
                )
                self._seal(connection, Kind.THRESHOLD, [label], part=label_set)

    def remove_thresholds(self, label_set: str, labels: Sequence[str] | None = None) -> int:
        """Forget thresholds of some labels, or of all; returns how many."""
        with self._write("remove thresholds") as connection:
            return self._remove_thresholds(connection, label_set, labels)

    def _remove_thresholds(self, connection: Connection, label_set: str, labels: Sequence[str] | None) -> int:
        which = thresholds.c.label_set == label_set
        if labels is not None:
            which &= thresholds.c.label.in_(labels)
        self._unseal(connection, Kind.THRESHOLD, labels, part=label_set)
        return int(connection.execute(delete(thresholds).where(which)).rowcount)

    # --- what belongs to a model --------------------------------------------------------------------------------------

    def temperature(self, model_id: int) -> tuple[float, dict[str, Any]] | None:
        """The temperature that was fitted for a model, and how; None if there is none."""
        with self._read() as connection:
            rows = self._whole(connection, Kind.TEMPERATURE, "", "the temperature is", keys=[model_id])
        return next(((temperature, json.loads(fit)) for _, temperature, fit in rows.values()), None)

    def save_temperature(self, model_id: int, temperature: float, fit: Mapping[str, Any]) -> None:
        """Store a model's temperature, in place of an earlier one."""
        with self._write("keep a temperature") as connection:
            connection.execute(delete(temperatures).where(temperatures.c.model_id == model_id))
            connection.execute(
                insert(temperatures).values(
                    model_id=model_id, temperature=temperature, fit=_json(fit), created_at=now()
                )
            )
            self._seal(connection, Kind.TEMPERATURE, [model_id])

    def remove_temperature(self, model_id: int) -> bool:
        """Forget a model's temperature; False if there was none."""
        with self._write("remove a temperature") as connection:
            self._unseal(connection, Kind.TEMPERATURE, [str(model_id)])
            return connection.execute(delete(temperatures).where(temperatures.c.model_id == model_id)).rowcount > 0

    def save_derived(self, model_id: int, kind: str, key: str, body: Any, *, keep: int | None = None) -> None:
        """Remember what took time to compute. Of more than `keep` of a kind the oldest go; default: `MOST_DERIVED`."""
        where = (derived.c.model_id == model_id) & (derived.c.kind == kind) & (derived.c.key == key)
        with self._write("remember what was computed") as connection:
            connection.execute(delete(derived).where(where))
            connection.execute(
                insert(derived).values(model_id=model_id, kind=kind, key=key, body=_json(body), created_at=now())
            )
            part = f"{model_id}/{kind}"
            put_seals(connection, self._dialect, Kind.DERIVED, {(part, key): seal((model_id, kind, key, _json(body)))})
            same = (derived.c.model_id == model_id) & (derived.c.kind == kind)
            arrival = self._dialect.arrival(derived)
            newest = select(derived.c.key).where(same).order_by(arrival.desc()).limit(keep or MOST_DERIVED)
            connection.execute(delete(derived).where(same, derived.c.key.not_in(newest)))
            left = select(derived.c.key).where(same)
            of_kind = (seals.c.kind == str(Kind.DERIVED)) & (seals.c.part == part)
            connection.execute(delete(seals).where(of_kind, seals.c.key.not_in(left)))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def runs(self) -> list[tuple[str, dict[str, Any], str]]:
        """(key, document, when) of each run, newest first."""
        with self._read() as connection:
            found, sealed = rows_of(connection, Kind.RUN), seals_of(connection, Kind.RUN)
            order = [
                str(key) for key in connection.execute(select(runs.c.key).order_by(self._newest_run_first)).scalars()
            ]
        whole = {key: row for (part, key), row in found.items() if sealed.get((part, key)) == seal(row)}
        if damaged := sorted({*(key for _, key in found.keys() | sealed.keys()), *order} - whole.keys()):
            warn_of_rows([f"run {key}" for key in damaged])
        return [_run(whole[key]) for key in order if key in whole]

    def run(self, key: str) -> tuple[str, dict[str, Any], str] | None:
        """(key, document, when) of a run; None if it was not recorded."""
        with self._read() as connection:
            found, sealed = rows_of(connection, Kind.RUN, keys=[key]), seals_of(connection, Kind.RUN)
        row = found.get(("", key))
        if (sealed.get(("", key)) is None) != (row is None) or (row and sealed["", key] != seal(row)):
            warn_of_rows([f"run {key}"])
            return None
        return None if row is None else _run(row)

    def run_files(self) -> dict[str, dict[str, Any]]:
        """Of each run, newest first, only what its document says of the stored answer; documents may be long."""
        stored = self._dialect.json_text(runs.c.document, "stored")
        with self._read() as connection, self._dialect.legible(connection):
            rows = connection.execute(select(runs.c.key, stored).order_by(self._newest_run_first)).all()
        found = {key: json.loads(body) for key, body in rows if body is not None}
        return {key: answer for key, answer in found.items() if isinstance(answer, dict)}

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
            self._seal(connection, Kind.RUN, [key])
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
            self._unseal(connection, Kind.RUN, old)
            return sorted(replaced)

    # --- sidecars -----------------------------------------------------------------------------------------------------

    def sidecar_paths(self) -> list[str]:
        """Paths of all sidecars that zsindex wrote into, in order."""
        with self._read() as connection:
            found = list(connection.execute(select(sidecars.c.path).order_by(sidecars.c.path)).scalars())
            sealed = {key for _, key in seals_of(connection, Kind.SIDECAR)}
        if damaged := sealed.symmetric_difference(found):
            warn_of_rows([f"what zsindex wrote into {path}" for path in sorted(map(str, damaged))])
        return [path for path in found if path in sealed]

    def sidecars(self, paths: Sequence[str]) -> dict[str, SidecarRow]:
        """What zsindex wrote into some sidecars, a few hundred at most, by path; those that it did not are left out."""
        with self._read() as connection:
            found, sealed = rows_of(connection, Kind.SIDECAR, keys=paths), seals_of(connection, Kind.SIDECAR)
        asked = {("", path) for path in paths}
        for which in found.keys() | (sealed.keys() & asked):
            if which not in found or sealed.get(which) != seal(found[which]):
                raise LibraryDamaged(self._place, f"what zsindex wrote into {which[1]} is not known any more")
        return {
            path: SidecarRow(path, original, written, json.loads(tags), written_at)
            for path, original, written, tags, written_at in found.values()
        }

    def save_sidecars(self, rows: Sequence[SidecarRow], *, forget: Sequence[str] = ()) -> None:
        """Record what was written into sidecars, in place of earlier records, and forget others, a few hundred at most.

        Args:
            rows: `written_at` is put in.
            forget: paths.
        """
        if not rows and not forget:
            return
        with self._write("record what was written into sidecars") as connection:
            these = [*forget, *(row.path for row in rows)]
            connection.execute(delete(sidecars).where(sidecars.c.path.in_(these)))
            self._unseal(connection, Kind.SIDECAR, these)
            if rows:
                connection.execute(
                    insert(sidecars),
                    [{**row._asdict(), "tags": _json(row.tags), "written_at": now()} for row in rows],
                )
                self._seal(connection, Kind.SIDECAR, [row.path for row in rows])

    # --- seals --------------------------------------------------------------------------------------------------------

    def _seal(self, connection: Connection, kind: Kind, keys: Sequence[object], *, part: str | None = None) -> None:
        reseal(connection, self._dialect, kind, keys, part=part)

    def _unseal(self, connection: Connection, kind: Kind, keys: Sequence[str] | None = None, *, part: str = "") -> None:
        unseal(connection, self._dialect, kind, keys, part=part)

    def _whole(
        self, connection: Connection, kind: Kind, part: str, what: str, *, keys: Sequence[object] | None = None
    ) -> dict[str, Sequence[Any]]:
        """Rows of a part by their keys.

        Raises:
            LibraryDamaged: they are not what was stored; `what` says of what they are, with its verb.
        """
        found, sealed = rows_of(connection, kind, part, keys), seals_of(connection, kind, part)
        if keys is not None:
            sealed = {which: sealed[which] for which in sealed if which[1] in map(str, keys)}
        if {which: seal(row) for which, row in found.items()} != sealed:
            raise LibraryDamaged(self._place, f"{what} not what was stored")
        return {key: row for (_, key), row in found.items()}


def packed(photos: Mapping[bytes, str]) -> bytes:
    """Paths by digest: JSON with the digests in hexadecimal, deflated."""
    return zlib.compress(_json({digest.hex(): path for digest, path in photos.items()}).encode())


def unpacked(seen: bytes | None) -> dict[bytes, str] | None:
    """What `packed` made."""
    if seen is None:
        return None
    return {bytes.fromhex(digest): path for digest, path in json.loads(zlib.decompress(seen)).items()}


def packed_ids(image_ids: IdArray) -> bytes:
    """Ascending numbers: their differences as `<i8`, deflated."""
    return zlib.compress(np.diff(np.asarray(image_ids, dtype="<i8"), prepend=np.int64(0)).tobytes())


def unpacked_ids(packed: bytes | None) -> IdArray | None:
    """What `packed_ids` made."""
    if packed is None:
        return None
    return np.cumsum(np.frombuffer(zlib.decompress(packed), dtype="<i8"), dtype=np.int64)


def _goes_on(connection: Connection, survey_id: int) -> bool:
    which = (surveys.c.id == survey_id) & surveys.c.ended_at.is_(None)
    return connection.execute(select(surveys.c.id).where(which)).first() is not None


def _of_json(body: str | None) -> Any:
    return None if body is None else json.loads(body)


def _json(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False)


def _run(row: Sequence[Any]) -> tuple[str, dict[str, Any], str]:
    key, document, created_at = row
    return key, json.loads(document), created_at


def _stored_files(connection: Connection, dialect: Dialect, which: sa.ColumnElement[bool]) -> list[str]:
    name = dialect.json_text(runs.c.document, "stored", "file")
    return [name for name in connection.execute(select(name).where(which)).scalars() if name is not None]


def _in_parts(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), 500):
        yield values[start : start + 500]


def _last_batch(connection: Connection, label_set: str) -> int:
    last = connection.execute(
        select(func.max(corrections.c.batch)).where(corrections.c.label_set == label_set)
    ).scalar()
    return int(last or 0)
