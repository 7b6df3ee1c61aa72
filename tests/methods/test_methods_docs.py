"""docs/methods.md and docs/add-a-method.md say what is, and what they show runs."""

import re
import sys
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace

import pytest

from retain.errors import RecipeError
from retain.methods import REGISTRY, known
from retain.methods.base import HOOKS, option_names
from retain.recipe import expand, read_recipe
from retain.recipe.yaml_text import parse
from tests.conftest import make_model
from tests.methods.learning import NEW, OLD, learn, loss, tokenised

DOCS = Path(__file__).parents[2] / "docs"
METHODS = (DOCS / "methods.md").read_text("utf-8")
ADD = (DOCS / "add-a-method.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def rows(text: str) -> list[str]:
    """The first column of every table, without its code marks."""
    return re.findall(r"^\| `([a-z_]+)[^|]*\|", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_method_has_its_row_and_its_keys(name):
    assert name in rows(METHODS.split("\n## ")[0])
    [section] = [part for part in METHODS.split("\n## ") if part.startswith(f"{name}\n")]
    assert [*rows(section), "phases"] == [*option_names(REGISTRY[name])[1:], "phases"]


def test_no_row_is_of_a_method_that_is_not_there():
    assert set(rows(METHODS.split("\n## ")[0])) == set(REGISTRY)


def test_the_hooks_are_listed_in_order():
    assert tuple(rows(ADD)) == HOOKS


@pytest.fixture
def shown(monkeypatch):
    """The module that add-a-method.md shows, installed as it says."""
    module = ModuleType("pull_back")
    monkeypatch.setitem(sys.modules, "pull_back", module)  # dataclasses look their module up
    [code] = blocks(ADD, "python")
    exec(compile(code, "docs/add-a-method.md", "exec"), module.__dict__)
    [line] = re.findall(r"^(\w+) = \"my_package.pull_back:(\w+)\"", ADD, flags=re.MULTILINE)
    point = SimpleNamespace(name=line[0], value="my_package", load=lambda: getattr(module, line[1]))
    monkeypatch.setattr("retain.methods.entry_points", lambda group: (point,))
    known.cache_clear()
    yield module
    known.cache_clear()


def test_the_method_shown_is_known_to_recipes(shown):
    [text] = blocks(ADD, "yaml")
    recipe = read_recipe(parse(text).value)
    both = next(cell for cell in expand(recipe) if cell.arm == "both")
    assert [method.name for method in both.phases[1].methods] == ["pull_back", "experience_replay"]
    with pytest.raises(RecipeError, match=r"pull_back\.part: must lie in 0\.\.1; got 2"):
        read_recipe(parse(text).value, ["arms.both.pull_back.part=2"])


def test_the_method_shown_keeps_what_plain_training_forgets(shown, tmp_path):
    first = learn(make_model(), OLD, tmp_path / "first")
    method = shown.PullBack(part=0.2)
    kept = method.remember(first, tokenised(OLD), Random(0))

    def second(folder, *methods):
        model = make_model()
        model.load_state_dict(first.state_dict())
        return learn(model, NEW, tmp_path / folder, *methods, memory=kept)

    assert loss(second("with", method), OLD) < loss(second("plain"), OLD) - 0.01
