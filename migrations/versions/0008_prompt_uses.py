"""When each prompt was asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prompt_uses",
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name="fk_prompt_uses_prompt_id_prompts", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prompt_id", name="pk_prompt_uses"),
    )
    op.create_index("ix_prompt_uses_turn", "prompt_uses", ["turn"])
    # Nothing is known of those that are there but their order: they count as asked for today.
    op.execute(
        "INSERT INTO prompt_uses (prompt_id, turn, day)"
        " SELECT id, id, CAST(strftime('%s', 'now') AS INTEGER) / 86400 FROM prompts"
    )


def downgrade() -> None:
    raise NotImplementedError("older versions would store prompts without their uses")
