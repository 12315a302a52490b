"""Which names a server for this machine only answers to."""

import ipaddress
import re
from dataclasses import dataclass

from starlette.datastructures import Headers


@dataclass(frozen=True)
class OwnNames:
    """localhost, every loopback address, and the host that the server was told to listen on.

    A browser tells sites apart by their names. Where any name will do, a page of another site can ask this
    server, once the site's own name is made to mean this machine (DNS rebinding).
    """

    host: str

    def include(self, headers: Headers) -> bool:
        """Whether a request asks for one of them, or for no host, as no browser does."""
        if "host" not in headers:
            return True
        name = re.sub(r":\d*$", "", headers["host"]).strip("[]").lower()
        return name in ("localhost", self.host.lower()) or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
