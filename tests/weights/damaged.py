"""JSON with one value replaced by what does not belong there."""

import json
from collections.abc import Iterator
from typing import Any

REPLACEMENTS: tuple[Any, ...] = (None, "x", -1, 0, 0.5, True, [], [1], {}, {"x": "y"})


def places(content: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in content.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, (*above, name))


def damaged(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The content with each value replaced by each of `REPLACEMENTS`, and what was done."""
    whole = json.dumps(content)
    for place in places(content):
        for replacement in REPLACEMENTS:
            copy = json.loads(whole)
            inner = copy
            for name in place[:-1]:
                inner = inner[name]
            inner[place[-1]] = replacement
            yield f"{'.'.join(place)} = {replacement!r}", copy
