"""Recipes for the tests, as texts with places to change."""

from copy import deepcopy
from textwrap import dedent

import pytest

from retain.recipe import FaultyRecipeError, load_recipe, read_recipe

BASE = {
    "name": "study",
    "model": "embedded:smollm2-135m-instruct",
    "phases": [
        {
            "name": "medicine",
            "data": "embedded:medmcqa-subject",
            "train": {"learning_rate": 2e-4, "max_steps": 50},
        },
        {
            "name": "hindi",
            "data": "embedded:hindi-prose",
            "train": {"objective": "pretrain", "learning_rate": 3e-4, "max_steps": 40},
        },
    ],
}
REPLAY = {"method": "experience_replay"}
FREEZE = {"method": "freeze", "num_layers": 2}
CHANGED = FREEZE | {"select": "most_changed"}


def raw(**changes):
    """The base recipe's values, with top-level keys changed."""
    return deepcopy(BASE) | changes


def read(**changes):
    return read_recipe(raw(**changes))


def one_phase(**changes):
    return raw(phases=deepcopy(BASE["phases"][:1]), **changes)


def with_phase(index=1, **changes):
    """The base recipe with some keys of one phase changed."""
    phases = deepcopy(BASE["phases"])
    phases[index] |= changes
    return raw(phases=phases)


def with_train(**values):
    """The base recipe with training values of the second phase changed."""
    phases = deepcopy(BASE["phases"])
    phases[1]["train"] |= values
    return raw(phases=phases)


def faults_of(values, overrides=()) -> tuple[str, ...]:
    """The faults of a recipe that has some."""
    with pytest.raises(FaultyRecipeError) as caught:
        read_recipe(values, overrides)
    return caught.value.faults


def faults_of_text(folder, text, overrides=()) -> str:
    """The whole message about a recipe file."""
    path = folder / "recipe.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    with pytest.raises(FaultyRecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).replace(str(folder) + "/", "")
