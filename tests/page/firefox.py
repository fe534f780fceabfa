"""Debian's Firefox, as far as tests need it: over WebDriver BiDi, which it speaks by itself.

Playwright drives a Firefox that was built for it. One from the system does not know what it asks for, and a driver
between the two would be one more program to have.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

client = pytest.importorskip("websockets.sync.client", reason="needs the package websockets")

STARTS_S = 60
WAITS_S = 60
# As WebDriver names them: https://www.w3.org/TR/webdriver2/#keyboard-actions
KEYS = {
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
    "End": "\ue010",
    "Tab": "\ue004",
}
PREFERENCES = {
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.normandy.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "ui.prefersReducedMotion": 1,
}


class Firefox:
    """One tab of a browser."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        self._do("session.new", capabilities={})
        self._do("session.subscribe", events=["log.entryAdded"])
        [tab] = self._do("browsingContext.getTree")["contexts"]
        self._tab = tab["context"]
        self._do("browsingContext.setViewport", context=self._tab, viewport={"width": 1280, "height": 800})

    def _do(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            got = json.loads(self._connection.recv(timeout=60))
            if got.get("method") == "log.entryAdded":
                entry = got["params"]
                if entry["level"] == "error":
                    self.errors.append(entry["text"])
            elif got.get("id") == number:
                if got["type"] == "error":
                    raise RuntimeError(f"{method}: {got['message']}")
                return got["result"]

    def goto(self, url: str) -> None:
        self._do("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def travel(self, by: int) -> None:
        self._do("browsingContext.traverseHistory", context=self._tab, delta=by)

    def run(self, expression: str) -> Any:
        """The value of an expression; true for an element."""
        got = self._do(
            "script.evaluate",
            expression=f"(async (found) => JSON.stringify(found instanceof Element || (found ?? null)))({expression})",
            target={"context": self._tab},
            awaitPromise=True,
        )
        if got["type"] == "exception":
            raise RuntimeError(got["exceptionDetails"]["text"])
        return json.loads(got["result"]["value"])

    def until(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        give_up_at = time.monotonic() + WAITS_S
        while not (found := self.run(expression)):
            assert time.monotonic() < give_up_at, f"not within {WAITS_S} s: {expression}"
            time.sleep(0.05)
        return found

    def press(self, *keys: str) -> None:
        """Press keys, by name, or texts."""
        pressed = [KEYS[key]] if (key := keys[0]) in KEYS else list(key)
        actions = [{"type": kind, "value": value} for value in pressed for kind in ("keyDown", "keyUp")]
        self._do("input.performActions", context=self._tab, actions=[{"type": "key", "id": "keys", "actions": actions}])
        if keys[1:]:
            self.press(*keys[1:])

    def click(self, selector: str) -> None:
        """Click the middle of the first element of a selector, as soon as there is one."""
        x, y = self.until(
            f"((box) => box && [box.x + box.width / 2, box.y + box.height / 2].map(Math.round))"
            f"(document.querySelector({json.dumps(selector)})?.getBoundingClientRect())"
        )
        move = {"type": "pointerMove", "x": x, "y": y}
        actions = [move, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._do(
            "input.performActions", context=self._tab, actions=[{"type": "pointer", "id": "mouse", "actions": actions}]
        )


@contextmanager
def firefox(program: str) -> Iterator[Firefox]:
    """A browser with a profile of its own, and a tab in it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
        Path(profile, "user.js").write_text("\n".join(lines), encoding="utf-8")
        log = Path(profile, "log")
        with log.open("wb") as out:
            command = [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
            process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            address = _address(log, process)
            with client.connect(f"{address}/session", max_size=None, proxy=None) as connection:
                made = Firefox(connection)
                yield made
                with suppress(RuntimeError):
                    made._do("browser.close")
        finally:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    give_up_at = time.monotonic() + STARTS_S
    while True:
        found = re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
