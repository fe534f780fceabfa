"""What the metadata of images and sidecars says: when, where and with what photos were taken."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a server whole numbers have 64 bits, texts are compared by code point, and rows without a number of their own
    # get one.
    on_server = op.get_bind().dialect.name == "postgresql"
    number = sa.BigInteger() if on_server else sa.Integer()
    collation = "C" if on_server else None
    text = sa.Text(collation=collation)

    def said() -> list[sa.Column[Any]]:
        return [
            sa.Column("taken_us", number),
            sa.Column("offset_s", number),
            sa.Column("taken_from", sa.String(8, collation=collation)),
            sa.Column("make", text),
            sa.Column("camera", text),
            sa.Column("lens", text),
            sa.Column("focal_length_mm", sa.Float(53)),
            sa.Column("aperture", sa.Float(53)),
            sa.Column("exposure_s", sa.Float(53)),
            sa.Column("iso", number),
            sa.Column("latitude", sa.Float(53)),
            sa.Column("longitude", sa.Float(53)),
            sa.Column("altitude_m", sa.Float(53)),
            sa.Column("orientation", number),
            sa.Column("animated", number),
            sa.Column("rating", sa.Float(53)),
            sa.Column("keywords", text, nullable=False),
            sa.Column("caption", text),
            sa.Column("checksum", number, nullable=False),
            sa.Column("revision", number, nullable=False),
        ]

    op.create_table(
        "image_facts",
        sa.Column("image_id", number, nullable=False),
        *said(),
        *([sa.Column("arrival", sa.BigInteger(), sa.Identity(), nullable=False)] if on_server else []),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_image_facts_image_id_images"),
        sa.PrimaryKeyConstraint("image_id", name="pk_image_facts"),
    )
    op.create_index("ix_image_facts_revision", "image_facts", ["revision"])
    op.create_table(
        "sidecar_facts",
        sa.Column("id", number, *([sa.Identity()] if on_server else []), nullable=False),
        sa.Column("folder_id", number, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("size", number, nullable=False),
        sa.Column("mtime_ns", number, nullable=False),
        *said(),
        sa.ForeignKeyConstraint(
            ["folder_id"], ["folders.id"], name="fk_sidecar_facts_folder_id_folders", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sidecar_facts"),
        sa.UniqueConstraint("folder_id", "name", name="uq_sidecar_facts_folder_id_name"),
    )
    op.create_index("ix_sidecar_facts_revision", "sidecar_facts", ["revision"])


def downgrade() -> None:
    raise NotImplementedError("older versions would store images without their facts")
