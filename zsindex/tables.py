"""The tables of `library.db`. docs/storage.md explains them; `migrations/` creates them; `zsindex.store` queries them.

Core tables rather than mapped classes: rows go straight from the database into arrays and frozen records, and importing
the ORM would lengthen the start of every command.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

settings = Table(
    "settings",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("pretrained", Text),
    Column("precision", String(16), nullable=False),
    Column("decode", String(16), nullable=False),
    Column("dim", Integer, nullable=False),
    Column("logit_scale", Float(53), nullable=False),
    Column("logit_bias", Float(53)),
    Column("context_length", Integer, nullable=False),
    Column("image_height", Integer, nullable=False),
    Column("image_width", Integer, nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    # Counts deletions of embeddings: a snapshot taken under another generation may hold rows that are gone.
    Column("generation", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

roots = Table(
    "roots",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
    Column("synced_at", String(32), nullable=False),
)

folders = Table(
    "folders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
)

images = Table(
    "images",
    metadata,
    # Never reused, like those of models: whoever still knows a pruned image must not take another one for it.
    Column("id", Integer, primary_key=True),
    # SHA-256 of the file's bytes: an image is its content, wherever it lies.
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("format", String(16), nullable=False),
    sqlite_autoincrement=True,
)

files = Table(
    "files",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("folder_id", ForeignKey(folders.c.id), nullable=False),
    Column("name", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    # Exactly one of image_id and skip_reason is set.
    Column("image_id", ForeignKey(images.c.id)),
    Column("skip_reason", String(32)),
    Column("skip_detail", Text),
    Column("missing_since", String(32)),
    UniqueConstraint("folder_id", "name"),
    Index(None, "image_id"),
)

embeddings = Table(
    "embeddings",
    metadata,
    # Grows forever and is never reused, so that "everything after the watermark" is well defined.
    Column("seq", Integer, primary_key=True),
    Column("model_id", ForeignKey(models.c.id), nullable=False),
    Column("image_id", ForeignKey(images.c.id), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    UniqueConstraint("model_id", "image_id"),
    Index(None, "image_id"),
    sqlite_autoincrement=True,
)

prompts = Table(
    "prompts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", ForeignKey(models.c.id), nullable=False),
    Column("text", Text, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    # The text was cut to the model's context: only good for callers who allow that.
    Column("truncated", Boolean(create_constraint=False), nullable=False),
    UniqueConstraint("model_id", "text"),
)

label_sets = Table(
    "label_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("body", Text, nullable=False),
    Column("saved_at", String(32), nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("model_id", ForeignKey(models.c.id), primary_key=True),
    Column("file", Text, nullable=False),
    Column("watermark", Integer, nullable=False),
    Column("n_vectors", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("n_cells", Integer, nullable=False, server_default="0"),
    # What the file looked like when its checksum was last compared; see zsindex.vectors.identity.
    Column("verified", Text),
)
