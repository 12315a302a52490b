"""`vit` as a person runs it, in processes that can be killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Finished:
    """What a process left; its code is negative if a signal ended it."""

    code: int
    output: str
    errors: str


class Process:
    """One `vit` that runs."""

    def __init__(self, vit: "Vit", pid: int, output: Path, errors: Path) -> None:
        self.vit, self.pid, self.output, self.errors = vit, pid, output, errors

    def wait(self) -> Finished:
        code = self.vit.ask({"wait": self.pid})
        return Finished(code, self.output.read_text(), self.errors.read_text())

    def is_alive(self) -> bool:
        """Whether it has not ended, though nobody has waited for it yet."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def until(self, condition: Callable[[], bool]) -> bool:
        """Waits until the condition holds; False if the process ends before."""
        while not condition():
            if not self.is_alive():
                return condition()
            time.sleep(0.002)
        return True

    def kill(self) -> Finished:
        """Kills it with SIGKILL; what it started is left alone."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()


class Vit:
    """Starts processes; those of one instance share what they import."""

    drawn = True
    """Whether their diagrams are, as everywhere but in tests that use the fixture `undrawn`."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.started = 0
        self.requests, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self.program = subprocess.Popen(
                [sys.executable, str(PROGRAMS / "forked_vit.py")],
                stdin=theirs,
                stdout=subprocess.PIPE,
                text=True,
            )

    def ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> int:
        assert self.program.stdout is not None
        socket.send_fds(self.requests, [json.dumps(request).encode()], descriptors)
        return int(self.program.stdout.readline())

    def start(
        self,
        folder: Path,
        arguments: Sequence[str],
        program: str = "",
        given: bytes = b"",
        output: int | None = None,
        errors: int | None = None,
        die_at: int = 0,
        file_limit: int = 0,
        open_limit: int = 0,
        memory_limit: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Starts `vit` in a folder.

        Args:
            program: the name of another one, in `programs`, to start in its place.
            given: on its standard input.
            output: a descriptor for its standard output, if it is not to be read.
            errors: the same for its standard error.
        """
        self.started += 1
        files = [self.scratch / f"{self.started}-{name}" for name in ("input", "output", "errors")]
        files[0].write_bytes(given)
        opened = [os.open(file, os.O_RDWR | os.O_CREAT) for file in files]
        standard = [
            own if instead is None else instead
            for own, instead in zip(opened, (None, output, errors), strict=True)
        ]
        pid = self.ask(
            {
                "program": program and str(PROGRAMS / program),
                "arguments": list(arguments),
                "folder": str(folder),
                "environment": {"XDG_CACHE_HOME": str(self.scratch / "cache"), **(environment or {})},
                "die_at": die_at,
                "file_limit": file_limit,
                "open_limit": open_limit,
                "memory_limit": memory_limit,
                "drawn": self.drawn,
            },
            standard,
        )
        for descriptor in opened:
            os.close(descriptor)
        return Process(self, pid, *files[1:])

    def run(self, folder: Path, arguments: Sequence[str], **more: Any) -> Finished:
        """Runs `vit` in a folder until it ends; what else may be given to `start`."""
        return self.start(folder, arguments, **more).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.requests.close()
        self.program.wait()
