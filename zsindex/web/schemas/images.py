"""Of ``/v1/images``."""

from __future__ import annotations

from zsindex.web.schemas.fields import OnlyPaths
from zsindex.web.schemas.questions import AllOptions, LabelChoice


class ExplainRequest(LabelChoice, AllOptions):
    """What was asked, with all that the answer depends on."""

    paths: OnlyPaths = None
