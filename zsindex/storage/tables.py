"""The tables of `library.db`. docs/storage.md explains them; `migrations/` creates them; `zsindex.storage.photos`
queries them.

Core tables rather than mapped classes: rows go straight from the database into arrays and frozen records, and importing
the ORM would lengthen the start of every command.
"""

from __future__ import annotations

from typing import Any

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
    # What models did before there was a choice.
    Column("icc", String(16), nullable=False, server_default="ignore"),
    Column("transparency", String(16), nullable=False, server_default="reference"),
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
    # See zsindex.storage.seals.image_row_checksum.
    Column("checksum", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

# Of those that were read although they are cut short.
incomplete_images = Table(
    "incomplete_images",
    metadata,
    Column("image_id", ForeignKey(images.c.id), primary_key=True),
    # What is missing, in words.
    Column("detail", Text, nullable=False),
)


def _said() -> list[Column[Any]]:
    """Columns of what metadata says; see zsindex.records.Facts and zsindex.storage.facts."""
    return [
        # Microseconds since 1970 by the clock on the wall, and that clock's offset from UTC.
        Column("taken_us", Integer),
        Column("offset_s", Integer),
        Column("taken_from", String(8)),
        Column("make", Text),
        Column("camera", Text),
        Column("lens", Text),
        Column("focal_length_mm", Float(53)),
        Column("aperture", Float(53)),
        Column("exposure_s", Float(53)),
        Column("iso", Integer),
        Column("latitude", Float(53)),
        Column("longitude", Float(53)),
        Column("altitude_m", Float(53)),
        Column("orientation", Integer),
        Column("animated", Integer),
        Column("rating", Float(53)),
        # A JSON list.
        Column("keywords", Text, nullable=False),
        Column("caption", Text),
        Column("checksum", Integer, nullable=False),
        # The change of facts in which they came; of all but that is the checksum.
        Column("revision", Integer, nullable=False),
    ]


# Of their own metadata. One without a row was stored before facts were read; where all is null nothing could be read.
image_facts = Table(
    "image_facts",
    metadata,
    Column("image_id", ForeignKey(images.c.id), primary_key=True),
    *_said(),
    Index(None, "revision"),
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
    # See zsindex.storage.seals.file_checksum; of all but missing_since and why it was skipped.
    Column("checksum", Integer, nullable=False, server_default="0"),
    UniqueConstraint("folder_id", "name"),
    Index(None, "image_id"),
)

# What sidecars say. They belong to the photos of their folder that have their name.
sidecar_facts = Table(
    "sidecar_facts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("folder_id", ForeignKey(folders.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    # Size -1: it is not there any more, and says nothing.
    Column("size", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    *_said(),
    UniqueConstraint("folder_id", "name"),
    Index(None, "revision"),
)

embeddings = Table(
    "embeddings",
    metadata,
    # Grows forever and is never reused, so that "everything after the watermark" is well defined.
    Column("seq", Integer, primary_key=True),
    Column("model_id", ForeignKey(models.c.id), nullable=False),
    Column("image_id", ForeignKey(images.c.id), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    # See zsindex.storage.stored.image_checksum; 0 is right by chance only.
    Column("checksum", Integer, nullable=False, server_default="0"),
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
    # See zsindex.storage.stored.prompt_checksum.
    Column("checksum", Integer, nullable=False, server_default="0"),
    UniqueConstraint("model_id", "text"),
)

# When each was asked for. Beside the prompts, whose vectors would have to be written again with them.
prompt_uses = Table(
    "prompt_uses",
    metadata,
    Column("prompt_id", ForeignKey(prompts.c.id, ondelete="CASCADE"), primary_key=True),
    # Grows with every record of uses: who was asked for last is not the clock's to say.
    Column("turn", Integer, nullable=False),
    # Days since 1970, as the clock said.
    Column("day", Integer, nullable=False),
    Index(None, "turn"),
)

label_sets = Table(
    "label_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    # Counted from 1 for each name. The newest one is meant where none is named.
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("saved_at", String(32), nullable=False),
    UniqueConstraint("name", "version"),
)

template_sets = Table(
    "template_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # A JSON list of templates.
    Column("body", Text, nullable=False),
    Column("saved_at", String(32), nullable=False),
)

corrections = Table(
    "corrections",
    metadata,
    # A log: what holds is what its entries say together, in this order. Undoing takes the last batch away.
    Column("id", Integer, primary_key=True),
    Column("batch", Integer, nullable=False),
    # A name, not an id: corrections outlive versions.
    Column("label_set", Text, nullable=False),
    # Of the image's content, not its id: corrections outlive models, moves and prunes.
    Column("digest", LargeBinary(32), nullable=False),
    # Null: all that was said before about this image is withdrawn.
    Column("label", Text),
    Column("is_not", Boolean(create_constraint=False), nullable=False),
    Column("created_at", String(32), nullable=False),
    Index(None, "label_set"),
    sqlite_autoincrement=True,
)

decisions = Table(
    "decisions",
    metadata,
    # A log, as of corrections.
    Column("id", Integer, primary_key=True),
    Column("batch", Integer, nullable=False),
    # different: the images are not the same picture; keep: this one is to be kept; forget: all that was said before
    # about this image is withdrawn.
    Column("kind", String(16), nullable=False),
    # Of the image's content, not its id: decisions outlive models, moves and prunes.
    Column("digest", LargeBinary(32), nullable=False),
    Column("other", LargeBinary(32)),
    # Where they lay then: among files with the same bytes that is the one to keep.
    Column("path", Text, nullable=False),
    Column("other_path", Text),
    Column("created_at", String(32), nullable=False),
    sqlite_autoincrement=True,
)

albums = Table(
    "albums",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # The question and its filters, as JSON.
    Column("body", Text, nullable=False),
    Column("saved_at", String(32), nullable=False),
    # What it held when somebody looked last, `zsindex.storage.labels.packed`; by content, as paths change.
    Column("seen", LargeBinary),
    Column("seen_at", String(32)),
)

surveys = Table(
    "surveys",
    metadata,
    Column("id", Integer, primary_key=True),
    # count, review, choose, …: what for.
    Column("kind", String(16), nullable=False),
    # What is asked, JSON with its keys in order: a survey is found again by it.
    Column("question", Text, nullable=False),
    # What it is about, `zsindex.storage.labels.packed_ids`; null where that is not fixed.
    Column("image_ids", LargeBinary),
    Column("begun_at", String(32), nullable=False),
    # Null: it goes on.
    Column("ended_at", String(32)),
    # What came out: JSON.
    Column("result", Text),
    sqlite_autoincrement=True,
)

looks = Table(
    "looks",
    metadata,
    Column("id", Integer, primary_key=True),
    # No key: damaged surveys can be forgotten alone.
    Column("survey_id", Integer, nullable=False),
    # Counted from 1 for each survey: the order in which photos were drawn.
    Column("number", Integer, nullable=False),
    # Of the image's content, as of corrections.
    Column("digest", LargeBinary(32), nullable=False),
    Column("path", Text, nullable=False),
    # How it was drawn, a probability or a rank, with what else the answer is worth by: JSON.
    Column("drawn", Text, nullable=False),
    # yes, no, a label, or unsure; null: it waits for an answer.
    Column("answer", Text),
    Column("answered_at", String(32)),
    UniqueConstraint("survey_id", "number"),
    sqlite_autoincrement=True,
)

thresholds = Table(
    "thresholds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("label_set", Text, nullable=False),
    Column("label", Text, nullable=False),
    # The share of the library's photos at or above the threshold: under another model it stands for another score.
    Column("rate", Float(53), nullable=False),
    # How it was chosen, and the score, photos and model it came from: JSON.
    Column("chosen", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("label_set", "label"),
)

temperatures = Table(
    "temperatures",
    metadata,
    Column("model_id", ForeignKey(models.c.id), primary_key=True),
    Column("temperature", Float(53), nullable=False),
    # What it was fitted on, and what it brought: JSON.
    Column("fit", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

# What costs time to compute and can always be computed again.
derived = Table(
    "derived",
    metadata,
    Column("model_id", ForeignKey(models.c.id), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("key", String(64), primary_key=True),
    # JSON.
    Column("body", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("key", String(16), primary_key=True),
    # `Run.to_dict` and what is needed to ask again: JSON.
    Column("document", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

sidecars = Table(
    "sidecars",
    metadata,
    Column("id", Integer, primary_key=True),
    # Absolute path of the XMP file that zsindex wrote tags into.
    Column("path", Text, nullable=False, unique=True),
    # Its bytes before that; null where there was no such file.
    Column("original", LargeBinary),
    # Of the bytes that zsindex wrote: whether somebody else has changed the file since.
    Column("written_sha256", String(64), nullable=False),
    # What of it is zsindex's: JSON, see zsindex.lab.tags.
    Column("tags", Text, nullable=False),
    Column("written_at", String(32), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    # What was asked for, and how far it is: JSON.
    Column("document", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
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
    # What the file looked like when its checksum was last compared; see zsindex.index.vectors.identity.
    Column("verified", Text),
)

# Checksums of rows of other tables, and of what folders hold; see zsindex.storage.seals.
seals = Table(
    "seals",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("part", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("checksum", Integer, nullable=False),
    sqlite_with_rowid=False,
)
