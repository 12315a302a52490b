"""Connections on which too little happens are closed: uvicorn itself waits for a request for ever."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_SECONDS = 10.0
"""Without a whole head of a request; and for what still arrives of a body that was refused."""


class Connection(H11Protocol):
    """Closed where a request's head is not there in time, whether nothing arrives or a letter a second."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if is_busy:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(IDLE_SECONDS, self.transport.close)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
