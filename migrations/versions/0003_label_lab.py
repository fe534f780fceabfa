"""The label lab: versions of label sets, template sets, corrections, thresholds, temperatures, runs, sidecars."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not by adding a column: a library that was upgraded and a new one shall have the same definitions.
    op.rename_table("label_sets", "former_label_sets")
    op.create_table(
        "label_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label_sets"),
        sa.UniqueConstraint("name", "version", name="uq_label_sets_name_version"),
    )
    op.execute(
        "INSERT INTO label_sets (id, name, version, body, saved_at) "
        "SELECT id, name, 1, body, saved_at FROM former_label_sets"
    )
    op.drop_table("former_label_sets")
    op.create_table(
        "template_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_template_sets"),
        sa.UniqueConstraint("name", name="uq_template_sets_name"),
    )
    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("label_set", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("label", sa.Text()),
        sa.Column("is_not", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_corrections"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_corrections_label_set", "corrections", ["label_set"])
    op.create_table(
        "thresholds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_set", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("rate", sa.Float(53), nullable=False),
        sa.Column("chosen", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_thresholds"),
        sa.UniqueConstraint("label_set", "label", name="uq_thresholds_label_set_label"),
    )
    op.create_table(
        "temperatures",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("temperature", sa.Float(53), nullable=False),
        sa.Column("fit", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("model_id", name="pk_temperatures"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_temperatures_model_id_models"),
    )
    op.create_table(
        "derived",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "kind", "key", name="pk_derived"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_derived_model_id_models"),
    )
    op.create_table(
        "runs",
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_runs"),
    )
    op.create_table(
        "sidecars",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("original", sa.LargeBinary()),
        sa.Column("written_sha256", sa.String(64), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("written_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sidecars"),
        sa.UniqueConstraint("path", name="uq_sidecars_path"),
    )


def downgrade() -> None:
    raise NotImplementedError("older versions cannot read what the label lab keeps")
