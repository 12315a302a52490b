"""What one request may take: bytes, seconds, and a place among those that wait."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

MEGABYTE = MEGAPIXEL = 1_000_000
RETRY_AFTER = {"Retry-After": "1"}
"""Seconds, with an answer that is another one a little later."""


@dataclass(frozen=True)
class Limits:
    """What the server takes on."""

    megabytes: int = 16
    """Of a request's body."""
    megapixels: int = 50
    """Of one picture, by its header: none of a larger one is decoded."""
    body_seconds: int = 20
    """From a request's head to the end of its body."""
    queue: int = 64
    """Pictures that are decoded, wait or are computed at one time; and bodies that arrive."""


class Places:
    """As many as there are; who finds none is sent away at once, not made to wait."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.taken = 0

    def check(self) -> None:
        """Raises HTTPException, 429, where no place is free."""
        if self.taken >= self.number:
            raise HTTPException(429, f"{self.taken} pictures are waiting: try again later", RETRY_AFTER)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of them, until it ends."""
        self.check()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


async def read_body(request: Request, limits: Limits) -> bytes:
    """A request's body as it is.

    Raises:
        HTTPException: 413 for a body that is too large, as soon as that is known; 408 for one that is too
            slow; 415 for one that is packed, as forms and compressed bodies are; 422 for one that is empty.
    """
    _check_kind(request)
    most = limits.megabytes * MEGABYTE
    too_large = HTTPException(413, f"the body has more than {limits.megabytes} megabytes, the limit here")
    if int(request.headers.get("content-length", "0")) > most:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                content += part
                if len(content) > most:
                    raise too_large
    except TimeoutError as error:
        raise HTTPException(408, f"the body took more than {limits.body_seconds} seconds") from error
    if not content:
        raise HTTPException(422, "the body is empty: it should be the bytes of a picture's file")
    return bytes(content)


def _check_kind(request: Request) -> None:
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise HTTPException(
            415, "this is a form: send the picture itself as the body, as `curl --data-binary @FILE` does"
        )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "the body is compressed once more: send the picture's file as it is")
