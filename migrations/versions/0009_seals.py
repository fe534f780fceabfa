"""A checksum of each row that decides answers, and of what each folder holds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# By kind: its rows, with the part and the key of each, and what is sealed.
_SEALED = {
    "model": "SELECT '', id, id, fingerprint, name, pretrained, \"precision\", decode, icc, transparency, dim, logit_scale,"
    " logit_bias, context_length, image_height, image_width, weights_sha256 FROM models",
    "default_model": "SELECT '', '', value FROM settings WHERE key = 'default_model'",
    "root": "SELECT '', path, path FROM roots",
    "snapshot": "SELECT '', model_id, model_id, file, watermark, n_vectors, generation, sha256, n_cells FROM snapshots",
    "label_set": "SELECT name, version, name, version, body, saved_at FROM label_sets",
    "template_set": "SELECT '', name, name, body FROM template_sets",
    "correction": "SELECT label_set, id, label_set, id, batch, digest, label, is_not FROM corrections",
    "threshold": "SELECT label_set, label, label_set, label, rate, chosen, created_at FROM thresholds",
    "temperature": "SELECT '', model_id, model_id, temperature, fit FROM temperatures",
    "derived": "SELECT model_id || '/' || kind, key, model_id, kind, key, body FROM derived",
    "run": "SELECT '', key, key, document, created_at FROM runs",
    "sidecar": "SELECT '', path, path, original, written_sha256, tags, written_at FROM sidecars",
}


def _seal(values: Iterable[object]) -> int:
    checksum = 0
    for value in values:
        if value is None:
            mark, content = b"n", b""
        elif isinstance(value, str):
            mark, content = b"t", value.encode("utf-8", "surrogatepass")
        elif isinstance(value, float):
            mark, content = b"f", struct.pack("<d", value)
        elif isinstance(value, int):
            mark, content = b"i", b"%d" % value
        else:
            mark, content = b"b", bytes(value)
        checksum = zlib.crc32(content, zlib.crc32(b"%b%d:" % (mark, len(content)), checksum))
    return checksum


def _of_file(folder: str, name: str, size: int, mtime_ns: int, image_id: int | None) -> int:
    numbers = size ^ size >> 32 ^ mtime_ns ^ mtime_ns >> 32 ^ (image_id or 0) * 0x9E3779B1
    return zlib.crc32(f"{name}/{folder}".encode("utf-8", "surrogatepass"), numbers & 0xFFFFFFFF)


def _of_image(digest: bytes, width: int, height: int, container: str) -> int:
    return zlib.crc32(digest, zlib.crc32(container.encode(), (width << 16 ^ height) & 0xFFFFFFFF))


def upgrade() -> None:
    op.create_table(
        "seals",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("checksum", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "part", "key", name=op.f("pk_seals")),
        sqlite_with_rowid=False,
    )
    for table in ("files", "images"):
        op.add_column(table, sa.Column("checksum", sa.Integer(), nullable=False, server_default="0"))
    # What is there is all that can be known of what earlier versions wrote.
    connection = op.get_bind()
    driver = connection.connection.driver_connection
    driver.create_function("zsindex_of_file", 5, _of_file, deterministic=True)
    driver.create_function("zsindex_of_image", 4, _of_image, deterministic=True)
    op.execute("UPDATE images SET checksum = zsindex_of_image(digest, width, height, format)")
    op.execute(
        "UPDATE files SET checksum = zsindex_of_file((SELECT path FROM folders WHERE id = folder_id), name, size,"
        " mtime_ns, image_id)"
    )
    insert = "INSERT INTO seals (kind, part, key, checksum) VALUES (?, ?, ?, ?)"
    for kind, query in _SEALED.items():
        rows = driver.execute(query).fetchall()
        driver.executemany(insert, ((kind, str(part), str(key), _seal(values)) for part, key, *values in rows))
    for ident, path in driver.execute("SELECT id, path FROM folders").fetchall():
        held = driver.execute(
            "SELECT name, image_id FROM files WHERE folder_id = ? AND missing_since IS NULL AND image_id IS NOT NULL"
            " ORDER BY name",
            (ident,),
        ).fetchall()
        names, image_ids = "\0".join(name for name, _ in held), ",".join(str(image_id) for _, image_id in held)
        driver.execute(insert, ("folder", "", str(ident), _seal((path, names, image_ids))))


def downgrade() -> None:
    raise NotImplementedError("older versions would store rows without a checksum")
