"""A checksum of each stored vector, of images and of prompts."""

from __future__ import annotations

import zlib

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _of_image(vector: bytes, model_id: int, image_id: int) -> int:
    return zlib.crc32(vector, (image_id ^ model_id << 24) & 0xFFFFFFFF)


def _of_prompt(vector: bytes, model_id: int, text: bytes, truncated: int) -> int:
    return zlib.crc32(vector, zlib.crc32(text, (model_id << 1 | truncated) & 0xFFFFFFFF))


def upgrade() -> None:
    # A column at the end, not a new table: rows with their vectors may be gigabytes, and only the rows are written.
    for table in ("embeddings", "prompts"):
        op.add_column(table, sa.Column("checksum", sa.Integer(), nullable=False, server_default="0"))
    connection = op.get_bind()
    driver = connection.connection.driver_connection
    driver.create_function("zsindex_of_image", 3, _of_image, deterministic=True)
    driver.create_function("zsindex_of_prompt", 4, _of_prompt, deterministic=True)
    # What is there is all that can be known of the vectors of earlier versions.
    op.execute("UPDATE embeddings SET checksum = zsindex_of_image(vector, model_id, image_id)")
    op.execute("UPDATE prompts SET checksum = zsindex_of_prompt(vector, model_id, CAST(text AS BLOB), truncated)")


def downgrade() -> None:
    raise NotImplementedError("older versions would store vectors without a checksum")
