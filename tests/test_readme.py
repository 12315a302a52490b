"""What the README shows is what a stranger types first: it must run."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXPLAINING = (Path(__file__).parents[1] / "docs" / "explaining.md").read_text(encoding="utf-8")
SOURCE = Path(__file__).parents[1] / "src" / "vision_transformers"


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README + EXPLAINING, flags=re.DOTALL))
def test_python_of_the_readme_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    capsys.readouterr()


def test_every_file_that_the_readme_points_to_exists() -> None:
    table = README.partition("| I want to |")[2].partition("\n\n")[0]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(named) > 10
    assert [name for name in named if not (SOURCE / name).exists()] == []


def test_tree_of_the_readme_names_every_room() -> None:
    tree = README.partition("src/vision_transformers/\n")[2].partition("```")[0]
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {name for name in rooms if f"  {name}/" not in tree} == set()


def test_every_recipe_of_the_readme_is_known() -> None:
    from vision_transformers.recipes.table import RECIPES

    named = set(re.findall(r"`vit train ([a-z][a-z0-9-]+)", README))
    assert named <= set(RECIPES), named - set(RECIPES)
