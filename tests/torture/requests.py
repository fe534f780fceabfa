"""Requests as nobody should send them, to a service that listens: bodies, headers, queries, uploads and raw bytes."""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import h11

from tests import hostile, photos
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.torture.apart import apart
from tests.torture.campaign import Campaign, Case
from tests.torture.environment import FACTS, Facts
from zsindex.library import Library
from zsindex.web import Limits, Security, Token, create_app, serve

# Three times what a picture may take.
HANGS_S = 60.0
# Of processor time, which does not depend on what else the machine does.
MOST_CPU_S = 5.0
MOST_MB = 1_500
# Requests for one service and one copy of the library.
TURN = 1_000
HOST = "zsindex.test"
READ, WRITE = "read-token-0123456789", "write-token-0123456789"
LIMITS = Limits(requests_per_s=0, queued_jobs=10_000, head_s=5, body_s=5)
PROBLEM = "application/problem+json"
COLOURS = ("red", "white", "blue", "green", "yellow", "black")
# What the service must always answer alike.
GOES_ON = ("queued", "running", "waiting")
FIXED = "/v1/search?q=a+green+cat"

Chance: TypeAlias = random.Random
Headers: TypeAlias = list[tuple[str, str]]
Schema: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """A request; `raw` says all of it, where it is no request that HTTP knows.

    Attributes:
        cut: how many of its bytes are sent; all by default.
    """

    method: str
    target: str
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    raw: bytes | None = None
    cut: int | None = None

    def encoded(self) -> bytes:
        """What goes over the wire."""
        if self.raw is not None:
            return self.raw
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        head = "\r\n".join(lines).encode("utf-8", "surrogatepass")
        return head + b"\r\n\r\n" + self.body


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Requests(Campaign):
    """One request goes to a service in a process of its own, over a socket.

    An answer comes in time, whole, and is not 500; a refusal is a problem document that names no path of the machine,
    and leaves the library as it was. Requests that HTTP does not allow, as h11 reads it, are refused as well; what was
    cut short ends without holding anything. A fixed question has the same answer all the time; in the end the service
    stops when it is told to, and `check` finds nothing.
    """

    name = "requests"
    about = "bodies, headers, query strings, uploads and raw bytes, to a service that listens"
    in_ci = 1_000

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self._statuses: Counter[int] = Counter()
        self._kinds: Counter[str] = Counter()
        self._slowest = 0.0
        self._most_mb = 0
        self._document: Schema = {}
        self._run_key = ""
        self._server: int | None = None
        self._port = 0
        self._asked = 0
        self._fixed: bytes | None = None
        self._reader: sqlite3.Connection | None = None
        self._version: object = None
        self._facts: Facts = frozenset()

    def cases(self) -> Iterator[Case]:
        warnings.simplefilter("error")
        ending = apart(self._make, timeout_s=120)
        if ending.value is None:
            raise RuntimeError(f"the scene cannot be made: {ending.error} {ending.trace}")
        self._document, self._run_key = ending.value
        kinds = self._makers()
        operations = [
            (method.upper(), path, operation)
            for path, item in self._document["paths"].items()
            for method, operation in item.items()
        ]
        with_body = [one for one in operations if "requestBody" in one[2]]
        with ExitStack() as stack:
            stack.callback(self._stop)
            while True:
                chance = random.Random(self.random.getrandbits(64))
                kind = chance.choice(list(kinds))
                method, path, operation = chance.choice(with_body if "body" in kind else operations)
                request = kinds[kind](chance, self._good(chance, method, path, operation))
                yield Case(kind, _shown(request), partial(self._judge, kind, request))

    def missing(self) -> str | None:
        return None if hasattr(os, "fork") else "this system does not fork"

    def notes(self) -> Sequence[str]:
        statuses = ", ".join(f"{n:,} x {status}" for status, n in sorted(self._statuses.items()))
        how = ", ".join(f"{n:,} {what}" for what, n in sorted(self._kinds.items()))
        return [statuses, f"{how}; slowest answer {self._slowest:.1f} s, {self._most_mb:,} MB at most"]

    # --- the service --------------------------------------------------------------------------------------------------

    def _make(self) -> tuple[Schema, str]:
        """A library to be copied for each turn; returns the description of its service, and the key of a run."""
        album = self.work / "album"
        for number, colour in enumerate(COLOURS):
            photo(album / ("sea" if number % 2 else "") / f"{colour}.png", colour, mark=number)
        shutil.copy(album / "red.png", album / "sea" / "red again.png")
        (album / "broken.jpg").write_bytes(b"no photo")
        with Library.open(self.work / "base", encoder=FakeEncoder(context_length=400)) as library:
            library.sync(album)
            library.labels.save("animals", ["owl", "fox"])
            library.labels.save("colours", {"red": ["a red {}"], "green": ["a green {}"], "blue": ["{}"]})
            library.corrections.add("colours", str(album / "red.png"), "red")
            answer = library.classify(label_set="colours", record=True)
            return dict(create_app(library).openapi()), answer.run.key

    def _serve(self, listening: socket.socket) -> None:
        """Be the service."""
        with (self.work / "log").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        warnings.simplefilter("default")
        security = Security(frozenset({HOST}), tokens=(Token.of("read", READ), Token.of("write", WRITE)))
        with Library.open(self.work / "library", encoder=FakeEncoder(context_length=400)) as library:
            serve.serve(library, listening, security=security, limits=LIMITS, thumbnails=self.work / "thumbnails")

    def _start(self) -> None:
        shutil.rmtree(self.work / "library", ignore_errors=True)
        shutil.copytree(self.work / "base", self.work / "library")
        for sidecar in self.work.rglob("*.xmp"):
            sidecar.unlink()
        (self.work / "log").write_bytes(b"")
        listening = serve.listen("127.0.0.1", 0)
        self._port = listening.getsockname()[1]
        self._server = os.fork()
        if self._server == 0:
            status = 1
            try:
                self._serve(listening)
                status = 0
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            finally:
                os._exit(status)
        listening.close()
        until = time.monotonic() + 60
        while True:
            with suppress(ConnectionRefusedError):
                self._ask(Request("GET", "/healthz", [("Host", HOST), ("Connection", "close")]))
                break
            if time.monotonic() > until:
                raise RuntimeError(f"the service does not begin: {(self.work / 'log').read_bytes()!r}")
            time.sleep(0.02)
        self._asked, self._fixed = 0, None
        self._reader = sqlite3.connect(self.work / "library" / "library.db", isolation_level=None)
        self._version = self._data_version()
        self._facts = self._read_facts()

    def _stop(self) -> list[str]:
        """End the service, and look at what it leaves."""
        if self._server is None:
            return []
        server, self._server = self._server, None
        if self._reader is not None:
            self._reader.close()
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGTERM)
        until = time.monotonic() + 30
        ended, status = 0, 0
        while not ended and time.monotonic() < until:
            ended, status = os.waitpid(server, os.WNOHANG)
            if not ended:
                time.sleep(0.02)
        log = (self.work / "log").read_text(encoding="utf-8", errors="replace")
        if not ended:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
            return [f"the service does not end: …{log[-500:]}"]
        wrong = []
        if (code := os.waitstatus_to_exitcode(status)) not in (0, -signal.SIGTERM):
            wrong.append(f"the service ended with {code}: …{log[-500:]}")
        if "Traceback" in log:
            at = log.index("Traceback")
            wrong.append(f"the service told of a traceback: {log[at - 200 : at + 300]} … {log[at:][-900:]}")
        checked = apart(self._check, timeout_s=60)
        if checked.value != ():
            wrong.append(f"check finds {checked.value} {checked.trace}")
        return wrong

    def _check(self) -> tuple[str, ...]:
        with Library.open(self.work / "library", encoder=FakeEncoder(context_length=400)) as library:
            return library.check().problems

    # --- one case -----------------------------------------------------------------------------------------------------

    def _judge(self, kind: str, request: Request) -> list[str]:
        wrong: list[str] = []
        if self._server is None:
            self._start()
        assert self._server is not None
        wrong += self._of_request(request)
        self._asked += 1
        if os.waitpid(self._server, os.WNOHANG)[0]:
            self._server = None
            return [*wrong, f"the service has ended: …{(self.work / 'log').read_bytes()[-900:]!r}"]
        unwell = self._still_well() if wrong or self._asked % 100 == 0 else []
        if self._asked >= TURN or unwell:
            unwell += self._stop()
        return wrong + unwell

    def _of_request(self, request: Request) -> list[str]:
        begun, used_s = time.monotonic(), self._cpu_s()
        try:
            answer = self._ask(request)
        except TimeoutError:
            return [f"no answer within {HANGS_S:g} s"]
        except (http.client.HTTPException, ValueError) as error:
            return [f"the answer is none: {error!r}"]
        self._slowest = max(self._slowest, time.monotonic() - begun)
        used_s = self._cpu_s() - used_s
        whole = _is_whole(request.encoded()[: request.cut])
        if answer is None:
            self._kinds["without an answer, cut short" if whole is None else "without an answer"] += 1
            # What is larger than is allowed may be refused while it is still being sent.
            lost = whole is not None and len(request.encoded()) < LIMITS.body_bytes
            return ["it was closed without an answer"] if lost else []
        self._statuses[answer.status] += 1
        wrong = _wrong_about(request, answer, str(self.work))
        if whole is False and answer.status < 400:
            wrong.append(f"{answer.status} for what HTTP does not allow")
        if used_s > MOST_CPU_S:
            wrong.append(f"it took {used_s:.1f} s of the processor")
        if answer.status == 202 and not self._have_jobs_ended():
            wrong.append(f"its job does not end within {HANGS_S:g} s")
        wrong += self._of_library(request, answer)
        return wrong

    def _of_library(self, request: Request, answer: Answer) -> list[str]:
        """What a refusal has changed."""
        version = self._data_version()
        if version == self._version:
            return []
        self._version = version
        before, self._facts = self._facts, self._read_facts()
        self._kinds["changed the library"] += before != self._facts
        if answer.status < 400 or before == self._facts:
            return []
        return [
            f"refused with {answer.status}, and the library has changed: {sorted(map(repr, before ^ self._facts))[:3]}"
        ]

    def _still_well(self) -> list[str]:
        """Whether the service answers as ever, and holds no more memory than it should."""
        headers = [("Host", HOST), ("Authorization", f"Bearer {READ}"), ("Connection", "close")]
        wrong = []
        try:
            answer = self._ask(Request("GET", FIXED, headers))
        except (OSError, http.client.HTTPException) as error:
            return [f"the service does not answer any more: {error!r}"]
        if answer is None or answer.status != 200:
            return [f"the service does not answer as before: {answer}"]
        said = answer.body
        if self._fixed not in (None, said):
            wrong.append(f"the fixed question has another answer: {said!r}, not {self._fixed!r}")
        self._fixed = said
        with suppress(OSError):
            status = Path(f"/proc/{self._server}/status").read_text(encoding="ascii")
            mb = int(status.partition("VmHWM:")[2].split()[0]) >> 10
            self._most_mb = max(self._most_mb, mb)
            if mb > MOST_MB:
                wrong.append(f"the service has held {mb:,} MB")
        return wrong

    def _cpu_s(self) -> float:
        """What the service has used of the processor; 0 where nobody says."""
        try:
            said = Path(f"/proc/{self._server}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return 0.0
        user, system = said.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _have_jobs_ended(self) -> bool:
        """Wait for what goes on after its request was answered."""
        headers = [("Host", HOST), ("Authorization", f"Bearer {READ}"), ("Connection", "close")]
        until = time.monotonic() + HANGS_S
        while time.monotonic() < until:
            answer = self._ask(Request("GET", "/v1/jobs", headers))
            if answer is None or not any(job["state"] in GOES_ON for job in json.loads(answer.body)):
                return True
            time.sleep(0.01)
        return False

    def _ask(self, request: Request) -> Answer | None:
        """Send it; None where the connection is closed without an answer."""
        with closing(socket.create_connection(("127.0.0.1", self._port), timeout=HANGS_S)) as connection:
            data = request.encoded()
            with suppress(ConnectionError):  # refused before all of it was sent: the answer may have come
                connection.sendall(data[: request.cut])
                if _is_whole(data[: request.cut]) is None:
                    connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection, method=_method(data))
            try:
                response.begin()
                return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            except (http.client.RemoteDisconnected, ConnectionError):
                return None
            finally:
                response.close()

    def _data_version(self) -> object:
        """Changes whenever anybody else has committed something."""
        assert self._reader is not None
        return self._reader.execute("PRAGMA data_version").fetchone()

    def _read_facts(self) -> Facts:
        assert self._reader is not None
        found: set[tuple[object, ...]] = set()
        for name, query in FACTS.items():
            if name != "prompt":  # cached whenever they were encoded, whatever came of the question
                found |= {(name, *row) for row in self._reader.execute(query)}
        return frozenset(found)

    # --- good requests ------------------------------------------------------------------------------------------------

    def _good(self, chance: Chance, method: str, path: str, operation: Schema) -> Request:
        """One that the description allows; the service may still refuse it."""
        target, query = path, []
        for parameter in operation.get("parameters", ()):
            name = parameter["name"]
            if parameter["in"] == "path":
                target = target.replace(
                    f"{{{name}}}", quote(str(self._named(chance, name, parameter["schema"])), safe="")
                )
            elif parameter["in"] == "query" and (parameter.get("required") or chance.random() < 0.3):
                value = self._named(chance, name, parameter["schema"])
                values = value if isinstance(value, list) else [value]
                query += [f"{quote(name)}={quote(_in_query(one))}" for one in values]
        if query:
            target += "?" + "&".join(query)
        headers = [("Host", HOST), ("Authorization", f"Bearer {WRITE}")]
        body = b""
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            body = _json(self._value(chance, content["application/json"]["schema"]))
            headers.append(("Content-Type", "application/json"))
        elif content:
            boundary, body = self._form(chance, content["multipart/form-data"]["schema"])
            headers.append(("Content-Type", f"multipart/form-data; boundary={boundary}"))
        if body or method in ("POST", "PUT"):
            headers.append(("Content-Length", str(len(body))))
        return Request(method, target, [*headers, ("Connection", "close")], body)

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def _named(self, chance: Chance, name: str, schema: Schema) -> object:
        known: dict[str, Sequence[object]] = {
            "image_id": range(1, 8),
            "name": ("animals", "colours", "new"),
            "label_set": ("animals", "colours", "none"),
            "q": ("red", "a green cat", "text:owl"),
            "plus": (["blue"], ["red", "yellow"]),
            "path": ([str(self.work / "album" / "sea")], [str(self.work / "album")]),
            "paths": ([str(self.work / "album" / "sea")],),
            "key": (self._run_key, self._run_key[:8], "0"),
            "labels": (["red", "green"], ["owl", "fox", "a blue car"], {"red": ["a red {}"], "blue": ["{}"]}),
            "label": ("red", "owl"),
            "templates": (["a photo of {}"], ["{}", "a {}"]),
        }
        if name in known and chance.random() < 0.9:
            return chance.choice(list(known[name]))
        return self._value(chance, schema, name)

    def _value(self, chance: Chance, schema: Schema, name: str = "", depth: int = 0) -> object:
        schema = self._resolved(schema)
        if schema.get("examples") and chance.random() < 0.6:
            return chance.choice(schema["examples"])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return chance.choice(schema["enum"])
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self._value(chance, chance.choice(schema[several]), name, depth + 1)
        kind = schema.get("type")
        if kind == "object":
            required = schema.get("required", ())
            return {
                key: self._named(chance, key, one)
                for key, one in schema.get("properties", {}).items()
                if key in required or (chance.random() < 0.3 and depth < 4)
            }
        if kind == "array":
            items = schema.get("items", {})
            return [self._value(chance, items, name, depth + 1) for _ in range(chance.choice((0, 1, 2)))]
        if kind == "integer":
            return chance.randint(int(schema.get("minimum", 0)), min(int(schema.get("maximum", 9)), 9))
        return {"number": 0.5, "boolean": chance.random() < 0.5, "string": chance.choice(("red", "owl", "a {}"))}.get(
            str(kind)
        )

    def _form(self, chance: Chance, schema: Schema) -> tuple[str, bytes]:
        boundary = f"b{chance.getrandbits(40):x}"
        out = io.BytesIO()
        for key, one in self._resolved(schema)["properties"].items():
            is_file = key in ("image", "images")
            if not is_file and chance.random() < 0.7 and key != "label":
                continue
            value = self._named(chance, key, one)
            values: list[object] = [_picture(chance)] if is_file else value if isinstance(value, list) else [value]
            for each in values:
                out.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"'.encode())
                if isinstance(each, bytes):
                    out.write(b'; filename="x.png"\r\nContent-Type: image/png\r\n\r\n' + each)
                else:
                    out.write(b"\r\n\r\n" + _in_query(each).encode("utf-8", "replace"))
                out.write(b"\r\n")
        out.write(f"--{boundary}--\r\n".encode())
        return boundary, out.getvalue()

    # --- hostile ones -------------------------------------------------------------------------------------------------

    def _makers(self) -> dict[str, Callable[[Chance, Request], Request]]:
        """What becomes of a good request, by kinds."""
        return {
            "as described": lambda chance, good: good,
            "body": self._other_body,
            "bytes of the body": lambda chance, good: _with_body(good, hostile.mutated(good.body, chance)),
            "query string": _other_query,
            "path": _other_path,
            "headers": _other_headers,
            "method": lambda chance, good: replace(good, method=chance.choice(METHODS)),
            "raw": lambda chance, good: replace(good, raw=hostile.mutated(good.encoded(), chance)),
            "cut short": lambda chance, good: replace(good, cut=chance.randrange(1 + len(good.encoded()))),
            "upload": self._other_upload,
        }

    def _other_body(self, chance: Chance, good: Request) -> Request:
        if chance.random() < 0.02:
            n = chance.choice((LIMITS.body_bytes + 1, 3 << 20))
            return _with_body(good, b'["' + b"x" * n + b'"]')
        try:
            document = json.loads(good.body)
        except ValueError:
            return _with_body(good, _json(hostile.value(chance)), json_type=True)
        for _ in range(chance.choice((1, 1, 2, 4))):
            document = _tree_changed(chance, document)
        return _with_body(good, _json(document))

    def _other_upload(self, chance: Chance, good: Request) -> Request:
        path = chance.choice(("/v1/search/upload", "/v1/classify/upload"))
        schema = self._document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        boundary, body = self._form(chance, schema)
        how = chance.randrange(6)
        if how == 0:
            body = hostile.mutated(body, chance)
        elif how == 1:
            body = body.replace(b'name="', b'name="' + chance.choice((b"x", b"\0", b'"', b"\r\n", b"a" * 9000)), 1)
        elif how == 2:
            body = body.replace(b"x.png", chance.choice((b"../../x", b"\xff", b"a" * 70_000, b'";x="', b"")), 1)
        elif how == 3:
            part = f'--{boundary}\r\nContent-Disposition: form-data; name="label"\r\n\r\nred\r\n'.encode()
            body = part * chance.choice((2, 1_001, 20_000)) + body
        elif how == 4:
            boundary = chance.choice(("", "other", '"', "x" * 300, boundary[:-1]))
        headers = [one for one in good.headers if one[0] not in ("Content-Type", "Content-Length")]
        headers += [("Content-Type", f"multipart/form-data; boundary={boundary}"), ("Content-Length", str(len(body)))]
        return Request("POST", path, headers, body)


