"""How a model's photos are rendered: what colour profiles and transparency do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEPT = (
    'id, fingerprint, name, pretrained, "precision", decode, dim, logit_scale, logit_bias, context_length, image_height,'
    " image_width, weights_sha256, created_at, generation"
)


def upgrade() -> None:
    # Not by adding columns: a library that was upgraded and a new one shall have the same definitions. Other tables
    # refer to this one by its name, and would follow the old one under its new name.
    op.execute("PRAGMA legacy_alter_table = ON")
    op.rename_table("models", "former_models")
    op.execute("PRAGMA legacy_alter_table = OFF")
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pretrained", sa.Text()),
        sa.Column("precision", sa.String(16), nullable=False),
        sa.Column("decode", sa.String(16), nullable=False),
        sa.Column("icc", sa.String(16), nullable=False, server_default="ignore"),
        sa.Column("transparency", sa.String(16), nullable=False, server_default="reference"),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("logit_scale", sa.Float(53), nullable=False),
        sa.Column("logit_bias", sa.Float(53)),
        sa.Column("context_length", sa.Integer(), nullable=False),
        sa.Column("image_height", sa.Integer(), nullable=False),
        sa.Column("image_width", sa.Integer(), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("fingerprint", name="uq_models_fingerprint"),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO models ({KEPT}) SELECT {KEPT} FROM former_models")
    # Ids are never given again, also not those of models that were pruned.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'models'")
    op.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'models', seq FROM sqlite_sequence WHERE name = 'former_models'"
    )
    op.drop_table("former_models")


def downgrade() -> None:
    raise NotImplementedError("older versions do not know these properties")
