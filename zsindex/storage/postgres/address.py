"""What names a library on a server, and what of that may be shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from zsindex.errors import ExtraMissing, NotALibrary

# Unless the URL says otherwise: a server that is gone is noticed in a minute, not in hours.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",  # the same for what was sent and is not acknowledged
    "application_name": "zsindex",
}


class Address:
    """A URL, read as libpq reads it; what it does not say, libpq finds in its own places: ``PGPASSFILE``,
    ``PGSERVICE``, ``PGSSLMODE`` and the like.

    Attributes:
        place: stands for the library in messages: neither a password nor anything else that follows a ``?``.
    """

    def __init__(self, url: str) -> None:
        """Raises:
        ExtraMissing: psycopg is not installed.
        NotALibrary: libpq cannot read the URL.
        """
        try:
            from psycopg import ProgrammingError
            from psycopg.conninfo import conninfo_to_dict
        except ImportError:
            raise ExtraMissing("psycopg", extra="server", why=f"{_shown(url)} is a library on a server") from None
        try:
            self._given = conninfo_to_dict(url)
        except ProgrammingError:
            # What libpq says of it repeats the part that it cannot read, which may be a password.
            unreadable = None
        else:
            unreadable = self._given
        if unreadable is None:
            raise NotALibrary(
                _shown(url), "it cannot be read as a URL; characters such as @ / : ? # are written as %40"
            )
        self._url = url
        self.place = self._place()

    def __repr__(self) -> str:
        return f"<Address {self.place}>"

    def arguments(self) -> dict[str, Any]:
        """What psycopg connects with. Not to be shown: a password may be among it."""
        return {**_DEFAULTS, **self._given, "client_encoding": "UTF8"}

    def without_password(self, passfile: str | None = None) -> str:
        """A URL of the same library for other processes, which find passwords in their own places.

        Args:
            passfile: one of these: a file with what `passfile` gives.
        """
        given = {name: str(value) for name, value in self._given.items() if name not in ("password", "sslpassword")}
        if passfile is not None:
            given["passfile"] = passfile
        return f"postgresql:///?{urlencode(given, quote_via=quote)}"

    def passfile(self) -> str | None:
        """The password in the URL, as it stands in a file where libpq looks for one; None if there is none."""
        password = self._given.get("password")
        if password is None:
            return None
        escaped = str(password).replace("\\", "\\\\").replace(":", "\\:")
        return f"*:*:*:*:{escaped}\n"

    def _place(self) -> str:
        user, host, port = (str(self._given.get(name) or "") for name in ("user", "host", "port"))
        hosts, ports = host.split(","), port.split(",")
        each = [
            f"[{name}]" if ":" in name else name.replace("/", "%2F") for name in hosts
        ]  # a folder of sockets is written so
        if len(ports) == len(each):
            each = [f"{name}:{number}" if number else name for name, number in zip(each, ports, strict=True)]
        elif port:
            each = [f"{name}:{port}" for name in each]
        service = self._given.get("service")
        name = f"?service={service}" if service else str(self._given.get("dbname") or "")
        return f"postgresql://{f'{user}@' if user else ''}{','.join(each)}/{name}"


def _shown(url: str) -> str:
    """What may be shown of a URL that cannot be read."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
