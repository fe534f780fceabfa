"""Reviews that go on: kept between requests, since it takes seconds to find out again where a large one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zsindex.library import Library
from zsindex.services.reviews import ReviewInProgress
from zsindex.web.looking import Kept


class KeptReviews(Kept[ReviewInProgress]):
    """The reviews that were asked for last."""

    def __init__(self, library: Library) -> None:
        super().__init__()
        self._library = library

    @contextmanager
    def of(self, survey_id: int) -> Iterator[ReviewInProgress]:
        """A review as it is now, for one request at a time.

        Raises:
            UnknownSurvey
        """
        kept = self.get(survey_id)
        if kept is None or kept[1].snapshot != self._library.view().snapshot:
            kept = self.keep(self._library.reviews.open(survey_id))
        lock, review = kept
        with lock:
            review.refresh()
            yield review
