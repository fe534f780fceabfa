"""What the metadata of images says: when, where and with what they were taken."""

from __future__ import annotations

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
    op.create_table(
        "image_facts",
        sa.Column("image_id", number, nullable=False),
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
        *([sa.Column("arrival", sa.BigInteger(), sa.Identity(), nullable=False)] if on_server else []),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_image_facts_image_id_images"),
        sa.PrimaryKeyConstraint("image_id", name="pk_image_facts"),
    )


def downgrade() -> None:
    raise NotImplementedError("older versions would store images without their facts")
