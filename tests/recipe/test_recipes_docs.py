"""docs/recipes.md lists every key with its default, and its examples are sound recipes."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from retain.methods.given import DeclaredPast, Source
from retain.recipe import (
    Arm,
    Choose,
    Evaluate,
    Gate,
    HeldOut,
    Judge,
    Keep,
    NamedTask,
    OwnTest,
    Phase,
    Recipe,
    Recovery,
    Rehearse,
    Train,
    expand,
    read_recipe,
    schema,
)
from retain.recipe.faults import ELSEWHERE
from retain.recipe.yaml_text import parse

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")
PARTS: Mapping[str, type[BaseModel]] = {
    "The recipe": Recipe,
    "phases": Phase,
    "data": Source,
    "train": Train,
    "held_out": HeldOut,
    "evaluate": Evaluate,
    "a task at its own shots": NamedTask,
    "a test of one's own": OwnTest,
    "judge": Judge,
    "recovery": Recovery,
    "arms": Arm,
    "past": DeclaredPast,
    "choose": Choose,
    "fail_if": Gate,
    "rehearse": Rehearse,
    "keep": Keep,
}
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def shown(value) -> str:
    """A default as the page shows it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"{value:g}" if isinstance(value, int | float) else f"`{value}`"


def table(part: type[BaseModel]) -> str:
    """The table of a part's keys, as the page must have it."""
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, one in part.model_fields.items():
        default = "(required)" if one.is_required() else ""
        if not default and one.default_factory is None:
            default = shown(one.default)
        lines.append(f"| `{name}` | {default or 'see below'} | {one.description} |")
    return "\n".join(lines)


@pytest.mark.parametrize("title", PARTS)
def test_every_key_is_on_the_page_with_its_default_and_meaning(title):
    assert f"## {title}\n" in PAGE
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    assert table(PARTS[title]) in section


def test_every_part_of_the_schema_has_its_table():
    documented = {part.__name__ for part in PARTS.values()} | {"Method"}
    assert set(schema()["$defs"]) <= documented


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_the_examples_are_sound(text):
    recipe = read_recipe(parse(text).value)
    assert expand(recipe)
    assert read_recipe(recipe.resolved()) == recipe


def test_the_example_shows_every_top_level_key():
    shown_keys = set().union(*(parse(text).value for text in EXAMPLES))
    assert set(Recipe.model_fields) - {"revision"} <= shown_keys


def test_what_other_tools_call_it_points_to_keys_that_exist():
    keys = {key for part in PARTS.values() for key in part.model_fields}
    for advice in ELSEWHERE.values():
        if match := re.match(r"use (?!the )([a-z_]+)", advice):
            assert match[1] in keys, advice
