"""What is asked before a batch is stored: all of it at once, as others wait meanwhile to store theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from zsindex.records import Candidate
from zsindex.storage.adding import FACTS_REVISION, IMAGE_COLUMNS, REVISION, There, Vanished
from zsindex.storage.postgres.database import Link
from zsindex.storage.rows import ImageRecord, KnownPhoto
from zsindex.storage.seals import image_row_checksum
from zsindex.storage.stored import number

# Made in the order given, which the server does not promise of a join. What a statement makes, the rest of it does not
# see: so each row is found once.
_IMAGES = f"""
    WITH made AS (
        INSERT INTO images ({", ".join(IMAGE_COLUMNS)})
        SELECT {", ".join(IMAGE_COLUMNS)}
        FROM unnest(%b::bytea[], %b::int8[], %b::int8[], %b::text[], %b::int8[])
            WITH ORDINALITY AS given({", ".join(IMAGE_COLUMNS)}, place)
        WHERE NOT EXISTS (SELECT FROM images WHERE images.digest = given.digest)
        ORDER BY place
        RETURNING digest, id
    )
    SELECT digest, id, true, false FROM made
    UNION ALL
    SELECT digest, id, false, EXISTS (SELECT FROM embeddings WHERE model_id = %s AND image_id = images.id)
    FROM images WHERE digest = ANY(%b::bytea[])
"""
_VANISHED = """
    SELECT image_id, files.id, missing_since FROM files JOIN images ON images.id = image_id
    WHERE digest = ANY(%b::bytea[]) AND missing_since IS NOT NULL ORDER BY missing_since
"""
_FOLDERS = """
    WITH made AS (
        INSERT INTO folders (path) SELECT path FROM unnest(%b::text[]) AS given(path)
        WHERE NOT EXISTS (SELECT FROM folders WHERE folders.path = given.path)
        RETURNING path, id
    )
    SELECT path, id FROM made
    UNION ALL
    SELECT path, folders.id FROM unnest(%b::text[]) AS given(path) JOIN folders USING (path)
"""
_FILES = """
    SELECT path, given.name, files.id, size, mtime_ns, missing_since IS NOT NULL, image_id, digest
    FROM unnest(%b::text[], %b::text[]) AS given(path, name)
    JOIN folders USING (path) JOIN files ON folder_id = folders.id AND files.name = given.name
    LEFT JOIN images ON images.id = image_id
"""
_REVISIONS = "SELECT key, value FROM settings WHERE key = ANY(%s)"


def ask(
    link: Link, images: Mapping[bytes, ImageRecord], model_id: int | None, files: Sequence[Candidate]
) -> Callable[[], There]:
    """Ask, and make the images and folders that are not there; see `There`.

    Returns:
        What reads the answers.
    """
    digests = list(images)
    rows = [
        (i.width, i.height, i.format, image_row_checksum(d, i.width, i.height, i.format)) for d, i in images.items()
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 4
    folders = sorted({file.folder for file in files})
    paths = {(file.folder, file.name): file.path for file in files}
    of_images = link.execute(_IMAGES, (digests, *columns, model_id, digests), binary=True)
    gone = link.execute(_VANISHED, (digests,))
    folder_ids = link.execute(_FOLDERS, (folders, folders))
    known = link.execute(_FILES, ([folder for folder, _ in paths], [name for _, name in paths]), binary=True)
    settings = link.execute(_REVISIONS, ([REVISION, FACTS_REVISION],))

    def answers() -> There:
        there = of_images.fetchall()
        vanished: defaultdict[int, list[Vanished]] = defaultdict(list)
        for image_id, *file in gone:
            vanished[image_id].append(Vanished(*file))
        revisions = {key: number(value) for key, value in settings}
        return There(
            image_ids={digest: image_id for digest, image_id, _, _ in there},
            new={image_id for _, image_id, made, _ in there if made},
            with_vector={image_id for _, image_id, _, has_vector in there if has_vector},
            files={paths[folder, name]: KnownPhoto(*file) for folder, name, *file in known},
            vanished=vanished,
            folder_ids=dict(folder_ids.fetchall()),
            revision=revisions.get(REVISION, 0),
            facts_revision=revisions.get(FACTS_REVISION, 0),
        )

    return answers
