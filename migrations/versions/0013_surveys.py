"""Surveys: series of looks that a person takes at photos, each with its answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a server whole numbers have 64 bits, a sequence numbers the rows, and texts are compared by code point.
    on_server = op.get_bind().dialect.name == "postgresql"
    number = sa.BigInteger() if on_server else sa.Integer()
    collation = "C" if on_server else None
    op.create_table(
        "surveys",
        sa.Column("id", number, *([sa.Identity()] if on_server else []), nullable=False),
        sa.Column("kind", sa.String(16, collation=collation), nullable=False),
        sa.Column("question", sa.Text(collation=collation), nullable=False),
        sa.Column("image_ids", sa.LargeBinary()),
        sa.Column("begun_at", sa.String(32, collation=collation), nullable=False),
        sa.Column("ended_at", sa.String(32, collation=collation)),
        sa.Column("result", sa.Text(collation=collation)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_surveys")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "looks",
        sa.Column("id", number, *([sa.Identity()] if on_server else []), nullable=False),
        sa.Column("survey_id", number, nullable=False),
        sa.Column("number", number, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("path", sa.Text(collation=collation), nullable=False),
        sa.Column("drawn", sa.Text(collation=collation), nullable=False),
        sa.Column("answer", sa.Text(collation=collation)),
        sa.Column("answered_at", sa.String(32, collation=collation)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_looks")),
        sa.UniqueConstraint("survey_id", "number", name=op.f("uq_looks_survey_id_number")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    raise NotImplementedError("older versions would forget what somebody has looked at")
