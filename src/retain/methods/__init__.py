"""What is done to forget less: one file per method, found by name.

Ours are listed here; a third party's come through the entry point group ``retain.methods``
(``docs/add-a-method.md``).
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from retain.errors import RecipeError, did_you_mean
from retain.methods.base import Method, overrides
from retain.methods.experience_replay import ExperienceReplay
from retain.methods.freeze import Freeze
from retain.methods.generative_replay import GenerativeReplay
from retain.methods.instruction_mixing import InstructionMixing
from retain.methods.joint import Joint
from retain.methods.none import Plain
from retain.methods.tree_generation import TreeGeneration

GROUP = "retain.methods"
REGISTRY: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Plain,
        Joint,
        ExperienceReplay,
        InstructionMixing,
        GenerativeReplay,
        TreeGeneration,
        Freeze,
    )
}

__all__ = ["REGISTRY", "Method", "find", "from_spec", "known", "load", "overrides", "validate"]


@cache
def known() -> Mapping[str, type[Method]]:
    """Every method by name, ours and the installed ones of others.

    Raises:
        RecipeError: If an installed one is not a method, or takes a name that is taken.
    """
    found = dict(REGISTRY)
    for point in entry_points(group=GROUP):
        method = point.load()
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise RecipeError(f"entry point '{point.name}' ({point.value}) is not a Method class")
        if point.name != method.name:
            raise RecipeError(
                f"entry point '{point.name}' ({point.value}) calls itself '{method.name}'; "
                "the two names must be equal"
            )
        if point.name in found:
            raise RecipeError(
                f"method '{point.name}' of {point.value} takes a name that {found[point.name]} has"
            )
        found[point.name] = method
    return found


def find(name: str) -> type[Method]:
    """The method's class.

    Raises:
        RecipeError: If no method has this name.
    """
    methods = known()
    if name not in methods:
        raise RecipeError(did_you_mean("method", name, list(methods)))
    return methods[name]


def load(name: str, options: Mapping[str, Any] | None = None) -> Method:
    """The method with these values, checked as a recipe's are.

    >>> load("experience_replay", {"share": 0.1}).share
    0.1

    Raises:
        RecipeError: If the name is unknown, or a value cannot be.
    """
    method = find(name)
    try:
        made = validate(method, options or {})
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise RecipeError(f"{name}: {'; '.join(lines)}") from error
    return made


def validate(method: type[Method], options: Mapping[str, Any]) -> Method:
    """The method with these values; types are taken strictly, as JSON has them.

    Raises:
        pydantic.ValidationError: For keys and types.
        MethodError: For values that cannot be.
    """
    text = to_json(dict(options), inf_nan_mode="constants")
    made: Method = TypeAdapter(method).validate_json(text, strict=True)
    return made


def from_spec(spec: Mapping[str, Any]) -> Method:
    """The method that :meth:`Method.spec` described.

    Raises:
        RecipeError: If the method installed now has another VERSION than the one described.
    """
    options = {key: value for key, value in spec.items() if key not in {"method", "VERSION"}}
    method = load(spec["method"], options)
    if spec["VERSION"] != method.VERSION:
        raise RecipeError(
            f"{method.name}: the step was made for version {spec['VERSION']}, "
            f"version {method.VERSION} is installed"
        )
    return method
