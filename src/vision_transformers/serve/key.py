"""Who may ask: whoever has the key, or everybody where there is none."""

import base64
import binascii
import hmac
import os
from dataclasses import dataclass

from starlette.datastructures import Headers

REALM = {"WWW-Authenticate": 'Basic realm="vit serve", charset="UTF-8"'}
"""Makes browsers ask for the key, as the password of any name, and send it with what the page asks for."""


@dataclass(frozen=True, repr=False)
class Key:
    """A secret that clients send: `Authorization: Bearer KEY`, or the password of basic authentication.

    Blanks at its ends do not count: no header can carry them.
    """

    secret: str

    def is_in(self, headers: Headers) -> bool:
        """Whether a request has it; how long that takes tells nothing but the key's length."""
        given = _given(headers.get("authorization", ""))
        return hmac.compare_digest(given.strip(), os.fsencode(self.secret).strip())


def _given(authorization: str) -> bytes:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (ValueError, binascii.Error):
            return b""
    return b""
