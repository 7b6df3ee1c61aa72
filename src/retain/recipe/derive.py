"""Recipes made from a recipe: its variants, and the values of its sweep."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from retain.errors import RecipeError
from retain.recipe.dotted import label, with_value
from retain.recipe.faults import Fault, show, unknown
from retain.recipe.valid import validate_recipe

VARIANT_KEYS = ("model", "revision", "order")


def apply(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's plain values with dotted values changed, its variants and sweep left out.

    Raises:
        RecipeError: If a name leads nowhere.
    """
    after = {key: value for key, value in raw.items() if key not in {"variants", "sweep"}}
    for name, value in changes.items():
        after = _ordered(after, value) if name == "order" else with_value(after, name, value)[0]
    return after


def _ordered(raw: Mapping[str, Any], order: Any) -> dict[str, Any]:
    """The phases in another order."""
    listed = raw.get("phases")
    phases = {label(one, index): one for index, one in enumerate(listed or ())}
    if not isinstance(order, list | tuple) or not order:
        raise RecipeError(f"must be a list of phases; got {show(order)}")
    for one in order:
        if one not in phases:
            raise RecipeError(unknown("phase", str(one), phases))
    if len(set(order)) < len(order):
        raise RecipeError(f"names a phase twice: {', '.join(order)}")
    if left := [one for one in phases if one not in order]:
        raise RecipeError(f"leaves out {', '.join(left)}; must name every phase once")
    return {**raw, "phases": [phases[one] for one in order]}


def derived_faults(raw: Mapping[str, Any], known: Collection[Fault]) -> Iterator[Fault]:
    """What variants and the sweep make wrong that is not wrong already.

    Args:
        raw: The recipe as it was written.
        known: The faults it has without them.
    """
    variants, sweep = raw.get("variants"), raw.get("sweep")
    for name, changes in variants.items() if isinstance(variants, Mapping) else ():
        for key, value in changes.items() if isinstance(changes, Mapping) else ():
            for text in _variant(raw, key, value, known):
                yield Fault(("variants", name, key), text)
    for key, values in sweep.items() if isinstance(sweep, Mapping) else ():
        for text in _sweep(raw, key, values if isinstance(values, list | tuple) else (), known):
            yield Fault(("sweep", key), text)


def _variant(
    raw: Mapping[str, Any], key: str, value: Any, known: Collection[Fault]
) -> Iterator[str]:
    if key in VARIANT_KEYS or key.startswith("phases."):
        yield from _changing(raw, {key: value}, known)
    else:
        yield f"a variant changes {', '.join(VARIANT_KEYS)} or phases.…; arms are compared as arms"


def _sweep(
    raw: Mapping[str, Any], key: str, values: Sequence[Any], known: Collection[Fault]
) -> Iterator[str]:
    words = key.split(".")
    if words[0] != "arms" and not (words[0] == "phases" and "train" in words[2:3]):
        yield (
            "a sweep changes phases.NAME.train.… or arms.…; for models, orders and data there are "
            "variants"
        )
        return
    for index, value in enumerate(values):
        if not isinstance(value, str | int | float):
            yield f"values are numbers or words; got {show(value)}"
            continue
        if value in values[:index]:
            yield f"{show(value)} is given twice"
        yield from _changing(raw, {key: value}, known)


def _changing(
    raw: Mapping[str, Any], changes: Mapping[str, Any], known: Collection[Fault]
) -> Iterator[str]:
    """What is wrong once these values are changed, and was not before."""
    try:
        after = apply(raw, changes)
    except RecipeError as error:
        yield str(error)
        return
    for fault in validate_recipe(after)[1]:
        if fault not in known:
            yield fault.message
