"""The names that users import, and what importing them costs."""

import subprocess
import sys

import vision_transformers


def test_every_public_name_is_there() -> None:
    for name in vision_transformers.__all__:
        assert getattr(vision_transformers, name) is not None


def test_importing_the_package_imports_no_torch() -> None:
    code = "import vision_transformers, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
