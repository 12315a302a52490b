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


def test_the_command_can_be_called_as_a_module() -> None:
    """Where a machine has several Pythons, it is known which one runs."""
    command = [sys.executable, "-m", "vision_transformers", "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, "train" in finished.stdout) == (0, True), finished.stderr
