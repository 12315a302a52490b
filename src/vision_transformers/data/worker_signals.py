"""Which signals reach the processes that read pictures."""

import signal


def leave_signals_to_main_process(worker: int) -> None:  # noqa: ARG001 - the loader passes it
    """Ctrl-C and a scheduler's SIGTERM reach every process of a run; the main one ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