METHODS = ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "DELETE", "POST", "PUT", "FOO", "get")


def _other_query(chance: Chance, good: Request) -> Request:
    path, _, query = good.target.partition("?")
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    for _ in range(chance.choice((1, 1, 3))):
        word = chance.choice((*hostile.WORDS, *map(str, hostile.NUMBERS), "x" * 30_000, "\ud800", "../x", "%", "a\0b"))
        value = chance.choice((quote(word, errors="surrogatepass"), "%ff%fe", "%ed%a0%80", "%00", "%", "%zz", ""))
        name = chance.choice([*(name for name, _ in pairs), "cursor", "top", "limit", "start", "q", "path", "x%00"])
        pairs.append((name, value))
    if chance.random() < 0.1:
        pairs *= 300
    chance.shuffle(pairs)
    return replace(good, target=path + "?" + "&".join(f"{name}={value}" for name, value in pairs))


def _other_path(chance: Chance, good: Request) -> Request:
    path, _, query = good.target.partition("?")
    parts = path.split("/")
    hostile_ones = (
        "..",
        "%2e%2e",
        "%2f",
        "%00",
        "-1",
        "9" * 30,
        "0x1",
        "1e3",
        "",
        "x" * 9000,
        "%ff",
        "%ed%a0%80",
        "1;x",
    )
    parts[chance.randrange(1, len(parts))] = chance.choice(
        (*hostile_ones, quote(chance.choice(hostile.WORDS), safe=""))
    )
    return replace(good, target="/".join(parts) + (f"?{query}" if query else ""))


