"""Snapshots that are grouped into cells, and that need not be read through at each opening."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEPT = "model_id, file, watermark, n_vectors, generation, sha256, created_at"


def upgrade() -> None:
    # Not by adding columns: a library that was upgraded and a new one shall have the same definitions.
    op.rename_table("snapshots", "former_snapshots")
    op.create_table(
        "snapshots",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("watermark", sa.Integer(), nullable=False),
        sa.Column("n_vectors", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("n_cells", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("verified", sa.Text()),
        sa.PrimaryKeyConstraint("model_id", name="pk_snapshots"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_snapshots_model_id_models"),
    )
    op.execute(f"INSERT INTO snapshots ({KEPT}) SELECT {KEPT} FROM former_snapshots")
    op.drop_table("former_snapshots")


def downgrade() -> None:
    raise NotImplementedError("older versions cannot read the snapshots of this one")
