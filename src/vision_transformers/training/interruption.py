"""What Ctrl-C and `kill` mean to a run: finish the step, save, say how to go on."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from vision_transformers.errors import Failure

ONE_WISH = 1.0
"""Seconds after a signal in which another is taken for the same: GNU `timeout` may send two at once."""


class Interrupted(Failure):
    """A signal ended the run, which was saved. The exit code is the shell's for that signal."""

    is_told = True

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interruption:
    """While entered, the first SIGINT or SIGTERM is noted, and a later one ends the process at once.

    The handler only notes: to write a checkpoint inside a handler could interrupt writing one. Outside the
    main thread, where Python allows no handlers, nothing is noted.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._noted_at = 0.0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python passes it
        if self.signal is None:
            self.signal = signal.Signals(number)
            self._noted_at = time.monotonic()
        elif time.monotonic() - self._noted_at >= ONE_WISH:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