def _other_headers(chance: Chance, good: Request) -> Request:
    headers = list(good.headers)
    odd = (
        "",
        " ",
        "x" * 9000,
        "\xe4",
        "\ud83d\ude00",
        "a, b",
        "*",
        "null",
        '"',
        "-1",
        "0",
        "9" * 40,
        "1.5",
        ";=",
        "\x7f",
    )
    fitting: dict[str, Sequence[str]] = {
        "Host": ("evil.example", f"{HOST}:80", f"{HOST}.", "[::1", "a b"),
        "Authorization": (
            "Bearer",
            f"Bearer {READ}",
            f"bearer {WRITE}",
            f"Basic {WRITE}",
            "Bearer \xff",
            f"Bearer  {READ}",
        ),
        "Content-Type": (
            "text/plain",
            "application/json; charset=utf-16",
            "multipart/form-data",
            "application/xml",
            "x",
        ),
        "Content-Length": ("0", "1", "99999999999999999999", "-1", "+5", "5, 5", "0x5", " 7"),
        "Transfer-Encoding": ("chunked", "gzip", "chunked, chunked", "identity", "xchunked"),
        "Content-Encoding": ("gzip", "br", "identity"),
        "Accept": ("text/html", "*/*;q=0", "image/*", "application/problem+json"),
        "Range": (
            "bytes=0-",
            "bytes=5-1",
            "bytes=-0",
            "bytes=0-0,1-1,2-2",
            "bytes=999999999-",
            "lines=1-2",
            "bytes=a-b",
        ),
        "If-None-Match": ("*", '"x"', 'W/"x"', "x", '"', '"a", "b"'),
        "If-Match": ("*", '"x"', "x"),
        "If-Range": ('"x"', "Thu, 01 Jan 1970 00:00:00 GMT"),
        "If-Modified-Since": ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "Thu, 99 Foo 99999 00:00:00 GMT"),
        "Origin": ("http://evil.example", "null", f"http://{HOST}", "http://[", "http://"),
        "Sec-Fetch-Site": ("cross-site", "same-origin", "none", "x"),
        "Cookie": ("zsindex_session=x", "zsindex_session=", "=", ";;;", f"zsindex_session={WRITE}", 'a="'),
        "Expect": ("100-continue", "200-ok"),
        "Connection": ("keep-alive, close", "upgrade, close"),
        "Upgrade": ("websocket", "h2c"),
        "X-Forwarded-For": ("1.2.3.4", "x"),
        "X-HTTP-Method-Override": ("DELETE",),
        "Last-Event-ID": ("1", "x", "-1", "9" * 30),
    }
    for _ in range(chance.choice((1, 1, 2, 3))):
        name = chance.choice(list(fitting))
        value = chance.choice((*fitting[name], *fitting[name], *odd))
        if chance.random() < 0.7 and name != "Connection":
            headers = [one for one in headers if one[0] != name]
        headers.insert(chance.randrange(len(headers) + 1), (name, value))
    if chance.random() < 0.05:
        headers += [(f"X-{number}", "x" * 20) for number in range(chance.choice((150, 3_000)))]
    return replace(good, headers=headers)


