"""`vit serve` as a person starts it, and what clients say to it."""

import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands import Process, Vit


@dataclass(frozen=True)
class Answer:
    """What came back."""

    code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Served:
    """A server that is ready."""

    process: Process
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}), **more)
            answer = connection.getresponse()
            return Answer(
                answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
            )
        finally:
            connection.close()

    def predict(self, picture: Path, query: str = "") -> Answer:
        return self.ask("POST", f"/predict{query}", picture.read_bytes())

    def metric(self, line: str) -> float:
        """A number of GET /metrics; 0 where there is none yet."""
        text = self.ask("GET", "/metrics").content.decode()
        found = re.search(rf"^{re.escape(line)} (.+)$", text, flags=re.MULTILINE)
        return 0.0 if found is None else float(found[1])

    def connect(self) -> socket.socket:
        """For those who do not speak as they should."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@contextmanager
def serving(vit: Vit, folder: Path, model: Path, *options: str, **more: Any) -> Iterator[Served]:
    """A server on a free port, killed at the end if it is still there; what else may be given to `start`."""
    process = vit.start(folder, ["serve", str(model), "--port", "0", "--device", "cpu", *options], **more)
    assert process.until(lambda: process.output.exists() and "\nend " in process.output.read_text()), (
        process.errors.read_text()
    )
    port = re.search(r"http://[^ ]+:(\d+)/\n", process.output.read_text())
    assert port is not None
    try:
        yield Served(process, int(port[1]))
    finally:
        if Path(f"/proc/{process.pid}").exists():
            process.kill()
