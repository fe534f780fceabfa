"""The HTTP service over a library: `create_app` for other programs, `zsindex serve` for people.

May import `zsindex`, `library`, `services`, `session`, `upkeep`, `lab`, `exchange`, `classification`, `index`,
`storage`, `models`, `photos` and the ground floor. Start with `app`, which puts it together, and `routes.classify`, an
endpoint. A request goes through `access_log`, `security` and `admission` to its endpoint in `routes`; what it holds and
what comes back is in `schemas`; `service` is what endpoints share. Public is what `__all__` names.
"""

from __future__ import annotations

from zsindex.web.app import create_app
from zsindex.web.limits import Limits
from zsindex.web.security import Security, Token

__all__ = ["Limits", "Security", "Token", "create_app"]