def _tree_changed(chance: Chance, tree: Any) -> Any:
    """A document of JSON of which one value, somewhere, is another."""
    if isinstance(tree, dict) and tree and chance.random() < 0.85:
        key = chance.choice(list(tree))
        how = chance.random()
        if how < 0.1:
            return {name: value for name, value in tree.items() if name != key}
        if how < 0.2:
            return {**tree, chance.choice((*hostile.WORDS, "limit", "cursor", "paths")): hostile.value(chance)}
        return {**tree, key: _tree_changed(chance, tree[key])}
    if isinstance(tree, list) and tree and chance.random() < 0.7:
        at = chance.randrange(len(tree))
        if chance.random() < 0.1:  # which may come on top of the same further up
            return tree * min(chance.choice((2, 3000)), 1 + LIMITS.body_bytes // len(_json(tree)))
        return [*tree[:at], _tree_changed(chance, tree[at]), *tree[at + 1 :]]
    how = chance.random()
    if how < 0.05:
        deep: Any = tree
        for _ in range(chance.choice((50, 200))):  # several times over; Python writes no more than 1,000
            deep = [deep]
        return deep
    if how < 0.1:
        return "\ud800"
    if how < 0.15:
        return [{"image": "data:image/png;base64,AAAA"}, {"image": 1}, {"text": ""}]
    return hostile.value(chance)


def _with_body(good: Request, body: bytes, *, json_type: bool = False) -> Request:
    headers = [one for one in good.headers if one[0] != "Content-Length"]
    if json_type:
        headers = [one for one in headers if one[0] != "Content-Type"] + [("Content-Type", "application/json")]
    return replace(good, body=body, headers=[*headers, ("Content-Length", str(len(body)))])


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _in_query(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _picture(chance: Chance) -> bytes:
    data = photos.encoded(photos.solid(chance.choice(COLOURS), 8, 8), chance.choice(("PNG", "JPEG", "GIF", "WEBP")))
    return hostile.mutated(data, chance) if chance.random() < 0.4 else data


# --- judging ----------------------------------------------------------------------------------------------------------


def _is_whole(data: bytes) -> bool | None:
    """Whether it holds a request, as h11 reads HTTP: False where it cannot be one; None where it is cut short."""
    if not data:
        return None  # to h11 that is the end of a connection
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=serve.MOST_HEAD_BYTES)
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.EndOfMessage):
                return True
            if event is h11.NEED_DATA:
                return None
            if event is h11.PAUSED:  # an Upgrade or CONNECT, which goes no further
                return True
    except h11.RemoteProtocolError:
        return False


