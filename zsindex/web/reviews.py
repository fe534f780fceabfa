"""Reviews that go on: kept between requests, since it takes seconds to find out again where a large one is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from zsindex.library import Library
from zsindex.services.reviews import ReviewInProgress

# Each holds some numbers for every photo.
_MOST = 8


class KeptReviews:
    """The reviews that were asked for last."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._kept: OrderedDict[int, tuple[threading.Lock, ReviewInProgress]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, survey_id: int) -> Iterator[ReviewInProgress]:
        """A review as it is now, for one request at a time.

        Raises:
            UnknownSurvey
        """
        with self._lock:
            kept = self._kept.get(survey_id)
        if kept is None or kept[1].snapshot != self._library.view().snapshot:
            kept = self.keep(self._library.reviews.open(survey_id))
        lock, review = kept
        with lock:
            review.refresh()
            yield review

    def keep(self, review: ReviewInProgress) -> tuple[threading.Lock, ReviewInProgress]:
        """Remember a review, and forget the one that was not asked for the longest."""
        with self._lock:
            kept = self._kept[review.survey_id] = threading.Lock(), review
            self._kept.move_to_end(review.survey_id)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return kept
