"""Recipes made from a recipe: its variants, and the values of its sweep."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from retain.errors import RecipeError
from retain.recipe.dotted import label, locate, with_value
from retain.recipe.faults import Fault, show, unknown
from retain.recipe.valid import validate_recipe

VARIANT_KEYS = ("model", "revision", "order", "arms")


def apply(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's plain values with dotted values changed, its variants and sweep left out.

    The order comes first: a phase that it leaves out has no values to change. Which ``arms`` are
    run changes nothing here, see `arms_run`.

    Raises:
        RecipeError: If a name leads nowhere.
    """
    after = {key: value for key, value in raw.items() if key not in {"variants", "sweep"}}
    if "order" in changes:
        after = _ordered(after, changes["order"])
    for name, value in changes.items():
        if name not in ("order", "arms"):
            after = with_value(after, name, value)[0]
    return after


def arms_run(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[str, ...]:
    """The arms that are run with a variant's changes, in the order of the recipe.

    Raises:
        RecipeError: If the variant names another one, one twice, or none.
    """
    arms = raw.get("arms")
    known = tuple(map(str, arms)) if isinstance(arms, Mapping) and arms else ("none",)
    chosen = _chosen("arm", changes.get("arms", known), known)
    return tuple(name for name in known if name in chosen)


def owner(key: str, names: Iterable[str]) -> str:
    """The arm or phase whose value a dotted name is, the longest of those that fit; empty: none.

    >>> owner("arms.replay.share", ["re", "replay"]), owner("phases.a.data", ["replay"])
    ('replay', '')
    """
    inner = f"{key.partition('.')[2]}."
    return max((name for name in names if inner.startswith(f"{name}.")), key=len, default="")


def _ordered(raw: Mapping[str, Any], order: Any) -> dict[str, Any]:
    """The phases that are taught, in the order they are named."""
    phases = _phases(raw)
    return {**raw, "phases": [phases[one] for one in _chosen("phase", order, phases)]}


def _phases(raw: Mapping[str, Any]) -> dict[str, Any]:
    listed = raw.get("phases")
    listed = listed if isinstance(listed, list | tuple) else ()
    return {label(one, index): one for index, one in enumerate(listed)}


def _chosen(kind: str, names: Any, known: Collection[str]) -> tuple[str, ...]:
    """Some of the phases or arms, each once."""
    if not isinstance(names, list | tuple) or not names:
        raise RecipeError(f"must be a list of {kind}s; got {show(names)}")
    for index, one in enumerate(names):
        if one not in tuple(known):
            raise RecipeError(unknown(kind, str(one), known))
        if one in names[:index]:
            raise RecipeError(f"names {kind} '{one}' twice")
    return tuple(names)


def derived_faults(raw: Mapping[str, Any], known: Collection[Fault]) -> Iterator[Fault]:
    """What variants and the sweep make wrong that is not wrong already.

    Args:
        raw: The recipe as it was written.
        known: The faults it has without them.
    """
    variants, sweep = raw.get("variants"), raw.get("sweep")
    varied = variants if isinstance(variants, Mapping) else {}
    for name, changes in varied.items():
        if isinstance(changes, Mapping):
            yield from _variant(raw, name, changes, known)
    yield from _gates(raw, varied.values())
    for key, values in sweep.items() if isinstance(sweep, Mapping) else ():
        for text in _sweep(raw, key, values if isinstance(values, list | tuple) else (), known):
            yield Fault(("sweep", key), text)


def _variant(
    raw: Mapping[str, Any], name: str, changes: Mapping[str, Any], known: Collection[Fault]
) -> Iterator[Fault]:
    """What is wrong with a variant, at the value that is wrong by itself if one is."""
    at = ("variants", name)
    sound = {}
    for key, value in changes.items():
        if key in VARIANT_KEYS or key.startswith("phases."):
            sound[key] = value
        else:
            text = f"a variant changes {', '.join(VARIANT_KEYS)} or phases.…; arms are compared as "
            yield Fault((*at, key), f"{text}arms")
    try:
        arms = {"arms": arms_run(raw, sound)}
    except RecipeError as error:
        yield Fault((*at, "arms"), str(error))
        return
    together = list(_changing(raw, sound, known))
    alone = [
        Fault((*at, key), text)
        for key, value in sound.items()
        for text in (_changing(raw, arms | {key: value}, known) if together else ())
    ]
    yield from alone or [Fault(at, text) for text in together]


def _gates(raw: Mapping[str, Any], variants: Collection[Any]) -> Iterator[Fault]:
    """A gate of an arm that no variant runs would let every model pass."""
    try:
        run = {name for changes in variants for name in arms_run(raw, changes)}
        left = set(arms_run(raw, {})) - run
    except (RecipeError, AttributeError):  # said elsewhere
        return
    gates = raw.get("fail_if")
    for index, gate in enumerate(gates if variants and isinstance(gates, list | tuple) else ()):
        arms = gate.get("arms") if isinstance(gate, Mapping) else None
        for place, name in enumerate(arms if isinstance(arms, list | tuple) else ()):
            if name in left:
                yield Fault(("fail_if", index, "arms", place), f"no variant runs arm '{name}'")


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
    left = ""
    try:
        after = apply(raw, changes)
        if out := [one for one in _phases(raw) if one not in _phases(after)]:
            left = f"without phase {', '.join(out)}: "
        arms = arms_run(raw, changes)
    except RecipeError as error:
        yield str(error)
        return
    keys = [key for key in changes if key != "arms"]
    for fault in validate_recipe(after, arms)[1]:
        if fault not in known:
            place = locate(after, fault.loc)[0]
            own = len(keys) == 1 and f"{place}.".startswith(f"{keys[0]}.")
            yield left + (f"{place}: " if place and not own else "") + fault.message
