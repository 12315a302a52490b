"""No option of `vit` appears, changes its name or goes away without somebody meaning it.

Where one is meant to, write the list anew: `python -m tests.cli.test_options`
"""

import contextlib
import io
import os
import re
from pathlib import Path
from unittest.mock import patch

from vision_transformers.cli.main import COMMANDS, main

FROZEN = Path(__file__).parent / "options.txt"


def options_of(command: str) -> list[str]:
    """The options of a command, as its help lists them."""
    output = io.StringIO()
    wide = patch.dict(os.environ, COLUMNS="1000")
    with wide, contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([command, "--help"])
    # A name stands after a margin or after another name; in the text of a help it stands after a word.
    names = re.findall(r"(?<=  |│ |, )--[a-z][\w.-]*", output.getvalue())
    return sorted({f"vit {command} {name}" for name in names})


def all_options() -> str:
    return "".join(f"{option}\n" for command in COMMANDS for option in options_of(command))


def test_the_options_are_the_frozen_ones() -> None:
    assert all_options() == FROZEN.read_text(), "to freeze them anew: python -m tests.cli.test_options"


if __name__ == "__main__":
    FROZEN.write_text(all_options())
