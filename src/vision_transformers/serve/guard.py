"""Around every route: the key, the names, headers that browsers obey, counts, and what must not come out."""

import asyncio
import logging
import time

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from vision_transformers.errors import is_lack_of_memory
from vision_transformers.serve.application import CLIENT_IS_GONE, Json
from vision_transformers.serve.key import REALM, Key
from vision_transformers.serve.metrics import Metrics
from vision_transformers.serve.names import OwnNames

logger = logging.getLogger(__name__)

OPEN_TO_ALL = ("/health/live", "/health/ready")
"""Who probes a server has no key."""
WRONG_NAME = (
    "without a key, this server answers only to the names of its own machine: let a proxy send "
    "`Host: localhost`, or start the server with a key"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """An application within; without a key, everybody may ask it, and without names, by any name."""

    def __init__(
        self, application: Starlette, metrics: Metrics, key: Key | None, names: OwnNames | None
    ) -> None:
        self.application = application
        self.paths = frozenset(route.path for route in application.routes if isinstance(route, Route))
        self.metrics = metrics
        self.key = key
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        begun_at, code = time.perf_counter(), CLIENT_IS_GONE

        async def send_with_headers(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._answer(scope, receive, send_with_headers)
        except Exception as error:  # it was answered; now whoever runs the server is told
            _log(error)
        except asyncio.CancelledError:  # the server ends, and has waited as long as it was told to
            if code == CLIENT_IS_GONE:
                refusal = Json({"error": "the server ended before this was answered"}, 503)
                await refusal(scope, receive, send_with_headers)
        finally:
            # Never what a client wrote, which could be any number of names.
            route = scope["path"] if scope["path"] in self.paths else "none"
            self.metrics.answered(route, code, time.perf_counter() - begun_at)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refusal(scope["path"], Headers(scope=scope)) or self.application
        await answer(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> Json | None:
        if path in OPEN_TO_ALL:
            return None
        if self.names is not None and not self.names.include(headers):
            return Json({"error": WRONG_NAME}, 421)
        if self.key is not None and not self.key.is_in(headers):
            return Json({"error": "the key is missing or wrong"}, 401, REALM)
        return None


def _log(error: Exception) -> None:
    if is_lack_of_memory(error):
        logger.error("the memory is not enough: %s", str(error).partition("\n")[0])
    else:
        logger.error("a request failed", exc_info=error)
