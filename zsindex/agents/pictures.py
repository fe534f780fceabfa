"""Thumbnails of photos for agents, shared with the services of this user."""

from __future__ import annotations

from collections.abc import Sequence

from zsindex import config
from zsindex.errors import ZsindexError
from zsindex.library import Library
from zsindex.photos import thumbnails
from zsindex.services.serving import Serving

MOST_FILE_BYTES = 512 << 20
# As a service keeps by default.
MOST_CACHED_BYTES = 1 << 30


class Pictures:
    """Makes small pictures of photos of a library, without any of their metadata."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._decoder = Serving(library.session).decoder
        self._cache = thumbnails.Thumbnails(config.thumbnails_folder(), max_bytes=MOST_CACHED_BYTES)

    def of(self, image_ids: Sequence[int], size: int) -> tuple[dict[int, bytes], dict[str, str]]:
        """JPEGs by image, in their order; and by image the reason why others have none."""
        made: dict[int, bytes] = {}
        unseen: dict[str, str] = {}
        for image_id in image_ids:
            try:
                made[image_id] = self._one(image_id, size)
            except ZsindexError as error:
                unseen[str(image_id)] = str(error)
        return made, unseen

    def _one(self, image_id: int, size: int) -> bytes:
        name = f"{self._library.photos.get(image_id).digest}-{size}.jpg"
        found = self._cache.get(name)
        if found is None:
            path, content = self._library.photos.read(image_id, max_bytes=MOST_FILE_BYTES)
            found = thumbnails.render(content.data, size, name=path, decoder=self._decoder)
            self._cache.add(name, found)
        return found
