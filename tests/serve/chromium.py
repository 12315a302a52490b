"""A page in a chromium that is told what to do through a pipe, as Chrome's DevTools protocol has it."""

import itertools
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest
from tests.browser import BROWSER

SECONDS = 20.0


class ChromiumPage:
    """One page; a context, whose end ends the browser. Skips where there is no chromium."""

    def __init__(self, profile: Path, address: str) -> None:
        if BROWSER is None:
            pytest.skip("needs a chromium")
        (to_read, self._write), (self._read, to_write) = os.pipe(), os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        pipes = ["--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", BROWSER, *options, *pipes],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._received, self._numbers = b"", itertools.count(1)
        self._session: str | None = None
        self.trouble: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)

    def call(self, method: str, **parameters: Any) -> Any:
        """One command, and what it gives; errors of the page are noted on the way."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while (message := self._next_message()).get("id") != number:
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.trouble.append(json.dumps(message["params"]))
        assert "error" not in message, message
        return message["result"]

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            part = os.read(self._read, 2**16)
            assert part, "the browser has ended"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(message))

    def value(self, expression: str) -> Any:
        """What JavaScript gives on the page; a promise is waited for."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        return result["result"].get("value")

    def until(self, expression: str) -> Any:
        """Waits until JavaScript gives something true."""
        ends_at = time.monotonic() + SECONDS
        while not (value := self.value(expression)):
            assert time.monotonic() < ends_at, (expression, self.trouble)
            time.sleep(0.02)
        return value

    def choose(self, selector: str, *files: Path) -> None:
        """Chooses files, as a person does in the window of the system."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def press(self, key: str, code: int) -> None:
        """A key of the keyboard."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        self.call("Browser.close")
        self._process.wait(timeout=SECONDS)
        os.close(self._read)
        os.close(self._write)
