import json

import jsonschema
import pytest

from retain.recipe import load_recipe, schema, schema_text, shipped
from retain.recipe.read import SHIPPED
from retain.recipe.yaml_text import parse
from tests.recipe.recipes import FREEZE, REPLAY, faults_of, raw, with_train


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def test_the_written_schema_is_current():
    assert (SHIPPED / "recipe.schema.json").read_text("utf-8") == schema_text()
    assert json.loads(schema_text()) == schema()


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_fit_short_and_resolved(validator, name):
    validator.validate(parse((SHIPPED / f"{name}.yaml").read_text("utf-8")).value)
    validator.validate(load_recipe(name).resolved())


@pytest.mark.parametrize(
    "arm",
    [None, [], "none", FREEZE, [REPLAY | {"past": {"data": "embedded:xsum"}}],
     {"methods": ["joint"], "train": {"learning_rate": 1e-4}, "from_phase": "hindi"},
     [{"method": "of-somebody-else", "strength": 3}]],
)  # fmt: skip
def test_every_form_of_an_arm_fits(validator, arm):
    validator.validate(raw(arms={"this": arm}))


@pytest.mark.parametrize(
    "values",
    [
        with_train(learning_rat=1e-4),
        with_train(max_steps=1.5),
        raw(nmae="x"),
        raw(arms={"a": [REPLAY | {"ratio": 1}]}),
        raw(arms={"a": {"train": {"lr": 1}}}),
        raw(arms={"a": [FREEZE | {"select": "middle"}]}),
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(validator, values):
    assert not validator.is_valid(values)
    assert faults_of(values)
