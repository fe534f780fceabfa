"""What people decide about duplicates: that two photos are different, and which one to keep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a server whole numbers have 64 bits, a sequence numbers the rows, and texts are compared by code point.
    on_server = op.get_bind().dialect.name == "postgresql"
    number = sa.BigInteger() if on_server else sa.Integer()
    collation = "C" if on_server else None
    op.create_table(
        "decisions",
        sa.Column("id", number, *([sa.Identity()] if on_server else []), nullable=False),
        sa.Column("batch", number, nullable=False),
        sa.Column("kind", sa.String(16, collation=collation), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("other", sa.LargeBinary(32)),
        sa.Column("path", sa.Text(collation=collation), nullable=False),
        sa.Column("other_path", sa.Text(collation=collation)),
        sa.Column("created_at", sa.String(32, collation=collation), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    raise NotImplementedError("older versions would suggest to remove what somebody keeps")
