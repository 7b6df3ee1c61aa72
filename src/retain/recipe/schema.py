"""The recipe's JSON Schema, for editors; ``recipes/recipe.schema.json`` is this, written out."""

import json
from typing import Any

from pydantic import TypeAdapter

from retain.methods import REGISTRY
from retain.methods.base import option_names
from retain.recipe.model import Recipe


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe as people write it, shorthands included."""
    made = Recipe.model_json_schema(mode="validation")
    arm = made["$defs"]["Arm"]
    entries = [_entry(name, made["$defs"]) for name in sorted(REGISTRY)]
    made["$defs"]["Method"] = {"anyOf": [{"type": "string"}, *entries, _third_party()]}
    one = {"$ref": "#/$defs/Method"}
    arm["properties"]["methods"]["items"] = one
    made["$defs"]["Arm"] = {
        "title": "Arm",
        "description": arm["description"],
        "anyOf": [{"type": "null"}, {"type": "array", "items": one}, one, arm],
    }
    arm["properties"]["train"] = {"$ref": "#/$defs/Train"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "retain recipe",
        **{key: value for key, value in made.items() if key != "title"},
    }


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _entry(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of one method's entry; what it refers to joins ``definitions``."""
    made = TypeAdapter(REGISTRY[name]).json_schema()
    definitions.update(made.get("$defs", {}))
    properties = {key: made["properties"][key] for key in option_names(REGISTRY[name])}
    return {
        "type": "object",
        "properties": {"method": {"const": name}, **properties},
        "required": ["method"],
        "additionalProperties": False,
    }


def _third_party() -> dict[str, Any]:
    """Methods that others install are known by name only where they are installed."""
    others = {"type": "string", "not": {"enum": sorted(REGISTRY)}}
    return {"type": "object", "properties": {"method": others}, "required": ["method"]}
