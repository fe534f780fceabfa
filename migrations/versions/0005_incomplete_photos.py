"""Photos that were read although they are cut short."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incomplete_images",
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", name="pk_incomplete_images"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_incomplete_images_image_id_images"),
    )


def downgrade() -> None:
    raise NotImplementedError("older versions read no photo that is cut short")
