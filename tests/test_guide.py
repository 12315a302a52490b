"""The guide shows the code as it stands, its examples run, and what it points to is there."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- (?P<file>\S+): (?P<name>\S+) -->\n\n)?```python\n(?P<code>.*?)```", re.DOTALL)
COPIES = [(match["file"], match["name"], match["code"]) for match in BLOCK.finditer(GUIDE) if match["file"]]


def definition(file: str, name: str) -> ast.AST:
    """A function or method of the package, by its name with dots."""
    node: ast.AST = ast.parse((ROOT / "src" / "vision_transformers" / file).read_text(encoding="utf-8"))
    for part in name.split("."):
        (node,) = [child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == part]
    return node


def without_docstring(node: ast.AST) -> str:
    """What it does, whatever its layout and comments."""
    assert isinstance(node, ast.FunctionDef)
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        node.body = node.body[1:]
    return ast.unparse(node)


@pytest.mark.parametrize(("file", "name", "code"), COPIES, ids=[f"{file} {name}" for file, name, _ in COPIES])
def test_code_with_a_path_is_the_code_at_that_path(file: str, name: str, code: str) -> None:
    (shown,) = ast.parse(code).body
    assert without_docstring(shown) == without_docstring(definition(file, name))


def test_every_part_of_the_model_is_shown() -> None:
    shown = {file for file, _, _ in COPIES}
    parts = (
        "patches",
        "stem",
        "tokens",
        "positions",
        "attention",
        "scaled_dot_product",
        "feed_forward",
        "encoder",
        "transformer",
        "head",
        "vit",
    )
    assert shown == {f"model/{part}.py" for part in parts}


def test_all_other_code_runs_from_top_to_bottom() -> None:
    """In one namespace, as a reader types it; its assertions are what the text says of shapes."""
    examples = [match["code"] for match in BLOCK.finditer(GUIDE) if not match["file"]]
    assert len(examples) >= 10
    names: dict[str, object] = {}
    for place, code in enumerate(examples):
        exec(compile(code, f"example {place + 1} of docs/guide.md", "exec"), names)


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", GUIDE) if not link.startswith("http")]
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_equations_1_to_8_are_there() -> None:
    assert all(f"({number})\n```" in GUIDE for number in range(1, 9))


@pytest.mark.parametrize("name", ["model", "encoder"])
def test_diagrams_are_what_their_script_draws(name: str) -> None:
    folder = ROOT / "docs" / "diagrams"
    specification = importlib.util.spec_from_file_location("draw", folder / "draw.py")
    assert specification is not None
    assert specification.loader is not None
    draw = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(draw)
    assert getattr(draw, name)() == (folder / f"{name}.svg").read_text(encoding="utf-8")
