"""Photos, models and what is recorded of the index: what syncs store, and what is asked of it but for what every
question asks. `zsindex.storage.protocol.PhotoStorage` in SQL that is no database's own.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection, delete, exists, func, insert, select, update

from zsindex.arguments.paths import is_under
from zsindex.photos.formats import is_encodable
from zsindex.records import Candidate, Facts, FloatArray, IncompletePhoto, ModelInfo
from zsindex.storage import facts_of_files, receipts, room
from zsindex.storage.adding import (
    FileState,
    NewFile,
    There,
    Vanished,
    add_images,
    add_vectors,
    folder_ids,
    known,
    put_files,
    revisions_of,
    set_setting,
    touch_files,
    with_vector,
)
from zsindex.storage.claims import Claims, LoneClaims
from zsindex.storage.database import Database, Dialect
from zsindex.storage.facts import OF_IMAGE, OF_SIDECAR, row_of_image, row_of_sidecar
from zsindex.storage.facts import VALUES as FACT_VALUES
from zsindex.storage.facts_table import FactsTable
from zsindex.storage.mending import listings
from zsindex.storage.rows import (
    NEVER_SEEN,
    NO_PROMPTS,
    FileDetails,
    FileOutcome,
    Forgettable,
    ImageRecord,
    KnownFile,
    ModelRow,
    Receipt,
    SnapshotRow,
    now,
)
from zsindex.storage.sealing import put_seals, reseal, rows_of, seals_of, unseal
from zsindex.storage.seals import (
    Kind,
    file_checksum,
    is_of_content,
    is_of_file,
    seal,
    warn_of_rows,
)
from zsindex.storage.stored import (
    MODEL_COLUMNS,
    SNAPSHOT_COLUMNS,
    VECTOR_DTYPE,
    from_blobs,
    is_of_image,
    is_of_prompt,
    model_row,
    to_blob,
)
from zsindex.storage.tables import (
    derived,
    embeddings,
    files,
    folders,
    image_facts,
    images,
    incomplete_images,
    models,
    prompts,
    roots,
    seals,
    settings,
    sidecar_facts,
    snapshots,
    temperatures,
)


class SqlPhotos:
    """`zsindex.storage.protocol.PhotoStorage` over an open database."""

    def __init__(self, database: Database) -> None:
        self._place = database.place
        self._dialect = database.dialect
        self._read = database.read
        self._write = database.write

    # --- models -------------------------------------------------------------------------------------------------------

    def add_model(self, info: ModelInfo, *, make_default: bool) -> ModelRow:
        """Record a model unless its fingerprint is known; the first one becomes the default in any case."""
        values = {
            "fingerprint": info.fingerprint,
            "name": info.spec.name,
            "pretrained": info.spec.pretrained,
            "precision": info.spec.precision,
            "decode": str(info.spec.decode),
            "icc": str(info.spec.icc),
            "transparency": str(info.spec.transparency),
            "dim": info.dim,
            "logit_scale": info.logit_scale,
            "logit_bias": info.logit_bias,
            "context_length": info.context_length,
            "image_height": info.image_size[0],
            "image_width": info.image_size[1],
            "weights_sha256": info.weights_sha256,
        }
        with self._write("record a model") as connection, self._dialect.legible(connection):
            ident = _recorded_as(connection, self._dialect, values)
            if ident is None:
                connection.execute(insert(models).values(**values, created_at=now()))
                ident = connection.execute(
                    select(models.c.id).where(models.c.fingerprint == info.fingerprint)
                ).scalar_one()
                reseal(connection, self._dialect, Kind.MODEL, [ident])
            if make_default or not _has_default(connection):
                set_setting(connection, "default_model", str(ident))
                put_seals(connection, self._dialect, Kind.DEFAULT_MODEL, {("", ""): seal((str(ident),))})
            query = select(*(models.c[name] for name in MODEL_COLUMNS)).where(models.c.id == ident)
            row = connection.execute(query).one()
        return model_row(row)

    # --- files: what is known -----------------------------------------------------------------------------------------

    def roots(self) -> list[str]:
        """Folders that were synced, in path order."""
        with self._read() as connection:
            found, sealed = rows_of(connection, Kind.ROOT), seals_of(connection, Kind.ROOT)
        damaged = [key for key in sealed.keys() | found.keys() if key not in found or key not in sealed]
        if damaged:
            warn_of_rows(["the list of synced folders"])
        return [path for _, path in found if ("", path) in sealed]

    def add_roots(self, paths: Iterable[str]) -> None:
        """Remember folders as synced now; one inside another root is part of that root."""
        with self._write("record the synced folders") as connection:
            for path in paths:
                known = list(connection.execute(select(roots.c.path)).scalars())
                if any(is_under(path, root) and path != root for root in known):
                    continue
                inside = [root for root in known if is_under(root, path)]
                connection.execute(delete(roots).where(roots.c.path.in_(inside)))
                unseal(connection, self._dialect, Kind.ROOT, inside)
                connection.execute(insert(roots).values(path=path, synced_at=now()))
                reseal(connection, self._dialect, Kind.ROOT, [path])

    def known_files(self, folder: str, model_id: int | None) -> dict[str, KnownFile]:
        """What the library knows of one folder, by file name."""
        query = (
            select(
                files.c.name,
                files.c.id,
                files.c.size,
                files.c.mtime_ns,
                files.c.skip_reason,
                files.c.skip_detail,
                files.c.missing_since.is_not(None),
                _has_vector(model_id),
            )
            .join(folders)
            .where(folders.c.path == folder)
        )
        with self._read() as connection:
            return {row[0]: KnownFile(*row[1:]) for row in _fetch(connection, query)}

    def every_image_has_vector(self, model_id: int) -> bool:
        """Whether all images have a vector under the model: two counts, where asking for each file takes far longer."""
        with self._read() as connection:
            of_model = select(func.count()).select_from(embeddings).where(embeddings.c.model_id == model_id)
            n_images = connection.execute(select(func.count()).select_from(images)).scalar_one()
            return bool(connection.execute(of_model).scalar_one() == n_images)

    def last_seen(
        self, folder_paths: Sequence[str], model_id: int | None, *, all_have_vectors: bool = False
    ) -> dict[str, str]:
        """The `listing_text` of the files of some folders that were there at the last look.

        Args:
            all_have_vectors: `every_image_has_vector` said so just now.

        Returns:
            By folder. Where an unchanged stat does not settle what a file is, because it could not be used or has no
            vector under the model, its time is missing, so that the text equals no other. Folders without files are
            absent.
        """
        has_vector = files.c.image_id.is_not(None) if all_have_vectors else _has_vector(model_id)
        settled = sa.and_(files.c.skip_reason.is_(None), has_vector)
        time = sa.case((settled, sa.cast(files.c.mtime_ns, sa.Text)), else_="")
        text = files.c.name + "/" + sa.cast(files.c.size, sa.Text) + "/" + time
        # As one text per folder: comparing a row of each file would take longer than the walk. In another order they
        # would be found different, and looked at one by one.
        query = (
            select(folders.c.path, self._dialect.joined(text, "/", files.c.name))
            .join(folders)
            .where(files.c.missing_since.is_(None), folders.c.path.in_(self._dialect.any_of("paths", str)))
            .group_by(folders.c.path)
        )
        with self._read() as connection:
            return dict(_fetch(connection, query, {"paths": self._dialect.many(folder_paths)}))

    def folders_under(self, path: str) -> list[str]:
        """Known folders at or below a path that hold files which are not missing."""
        query = (
            select(folders.c.path)
            .where(_under(folders.c.path, path))
            .where(exists().where(files.c.folder_id == folders.c.id, files.c.missing_since.is_(None)))
        )
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def has_vector(self, digest: bytes, model_id: int) -> bool:
        """Whether the image with a digest has a vector under the model."""
        with self._read() as connection:
            return connection.execute(_vector_of(), {"digest": digest, "model_id": model_id}).first() is not None

    @contextmanager
    def claims(self, model_id: int, *, shared: bool = False) -> Iterator[Claims]:
        """Claims of images to be encoded under a model: nobody else encodes, as nobody else holds the sync lock."""
        yield LoneClaims(lambda digest: self.has_vector(digest, model_id))

    def digests_of(self, paths: Iterable[str]) -> dict[str, bytes]:
        """`digest_of` many paths; those that are not known, or show no image, are left out."""
        names: defaultdict[str, list[str]] = defaultdict(list)
        for folder, name in {os.path.split(path) for path in paths if is_encodable(path)}:
            names[folder].append(name)
        query = select(
            files.c.name, files.c.size, files.c.mtime_ns, files.c.image_id, files.c.checksum, *_of_image
        ).select_from(files.join(folders).join(images))
        found, damaged = {}, []
        with self._read() as connection:
            for folder, row in self._dialect.files_named(connection, names, query):
                path = os.path.join(folder, row[0])
                if is_of_file(folder, *row[:5]) and is_of_content(*row[5:]):
                    found[path] = row[5]
                else:
                    damaged.append(f"what is known of {path}")
        if damaged:
            warn_of_rows(damaged)
        return found

    def images_of(self, digests: Collection[bytes]) -> dict[bytes, int]:
        """Ids of the images with these digests, of those that the library knows."""
        with self._read() as connection:
            return self._dialect.image_ids(connection, digests, verify=True)

    def details_of(self, image_ids: Collection[int]) -> list[FileDetails]:
        """What is known of the files that are there and show one of the images; in no particular order."""
        query = (
            select(
                folders.c.path,
                files.c.name,
                files.c.image_id,
                files.c.size,
                files.c.mtime_ns,
                files.c.checksum,
                *_of_image,
            )
            .select_from(files.join(folders).join(images))
            .where(files.c.missing_since.is_(None), files.c.image_id.in_(self._dialect.any_of("ids", int)))
        )
        found, damaged = [], []
        with self._read() as connection:
            for folder, name, image_id, size, mtime_ns, checksum, *image in _fetch(
                connection, query, {"ids": self._dialect.many(image_ids)}
            ):
                path = os.path.join(folder, name)
                if is_of_file(folder, name, size, mtime_ns, image_id, checksum) and is_of_content(*image):
                    found.append(FileDetails(path, image_id, size, mtime_ns, *image[:3]))
                else:
                    damaged.append(f"what is known of {path}")
        if damaged:
            warn_of_rows(damaged)
        return found

    def image(self, image_id: int) -> ImageRecord | None:
        """An image by its id, without its vector; None if there is none."""
        with self._read() as connection:
            rows = _fetch(connection, select(*_of_image).where(images.c.id == image_id))
        if rows and not is_of_content(*rows[0]):
            warn_of_rows([f"what is known of image {image_id}"])
            return None
        return ImageRecord(*rows[0][:4]) if rows else None

    # --- facts --------------------------------------------------------------------------------------------------------

    def facts_of(self, image_ids: Collection[int]) -> dict[int, Facts]:
        """What the metadata of images says, by their ids; those of which it was never read are left out."""
        damaged: list[str] = []
        with self._read() as connection:
            found = facts_of_files.of_images(connection, self._dialect, image_ids, damaged)
        if damaged:
            warn_of_rows(damaged)
        return {image_id: facts for image_id, (was_read, facts) in found.items() if was_read}

    def facts_of_files(self, image_ids: Collection[int]) -> dict[str, Facts]:
        """The facts of the files that show some images, by path; see the protocol."""
        with self._read() as connection:
            return facts_of_files.of_files(connection, self._dialect, image_ids)

    def facts_of_sidecars(self, paths: Collection[str]) -> dict[str, Facts]:
        """What sidecars say, by their paths; see the protocol."""
        with self._read() as connection:
            return facts_of_files.of_sidecars(connection, self._dialect, paths)

    def facts_table(self, known: FactsTable | None = None) -> FactsTable:
        """The facts of all files that are there; see the protocol."""
        with self._read() as connection:
            return facts_of_files.table(connection, self._dialect, known)

    def without_facts(self, *, after: int, limit: int, again: bool = False) -> list[FileDetails]:
        """Files of images whose metadata was never read; see the protocol."""
        ids = _without_facts(again).where(images.c.id > after).order_by(images.c.id).limit(limit)
        with self._read() as connection:
            these = list(connection.execute(ids).scalars())
        return sorted((f for f in self.details_of(these) if f.size != NEVER_SEEN), key=lambda f: (f.image_id, f.path))

    def count_without_facts(self, *, again: bool = False) -> int:
        """Of how many images there are such files; see the protocol."""
        with self._read() as connection:
            # Two counts, where asking for each image takes far longer.
            n_images, n_facts = (
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (images, image_facts)
            )
            if n_images == n_facts and not again:
                return 0
            return int(
                connection.execute(select(func.count()).select_from(_without_facts(again).subquery())).scalar_one()
            )

    def save_facts(self, told: Mapping[int, Facts]) -> None:
        """Store what the metadata of images says; see the protocol."""
        with self._write("store facts of photos") as connection:
            these = {"ids": self._dialect.many(told)}
            any_of = self._dialect.any_of("ids", int)
            there = {*connection.execute(select(images.c.id).where(images.c.id.in_(any_of)), these).scalars()}
            connection.execute(delete(image_facts).where(image_facts.c.image_id.in_(any_of)), these)
            before = revisions_of(connection)[1]
            self._add_facts(
                connection, {ident: facts for ident, facts in told.items() if ident in there}, before=before
            )

    def has_sidecars(self) -> bool:
        """Whether facts of any sidecar are stored."""
        with self._read() as connection:
            return connection.execute(select(sidecar_facts.c.id).limit(1)).first() is not None

    def last_sidecars(self, folder_paths: Sequence[str]) -> dict[str, str]:
        """The `listing_text` of the sidecars of some folders; see the protocol."""
        with self._read() as connection:
            return facts_of_files.last_sidecars(connection, self._dialect, folder_paths)

    def save_sidecar_facts(self, told: Sequence[tuple[Candidate, Facts | None]]) -> None:
        """Store what sidecars say; see the protocol."""
        with self._write("store what sidecars say") as connection:
            ids = folder_ids(connection, self._dialect, {file.folder for file, _ in told})
            revision = facts_of_files.touch(connection, revisions_of(connection)[1])
            wanted = defaultdict(list)
            for file, _ in told:
                wanted[ids[file.folder]].append(file.name)
            query = select(sidecar_facts.c.id).where(
                sidecar_facts.c.folder_id == sa.bindparam("folder"),
                sidecar_facts.c.name.in_(self._dialect.any_of("names", str)),
            )
            for folder_id, names in wanted.items():
                connection.execute(
                    delete(sidecar_facts).where(sidecar_facts.c.id.in_(query)),
                    {"folder": folder_id, "names": self._dialect.many(names)},
                )
            rows = [row_of_sidecar(ids[file.folder], file, facts, revision) for file, facts in told]
            self._dialect.add_rows(connection, sidecar_facts, OF_SIDECAR, rows)

    # --- files: what is learned ---------------------------------------------------------------------------------------

    def save(
        self, outcomes: Sequence[FileOutcome], model_id: int | None, *, since: str = "", receipt: str = ""
    ) -> Counter[str]:
        """Store one batch in one transaction, with a receipt if that has a name.

        Returns:
            How many files were ``added``, ``changed``, ``moved``, ``unchanged`` and ``skipped``; and ``refound``: how
            many of the moved ones had been marked as missing after `since`.
        """
        by_digest = _by_digest([o.image for o in outcomes if o.image is not None])
        with self._storing("store photos", by_digest, model_id, [o.file for o in outcomes]) as (connection, there):
            self._add_records(connection, there, by_digest, model_id)
            counts: Counter[str] = Counter()
            new: list[NewFile] = []
            again: dict[int, FileState] = {}
            forgotten: list[int] = []
            vanished = _besides(there.vanished, {file.id for file in there.files.values()})
            for outcome in outcomes:
                row = there.files.get(outcome.file.path)
                image_id = None if outcome.image is None else there.image_ids[outcome.image.digest]
                reason = None if outcome.skip_reason is None else str(outcome.skip_reason)
                folder, name, size, mtime_ns = outcome.file
                checksum = file_checksum(folder, name, size, mtime_ns, image_id)
                if row is not None:
                    again[row.id] = size, mtime_ns, image_id, reason, outcome.skip_detail, checksum
                else:
                    folder_id = there.folder_ids[folder]
                    new.append((folder_id, name, size, mtime_ns, image_id, reason, outcome.skip_detail, checksum))
                if image_id is None:
                    counts["skipped"] += 1
                elif row is not None and not row.missing:
                    counts["unchanged" if row.image_id == image_id else "changed"] += 1
                elif row is None and vanished[image_id]:
                    # The last one to vanish is the one that has turned up under a new path.
                    gone = vanished[image_id].pop()
                    forgotten.append(gone.id)
                    counts["moved"] += 1
                    counts["refound"] += gone.missing_since >= since
                else:
                    counts["added"] += 1
            if forgotten:
                these = {"ids": self._dialect.many(forgotten)}
                connection.execute(delete(files).where(files.c.id.in_(self._dialect.any_of("ids", int))), these)
            put_files(connection, self._dialect, new, again, touched=there.folder_ids.values(), revision=there.revision)
            room.count_uploads(connection, counts["changed"])
            if receipt:
                receipts.keep(connection, receipt, Receipt.of(outcomes, counts))
        return counts

    @contextmanager
    def _storing(
        self,
        action: str,
        images: Mapping[bytes, ImageRecord],
        model_id: int | None,
        files: Sequence[Candidate] = (),
    ) -> Iterator[tuple[Connection, There]]:
        """The transaction that stores images, by their digests, and files; with what the library knows of them."""
        dialect = self._dialect
        with self._write(action) as connection:
            revision, facts_revision = revisions_of(connection)
            image_ids, new = add_images(connection, dialect, images)
            old = [image_ids[d] for d, r in images.items() if r.vector is not None and image_ids[d] not in new]
            there = There(
                image_ids=image_ids,
                new=new,
                with_vector=with_vector(connection, dialect, old, model_id),
                files=known(connection, dialect, files),
                vanished=_vanished_files(connection, dialect, image_ids.values()),
                folder_ids=folder_ids(connection, dialect, {file.folder for file in files}),
                revision=revision,
                facts_revision=facts_revision,
            )
            yield connection, there

    def receipts(self, name: str) -> list[Receipt]:
        """What was stored under a name; see the protocol."""
        with self._read() as connection:
            return list(receipts.find(connection, name))

    def take_receipts(self, name: str) -> list[Receipt]:
        """The same, and forget it, with all that was left by syncs that were killed."""
        with self._write("count what was stored") as connection:
            found = list(receipts.find(connection, name))
            receipts.forget(connection, name)
        return found

    def mark_missing(self, folder: str, names: Collection[str] | None = None) -> int:
        """Mark files of one folder as vanished; None for all of them. Their vectors stay. Returns how many.

        What was never seen cannot vanish: imported photos stay.
        """
        here = select(folders.c.id).where(folders.c.path == folder).scalar_subquery()
        vanish = (
            update(files)
            .where(files.c.folder_id == here, files.c.missing_since.is_(None), files.c.size != NEVER_SEEN)
            .values(missing_since=now())
        )
        parameters = {}
        if names is not None:
            vanish = vanish.where(files.c.name.in_(self._dialect.any_of("names", str)))
            parameters["names"] = self._dialect.many(names)
        with self._write("record vanished files") as connection:
            marked = connection.execute(vanish, parameters).rowcount
            if marked:
                these = connection.execute(select(folders.c.id).where(folders.c.path == folder)).scalars()
                unseal(connection, self._dialect, Kind.FOLDER, map(str, these))
                touch_files(connection)
        return marked

    def seal_folders(self) -> None:
        """Seal what the folders hold that files came into or went from since. After that `Reads.files` notices what is
        not any more as it was.
        """
        with self._read() as connection:
            if connection.execute(_unsealed().limit(1)).first() is None:
                return
        with self._write("seal what folders hold") as connection:
            paths = {str(row[0]): row[1] for row in connection.execute(_unsealed())}
            checksums = {
                ("", ident): checksum for ident, checksum in listings(connection, self._dialect, paths).items()
            }
            put_seals(connection, self._dialect, Kind.FOLDER, checksums)

    def save_images(self, records: Sequence[ImageRecord], model_id: int) -> None:
        """Store images that are no files of the library, with their vectors."""
        by_digest = _by_digest(records)
        with self._storing("store image vectors", by_digest, model_id) as (connection, there):
            self._add_records(connection, there, by_digest, model_id)
            room.count_uploads(connection, len(records))

    def _add_records(
        self, connection: Connection, there: There, by_digest: Mapping[bytes, ImageRecord], model_id: int | None
    ) -> None:
        """Store what is not there yet of images that are."""
        ids = there.image_ids
        cut_short = [
            (ids[digest], record.incomplete)
            for digest, record in by_digest.items()
            if record.incomplete is not None and ids[digest] in there.new
        ]
        self._dialect.add_rows(connection, incomplete_images, ("image_id", "detail"), cut_short)
        told = {ids[digest]: record.facts for digest, record in by_digest.items() if record.facts is not None}
        self._add_facts(connection, told, before=there.facts_revision)
        vectors = {ids[digest]: record.vector for digest, record in by_digest.items() if record.vector is not None}
        add_vectors(connection, self._dialect, vectors, to_blob, model_id, but=there.with_vector)

    def _add_facts(self, connection: Connection, told: Mapping[int, Facts], *, before: int) -> None:
        """Store what the metadata of images says; what is there stays.

        Args:
            before: the revision of facts.
        """
        if told:
            revision = facts_of_files.touch(connection, before)
            rows = [row_of_image(image_id, facts, revision) for image_id, facts in told.items()]
            self._dialect.add_rows(connection, image_facts, OF_IMAGE, rows, unless_there=True)

    # --- vectors ------------------------------------------------------------------------------------------------------

    def all_prompt_vectors(self, model: ModelRow) -> FloatArray:
        """Every cached prompt's vector under a model, float32 (n, dim); damaged ones are left out."""
        with self._read() as connection:
            blobs = [row.vector for row in connection.execute(_prompts_of(model)) if _is_whole(row, model)]
        return from_blobs(blobs, model, self._place)

    # --- snapshots of the index ---------------------------------------------------------------------------------------

    def save_snapshot(self, model_id: int, snapshot: SnapshotRow) -> SnapshotRow | None:
        """Record a model's snapshot; returns the one that it replaces."""
        with self._write("record the index") as connection:
            recorded = select(*(snapshots.c[name] for name in SNAPSHOT_COLUMNS)).where(snapshots.c.model_id == model_id)
            replaced = connection.execute(recorded).first()
            # What a damaged record says of its file is not believed.
            sealed = seals_of(connection, Kind.SNAPSHOT).get(("", str(model_id)))
            if replaced is not None and seal((model_id, *replaced[:-1])) != sealed:
                replaced = None
            connection.execute(delete(snapshots).where(snapshots.c.model_id == model_id))
            connection.execute(insert(snapshots).values(model_id=model_id, created_at=now(), **asdict(snapshot)))
            reseal(connection, self._dialect, Kind.SNAPSHOT, [model_id])
        return None if replaced is None else SnapshotRow(*replaced)

    def mark_verified(self, file: str, verified: str) -> None:
        """Remember what an index file looked like when its checksum was found to be right."""
        with self._write("record that the index was verified") as connection:
            connection.execute(update(snapshots).where(snapshots.c.file == file).values(verified=verified))

    # --- counting, checking, pruning ----------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Files, images and their states, for `status`."""
        present = files.c.missing_since.is_(None)
        with self._read() as connection:

            def count(query: sa.Select[Any]) -> int:
                return int(connection.execute(query).scalar_one())

            all_files = select(func.count()).select_from(files)
            with_image = count(all_files.where(present, files.c.image_id.is_not(None)))
            shown = count(select(func.count(func.distinct(files.c.image_id))).where(present))
            return {
                "files": with_image,
                "images": shown,
                "duplicates": with_image - shown,
                "skipped": count(all_files.where(present, files.c.skip_reason.is_not(None))),
                "missing": count(all_files.where(files.c.missing_since.is_not(None))),
                "incomplete": count(
                    all_files.where(present, files.c.image_id.in_(select(incomplete_images.c.image_id)))
                ),
            }

    def incomplete(self) -> list[IncompletePhoto]:
        """Files that were read although they are cut short, by folder and name."""
        query = (
            select(folders.c.path, files.c.name, incomplete_images.c.detail)
            .select_from(files.join(folders))
            .join(incomplete_images, incomplete_images.c.image_id == files.c.image_id)
            .where(files.c.missing_since.is_(None))
        )
        with self._read() as connection:
            rows = sorted(tuple(row) for row in connection.execute(query))
        return [IncompletePhoto(os.path.join(folder, name), detail) for folder, name, detail in rows]

    def skip_counts(self) -> dict[str, int]:
        """How many files are skipped for which reason, the most frequent first."""
        query = (
            select(files.c.skip_reason, func.count())
            .where(files.c.missing_since.is_(None), files.c.skip_reason.is_not(None))
            .group_by(files.c.skip_reason)
            .order_by(func.count().desc(), files.c.skip_reason)
        )
        with self._read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def model_sizes(self, model: ModelRow) -> dict[str, int]:
        """Images, prompts and bytes of vectors that the library holds under a model."""
        with self._read() as connection:
            n_images, n_prompts = (
                connection.execute(select(func.count()).select_from(t).where(t.c.model_id == model.id)).scalar_one()
                for t in (embeddings, prompts)
            )
        return {
            "images": n_images,
            "prompts": n_prompts,
            "bytes": (n_images + n_prompts) * model.info.dim * VECTOR_DTYPE.itemsize,
        }

    def bad_vectors(self, model: ModelRow) -> dict[str, list[int]]:
        """Ids of images and of prompts whose stored vector is another one than was stored, or no finite unit vector of
        the right length.
        """
        of_images = (
            select(embeddings.c.image_id, embeddings.c.vector, embeddings.c.checksum)
            .where(embeddings.c.model_id == model.id)
            .order_by(embeddings.c.seq)
        )
        with self._read() as connection, self._dialect.legible(connection):
            in_parts = connection.execution_options(yield_per=4096)
            return {
                "images": [
                    image_id
                    for image_id, blob, checksum in in_parts.execute(of_images)
                    if not (is_of_image(blob, model.id, image_id, checksum) and _is_unit_vector(blob, model))
                ],
                "prompts": [
                    row.id
                    for row in in_parts.execute(_prompts_of(model))
                    if not (_is_whole(row, model) and _is_unit_vector(row.vector, model))
                ],
            }

    def remove_vectors(
        self,
        model_id: int,
        bad: Mapping[str, Sequence[int]],
        *,
        instead: Mapping[int, FloatArray] | None = None,
    ) -> None:
        """Forget damaged vectors, so that they are made anew.

        Args:
            instead: the right vectors of some of these images, where somebody has kept them.
        """
        with self._write("remove damaged vectors") as connection:
            of_model = embeddings.c.model_id == model_id
            these = embeddings.c.image_id.in_(self._dialect.any_of("ids", int))
            connection.execute(delete(embeddings).where(of_model, these), {"ids": self._dialect.many(bad["images"])})
            these = prompts.c.id.in_(self._dialect.any_of("ids", int))
            connection.execute(delete(prompts).where(these), {"ids": self._dialect.many(bad["prompts"])})
            connection.execute(update(models).where(models.c.id == model_id).values(generation=models.c.generation + 1))
            if instead:
                add_vectors(connection, self._dialect, instead, to_blob, model_id)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What grows, with how many there are of it and how many bytes these take."""
        with self._read() as connection:
            return room.sizes(connection)

    def make_room(self, *, prompt_days: int | None = None, upload_bytes: int) -> dict[str, int]:
        """Forget what nobody has asked for in a long time, and what only spared work; see the protocol."""

        def due(connection: Connection) -> tuple[list[int], bool]:
            old = room.forgettable(connection, Forgettable(unused_days=prompt_days))
            return [ident for ident, _ in old], room.may_be_too_many(connection, upload_bytes)

        with self._read() as connection:
            if due(connection) == ([], False):
                return {"prompts": 0, "images": 0}
        with self._write("make room") as connection:
            old, too_many = due(connection)
            room.delete_prompts(connection, self._dialect, old)
            n_images = room.forget_uploads(connection, self._dialect, upload_bytes) if too_many else 0
        return {"prompts": len(old), "images": n_images}

    def prunable(
        self, model_ids: Sequence[int] = (), under: Sequence[str] = (), *, prompts: Forgettable = NO_PROMPTS
    ) -> dict[str, int]:
        """What `prune` with the same arguments would forget."""
        with self._read() as connection:
            return self._counted(connection, model_ids, under, prompts)[0]

    def prune(
        self, model_ids: Sequence[int] = (), under: Sequence[str] = (), *, prompts: Forgettable = NO_PROMPTS
    ) -> dict[str, int]:
        """Forget vanished files, images that no file shows, their vectors, and whole models; see the protocol."""
        with self._write("prune") as connection:
            removed, unsaved = self._counted(connection, model_ids, under, prompts)
            prunable = _prunable(model_ids, under)
            shrunk = select(embeddings.c.model_id).where(prunable["vectors"][1]).distinct()
            room.count_deletion(connection, list(connection.execute(shrunk).scalars()))
            if model_ids:
                for of_model in (snapshots, temperatures, derived):
                    connection.execute(delete(of_model).where(of_model.c.model_id.in_(model_ids)))
            unseen = select(images.c.id).where(prunable["images"][1])
            for of_image in (incomplete_images, image_facts):
                connection.execute(delete(of_image).where(of_image.c.image_id.in_(unseen)))
            for table, which in prunable.values():
                connection.execute(delete(table).where(which))
            room.delete_prompts(connection, self._dialect, unsaved)
            connection.execute(delete(folders).where(~exists().where(files.c.folder_id == folders.c.id)))
            connection.execute(delete(roots).where(_under_any(roots.c.path, under)))
            set_setting(connection, room.UPLOADS, "0")
            touch_files(connection)
            self._unseal_pruned(connection, model_ids, under)
        self.seal_folders()
        return removed

    def _unseal_pruned(self, connection: Connection, model_ids: Sequence[int], under: Sequence[str]) -> None:
        of_models = list(map(str, model_ids))
        for kind in (Kind.MODEL, Kind.SNAPSHOT, Kind.TEMPERATURE):
            unseal(connection, self._dialect, kind, of_models)
        for ident in of_models:
            of_model = (seals.c.kind == str(Kind.DERIVED)) & seals.c.part.startswith(f"{ident}/", autoescape=True)
            connection.execute(delete(seals).where(of_model))
        gone = (seals.c.kind == str(Kind.ROOT)) & _under_any(seals.c.key, under)
        connection.execute(delete(seals).where(gone))
        there = select(sa.cast(folders.c.id, sa.Text))
        connection.execute(delete(seals).where(seals.c.kind == str(Kind.FOLDER), seals.c.key.not_in(there)))
        for path in under:  # some of what these folders hold may be left
            these = connection.execute(select(folders.c.id).where(_under(folders.c.path, path))).scalars()
            unseal(connection, self._dialect, Kind.FOLDER, map(str, these))

    def _counted(
        self,
        connection: Connection,
        model_ids: Sequence[int],
        under: Sequence[str],
        which: Forgettable,
    ) -> tuple[dict[str, int], list[int]]:
        """How many rows of each kind would go, with the bytes of vectors and prompts; and ids of prompts among them."""
        prunable = _prunable(model_ids, under)
        counts = {
            name: int(connection.execute(select(func.count()).select_from(table).where(which)).scalar_one())
            for name, (table, which) in prunable.items()
        }
        unsaved = dict(room.forgettable(connection, which, besides=model_ids))
        of_models = prompts.c.model_id.in_(model_ids)
        of_models_bytes = connection.execute(select(func.sum(room.prompt_bytes())).where(of_models)).scalar() or 0
        length = func.sum(func.length(embeddings.c.vector))
        vector_bytes = connection.execute(select(length).where(prunable["vectors"][1])).scalar() or 0
        counts["prompts"] += len(unsaved)
        counts |= {"vector_bytes": int(vector_bytes), "prompt_bytes": int(of_models_bytes) + sum(unsaved.values())}
        return counts, list(unsaved)


_of_image = (images.c.digest, images.c.width, images.c.height, images.c.format, images.c.checksum)


# --- pieces of queries ------------------------------------------------------------------------------------------------


def _recorded_as(connection: Connection, dialect: Dialect, values: Mapping[str, Any]) -> int | None:
    """The id under which a model is recorded; None if it is not. A damaged record is written anew where its fingerprint
    is this model's, or its seal proves that it was.
    """
    found, sealed = rows_of(connection, Kind.MODEL), seals_of(connection, Kind.MODEL)
    for which, (ident, *row) in found.items():
        right = seal((ident, *values.values()))
        if row == list(values.values()) or right == sealed.get(which) or row[0] == values["fingerprint"]:
            if seal((ident, *row)) != right:
                connection.execute(update(models).where(models.c.id == ident).values(**values))
            put_seals(connection, dialect, Kind.MODEL, {which: right})
            return int(ident)
    return None


def _without_facts(again: bool) -> sa.Select[Any]:
    """Ids of images with files that are there, whose metadata was never read.

    Args:
        again: also of those of which nothing could be read.
    """
    seen = exists().where(files.c.image_id == images.c.id, files.c.missing_since.is_(None), files.c.size != NEVER_SEEN)
    missing: sa.ColumnElement[bool] = image_facts.c.image_id.is_(None)
    if again:
        nothing = (image_facts.c[name].is_(None) for name in FACT_VALUES if name != "keywords")
        missing = sa.or_(missing, sa.and_(*nothing, image_facts.c.keywords == "[]"))
    return select(images.c.id).select_from(images.outerjoin(image_facts)).where(missing, seen)


def _has_default(connection: Connection) -> bool:
    """Whether the default model is known, and is one of those that are there."""
    chosen = connection.execute(select(settings.c.value).where(settings.c.key == "default_model")).scalar()
    known = seals_of(connection, Kind.DEFAULT_MODEL).get(("", ""))
    return known == seal((chosen,)) and (("", str(chosen)) in rows_of(connection, Kind.MODEL))


def _under(column: sa.Column[str], folder: str) -> sa.ColumnElement[bool]:
    # Not LIKE: SQLite's ignores the case of ASCII letters, and file names do not. Texts are compared by code point.
    below = os.path.join(folder, "")
    behind = below[:-1] + chr(ord(below[-1]) + 1)
    return sa.or_(column == folder, sa.and_(column >= below, column < behind))


def _under_any(column: sa.Column[str], paths: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.or_(sa.false(), *(_under(column, path) for path in paths))


def _unsealed() -> sa.Select[Any]:
    """Ids and paths of folders whose files have no seal."""
    sealed = exists().where(
        seals.c.kind == str(Kind.FOLDER), seals.c.part == "", seals.c.key == sa.cast(folders.c.id, sa.Text)
    )
    return select(folders.c.id, folders.c.path).where(~sealed)


def _has_vector(model_id: int | None) -> sa.ColumnElement[bool]:
    """Whether a row of `files` shows an image that has a vector under a model."""
    if model_id is None:
        return sa.false()
    return exists().where(embeddings.c.model_id == model_id, embeddings.c.image_id == files.c.image_id)


def _prompts_of(model: ModelRow) -> sa.Select[Any]:
    truncated = sa.type_coerce(prompts.c.truncated, sa.Integer).label("truncated")
    return (
        select(prompts.c.id, prompts.c.text, prompts.c.vector, truncated, prompts.c.checksum)
        .where(prompts.c.model_id == model.id)
        .order_by(prompts.c.id)
    )


def _is_whole(row: sa.Row[Any], model: ModelRow) -> bool:
    """Whether a row of `_prompts_of` is as it was stored."""
    return is_of_prompt(row.vector, model.id, row.text, row.truncated, row.checksum)


def _is_unit_vector(blob: bytes, model: ModelRow) -> bool:
    if len(blob) != model.info.dim * VECTOR_DTYPE.itemsize:
        return False
    norm = float(np.linalg.norm(np.frombuffer(blob, dtype=VECTOR_DTYPE).astype(np.float64)))
    return abs(norm - 1.0) < 1e-3  # NaN compares false


@cache
def _vector_of() -> sa.Select[Any]:
    """Made once: a sync asks it for every file that it reads, and making it takes longer than running it."""
    return (
        select(embeddings.c.seq)
        .join(images, images.c.id == embeddings.c.image_id)
        .where(images.c.digest == sa.bindparam("digest"), embeddings.c.model_id == sa.bindparam("model_id"))
    )


def _fetch(
    connection: Connection, query: sa.Select[Any], parameters: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """All rows as the driver gives them.

    For questions with a row per file: SQLAlchemy's rows take twice as long to make and to unpack, and their columns
    are texts and whole numbers, of which it would convert nothing.
    """
    cursor = connection.execute(query, parameters).cursor
    assert cursor is not None
    return list(cursor.fetchall())


def _prunable(model_ids: Sequence[int], under: Sequence[str]) -> dict[str, tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Tables and conditions, in an order in which no deletion leaves a dangling reference."""
    forgotten = select(folders.c.id).where(_under_any(folders.c.path, under))
    gone = sa.or_(files.c.missing_since.is_not(None), files.c.folder_id.in_(forgotten))
    shown = exists().where(files.c.image_id == images.c.id, ~gone)
    orphans = select(images.c.id).where(~shown)
    return {
        "files": (files, gone),
        "vectors": (
            embeddings,
            sa.or_(embeddings.c.image_id.in_(orphans), embeddings.c.model_id.in_(model_ids)),
        ),
        "images": (images, ~shown),
        "prompts": (prompts, prompts.c.model_id.in_(model_ids)),
        "models": (models, models.c.id.in_(model_ids)),
    }


def _vanished_files(connection: Connection, dialect: Dialect, image_ids: Iterable[int]) -> dict[int, list[Vanished]]:
    """Vanished files that showed the images, by image, the last to vanish last."""
    query = (
        select(files.c.image_id, files.c.id, files.c.missing_since)
        .where(files.c.image_id.in_(dialect.any_of("ids", int)), files.c.missing_since.is_not(None))
        .order_by(files.c.missing_since)
    )
    found: defaultdict[int, list[Vanished]] = defaultdict(list)
    for image_id, *file in connection.execute(query, {"ids": dialect.many(image_ids)}):
        found[image_id].append(Vanished(*file))
    return found


def _besides(vanished: Mapping[int, list[Vanished]], ids: Collection[int]) -> defaultdict[int, list[Vanished]]:
    """Without the files with some ids."""
    return defaultdict(list, {i: [file for file in gone if file.id not in ids] for i, gone in vanished.items()})


def _by_digest(records: Sequence[ImageRecord]) -> dict[bytes, ImageRecord]:
    """One record for each image, in their order; with its vector if one of them has it."""
    found = {record.digest: record for record in records}
    found.update((record.digest, record) for record in records if record.vector is not None)
    return found
