"""Plain values to a recipe, or to every fault they have, wherever it stands."""

from collections.abc import Collection, Mapping
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from retain.recipe.checks import Parts, cross_faults
from retain.recipe.faults import Fault, translate
from retain.recipe.model import Recipe
from retain.recipe.yaml_text import Path


def validate_recipe(
    raw: Mapping[str, Any], run: Collection[str] | None = None
) -> tuple[Recipe | None, list[Fault]]:
    """The recipe, and every fault of the parts and between them.

    Args:
        raw: Its plain values.
        run: The arms that are run; the others need not fit the phases. None: all.
    """
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        return None, [*translate(error, _keys_at), *cross_faults(_sound(raw, run))]
    parts = Parts(
        phase_names=recipe.phase_names,
        phases=recipe.phases,
        arm_names=tuple(recipe.arms),
        arms={name: arm for name, arm in recipe.arms.items() if run is None or name in run},
        evaluate=recipe.evaluate,
        gates=dict(enumerate(recipe.fail_if)),
        seeds=recipe.seeds,
    )
    return recipe, cross_faults(parts)


def _sound(raw: Mapping[str, Any], run: Collection[str] | None) -> Parts:
    """The parts that are valid by themselves, of a recipe that is not."""

    def valid(key: str, value: Any) -> Any:
        annotation: Any = Recipe.model_fields[key].annotation
        try:
            return TypeAdapter(annotation).validate_python(value)
        except ValidationError:
            return None

    listed = raw.get("phases") if isinstance(raw.get("phases"), list | tuple) else []
    names = [one.get("name") for one in listed or () if isinstance(one, Mapping)]
    arms = raw.get("arms") if isinstance(raw.get("arms"), Mapping) else {}
    gates = raw.get("fail_if") if isinstance(raw.get("fail_if"), list) else []
    sound_arms = {str(name): valid("arms", {name: arm}) for name, arm in (arms or {}).items()}
    sound_gates = {index: valid("fail_if", [gate]) for index, gate in enumerate(gates or ())}
    return Parts(
        phase_names=tuple(name for name in names if isinstance(name, str)),
        phases=valid("phases", listed),
        arm_names=tuple(map(str, arms or {})) or ("none",),
        arms={
            name: arm[name]
            for name, arm in sound_arms.items()
            if arm and (run is None or name in run)
        },
        evaluate=valid("evaluate", raw.get("evaluate", {})),
        gates={index: gate[0] for index, gate in sound_gates.items() if gate},
        seeds=valid("seeds", raw.get("seeds", [0])),
    )


def _keys_at(loc: Path) -> tuple[str, ...]:
    """The keys that are allowed at a place of a recipe."""
    at: type[BaseModel] = Recipe
    for key in loc:
        if isinstance(key, str) and key in at.model_fields:
            at = _model_in(at.model_fields[key].annotation) or at
    return tuple(at.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
