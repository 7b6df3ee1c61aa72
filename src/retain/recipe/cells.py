"""What a recipe comes to: every variant, arm and seed, each phase with what acts in it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from retain.errors import RecipeError
from retain.methods.base import Method
from retain.recipe.acting import active, plan
from retain.recipe.arm import Arm, Budget
from retain.recipe.derive import apply, arms_run, owner
from retain.recipe.faults import FaultyRecipeError
from retain.recipe.model import Phase, Recipe
from retain.recipe.train import Train
from retain.recipe.valid import validate_recipe

ONLY_VARIANT = "default"  # the variant's name in tables where a recipe has none
Swept = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class CellPart:
    """The data of one phase of the recipe, and how that phase draws and masks it."""

    phase: Phase
    train: Train


@dataclass(frozen=True, kw_only=True)
class CellPhase:
    """One phase of one cell.

    Attributes:
        name: The phase's name, or ``joint``.
        index: Its row in the score matrix, from 1; ``joint`` has the last.
        train: Effective training values, the arm's applied.
        methods: The methods that act here; one that does not leaves no trace.
        parts: Whose data is trained on: the phase itself, or in ``joint`` every phase.
        notes: Sentences for the reader of the plan and the report.
    """

    name: str
    index: int
    train: Train
    methods: tuple[Method, ...]
    parts: tuple[CellPart, ...]
    notes: tuple[str, ...] = ()

    @property
    def phase(self) -> Phase:
        """The recipe's phase; of ``joint``, the last of those it joins."""
        return self.parts[-1].phase


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training run from the base model to the last phase.

    Attributes:
        variant: The variant's name; ``default`` where the recipe has none.
        arm: The arm's name in tables, ``none`` or, in a sweep, ``none@3e-4``.
        seed: The run's seed.
        phases: In order.
        recipe: The recipe with the variant and the sweep's values applied.
        base_arm: The arm's name in the recipe.
        swept: The sweep's names and values in this cell.
    """

    variant: str
    arm: str
    seed: int
    phases: tuple[CellPhase, ...]
    recipe: Recipe
    base_arm: str
    swept: Swept = ()

    @property
    def budget(self) -> Budget:
        """What this arm gets alike with plain training."""
        return self.recipe.arms[self.base_arm].budget or self.recipe.budget


def expand(recipe: Recipe) -> tuple[Cell, ...]:
    """Every cell, ordered by variant, arm, swept values and seed.

    Raises:
        RecipeError: If variants and swept values that are sound one by one are not together.
    """
    return tuple(_cells(recipe))


def _cells(recipe: Recipe) -> Iterator[Cell]:
    for variant, changes in (recipe.variants or {ONLY_VARIANT: {}}).items():
        run = arms_run({"arms": recipe.arms}, changes)
        taught = changes.get("order", recipe.phase_names)
        for name, arm_swept in product(run, _grid(recipe)):
            swept = tuple(one for one in arm_swept if _concerns(one[0], name, taught, recipe))
            if swept != arm_swept and arm_swept != _first_with(recipe, swept):
                continue
            varied = _changed(recipe, changes | dict(swept), variant)
            label = "@".join((name, *(_spelt(value) for _, value in swept)))
            phases = cell_phases(varied, varied.arms[name])
            for seed in recipe.seeds:
                yield Cell(
                    variant=variant,
                    arm=label,
                    seed=seed,
                    phases=phases,
                    recipe=varied,
                    base_arm=name,
                    swept=swept,
                )


def cell_phases(recipe: Recipe, arm: Arm) -> tuple[CellPhase, ...]:
    """The phases that an arm runs, each with what acts in it."""
    planned = plan(arm, recipe.phases)
    return tuple(
        CellPhase(
            name=one.name,
            index=one.index,
            train=Train.model_validate(one.train),
            methods=tuple(m for m in arm.methods if active(m, arm, planned, index)),
            parts=tuple(
                CellPart(phase=recipe.phase(part.phase), train=Train.model_validate(part.train))
                for part in one.parts
            ),
            notes=one.notes,
        )
        for index, one in enumerate(planned)
    )


def _grid(recipe: Recipe) -> list[Swept]:
    """Every combination of swept values; one empty one without a sweep."""
    keys = list(recipe.sweep)
    return [tuple(zip(keys, values, strict=True)) for values in product(*recipe.sweep.values())]


def _concerns(key: str, arm: str, taught: Collection[str], recipe: Recipe) -> bool:
    """Whether a swept value changes this arm: ``arms.X.…`` only X, ``phases.Y.…`` who learns Y."""
    if key.startswith("arms."):
        return arm == owner(key, recipe.arms)
    return owner(key, recipe.phase_names) in taught


def _first_with(recipe: Recipe, swept: Swept) -> Swept:
    """The first combination that holds these values, so that an arm is not run twice alike."""
    return next(one for one in _grid(recipe) if set(swept) <= set(one))


def _changed(recipe: Recipe, changes: dict[str, Any], variant: str) -> Recipe:
    raw = apply(recipe.resolved(), changes)
    made, faults = validate_recipe(raw, arms_run(raw, changes))
    if made is None or faults:
        together = ", ".join(f"{key}={value}" for key, value in changes.items())
        texts = [f"{'.'.join(map(str, fault.loc))}: {fault.message}" for fault in faults]
        raise FaultyRecipeError(f"variant '{variant}' with {together}", texts)
    return made


def _spelt(value: Any) -> str:
    """A swept value as arms are named after it.

    >>> [_spelt(value) for value in (3e-4, 0.05, 20, 1.5e-5, "cosine", True)]
    ['3e-4', '0.05', '20', '1.5e-5', 'cosine', 'true']
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        mantissa, exponent = next(
            text.split("e") for digits in range(17) if float(text := f"{value:.{digits}e}") == value
        )
        return f"{mantissa}e{int(exponent)}"
    text = repr(value) if isinstance(value, float) else str(value)
    if not all(c.isalnum() or c in "._-+" for c in text):
        raise RecipeError(
            f"sweep: '{text}' cannot be part of an arm's name; use letters and digits"
        )
    return text
