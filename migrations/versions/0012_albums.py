"""Albums: questions with their filters, saved under a name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ExcludeConstraint

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On a server whole numbers have 64 bits, a sequence numbers the rows, texts are compared by code point, and long ones
    # are unique by a hash.
    on_server = op.get_bind().dialect.name == "postgresql"
    collation = "C" if on_server else None
    op.create_table(
        "albums",
        sa.Column(
            "id", sa.BigInteger() if on_server else sa.Integer(), *([sa.Identity()] if on_server else []), nullable=False
        ),
        sa.Column("name", sa.Text(collation=collation), nullable=False),
        sa.Column("body", sa.Text(collation=collation), nullable=False),
        sa.Column("saved_at", sa.String(32, collation=collation), nullable=False),
        sa.Column("seen", sa.LargeBinary()),
        sa.Column("seen_at", sa.String(32, collation=collation)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_albums")),
        ExcludeConstraint((sa.column("name"), "="), using="hash", name="ex_albums_name")
        if on_server
        else sa.UniqueConstraint("name", name=op.f("uq_albums_name")),
    )


def downgrade() -> None:
    raise NotImplementedError("older versions would forget albums")
