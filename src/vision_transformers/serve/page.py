"""The page for people: one file with everything in it, and the policy that lets nothing else in."""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Page:
    """What `GET /` answers."""

    content: str
    policy: str
    """Of its header Content-Security-Policy: its own script and style, its own server, pictures in memory."""


@cache
def page() -> Page:
    """The page as it is in this package."""
    content = files("vision_transformers.serve").joinpath("page.html").read_text(encoding="utf-8")
    script, style = (_digests(content, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(content, policy)


def _digests(content: str, tag: str) -> str:
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", content, flags=re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
