"""What the README shows is what a stranger types first: it must run."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.recipes import tiny
from tests.training.runs import make_images

import vision_transformers
from vision_transformers.cli.train import CommandLine, parse
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.train import Result, train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
LIBRARY = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
EXPLAINING = (ROOT / "docs" / "explaining.md").read_text(encoding="utf-8")
PAGES = {
    path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}
SOURCE = ROOT / "src" / "vision_transformers"


@pytest.mark.parametrize(
    "code", re.findall(r"```python\n(.*?)```", README + EXPLAINING + LIBRARY, flags=re.DOTALL)
)
def test_python_of_the_readme_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    capsys.readouterr()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TRAINING, flags=re.DOTALL))
def test_python_on_your_own_pictures_does_what_the_command_does(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes: list[Recipe] = []

    def train_shortly(recipe: Recipe) -> Result:
        recipes.append(recipe)
        return train(replace(recipe, steps=1))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vision_transformers, "train", train_shortly)
    make_images(tmp_path / "photos", count=4)
    train(replace(tiny(), steps=1), "runs/source")
    exec(compile(code, "training.md", "exec"), {})
    command = ["finetune", "--data.path", "photos/", "--init", "runs/source"]
    assert recipes == [parse(CommandLine.of(command))[0].recipe]


def test_every_file_that_the_readme_points_to_exists() -> None:
    table = README.partition("| I want to |")[2].partition("\n\n")[0]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(named) > 10
    assert [name for name in named if not (SOURCE / name).exists()] == []


def test_tree_of_the_readme_names_every_room() -> None:
    tree = README.partition("src/vision_transformers/\n")[2].partition("```")[0]
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {name for name in rooms if f"  {name}/" not in tree} == set()


def test_every_recipe_that_is_named_is_known() -> None:
    from vision_transformers.recipes.table import RECIPES

    guides = "".join(text for path, text in PAGES.items() if path.name != "log.md")
    named = set(re.findall(r"`vit train ([a-z][a-z0-9-]+)", guides))
    assert named <= set(RECIPES), named - set(RECIPES)


def test_every_link_leads_somewhere() -> None:
    lost = [
        (page.name, link)
        for page, text in PAGES.items()
        for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[\w-]+)?\)", text)
        if not (page.parent / link).exists()
        or (
            anchor
            and anchor not in anchors((page.parent / link).read_text(encoding="utf-8") if link else text)
        )
    ]
    assert not lost


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