def _method(data: bytes) -> str:
    """What decides whether a body comes with the answer."""
    return "HEAD" if data.startswith(b"HEAD ") else "GET"


def _wrong_about(request: Request, answer: Answer, work: str) -> list[str]:
    wrong = []
    status, headers = answer.status, answer.headers
    kind = headers.get("content-type", "").partition(";")[0]
    if status >= 500 and not (status == 503 and "retry-after" in headers and kind == PROBLEM):
        wrong.append(f"{status}: {answer.body[:300]!r}")
    if headers.get("x-content-type-options") != "nosniff":
        wrong.append(f"{status} without nosniff")
    document: Any = None
    if kind in ("application/json", PROBLEM) and _method(request.encoded()) != "HEAD":
        try:
            document = json.loads(answer.body.decode(), parse_constant=_refuse)
        except ValueError as error:
            wrong.append(f"{status} with what is no JSON ({error}): {answer.body[:200]!r}")
    if status >= 400:
        if kind != PROBLEM:
            wrong.append(f"{status} is no problem document, but {kind or 'nothing'}: {answer.body[:200]!r}")
        elif document is not None and not (
            str(document.get("type", "")).startswith("urn:zsindex:problem:")
            and document.get("status") == status
            and document.get("title")
            and document.get("detail")
        ):
            wrong.append(f"{status} with an incomplete problem document: {answer.body[:300]!r}")
        sent = request.encoded()
        secrets = [work.encode(), b"Traceback", b"zsindex/web/", b"sqlite"]
        said = [one for one in secrets if one in answer.body and one not in sent and quote(one).encode() not in sent]
        wrong += [f"{status} tells of {one!r}: {answer.body[:300]!r}" for one in said]
    return wrong


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _shown(request: Request) -> str:
    data = request.encoded()
    return (
        repr(data[:300]) + ("…" if len(data) > 300 else "") + ("" if request.cut is None else f", cut at {request.cut}")
    )
