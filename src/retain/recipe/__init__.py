"""A recipe: one file that says which model, which phases, which arms, and what is scored.

``load_recipe`` reads and checks a file, ``read_recipe`` plain values; both give a frozen
:class:`Recipe` or every fault at once. ``expand`` gives the training runs it comes to.
"""

from retain.recipe.arm import Arm
from retain.recipe.cells import Cell, CellPart, CellPhase, expand
from retain.recipe.faults import FaultyRecipeError
from retain.recipe.init import InitFacts, init_recipe
from retain.recipe.judge import Judge
from retain.recipe.model import (
    Choose,
    Evaluate,
    Gate,
    HeldOut,
    Keep,
    NamedTask,
    OwnTest,
    Phase,
    Recipe,
    Rehearse,
    called,
)
from retain.recipe.read import about, load_recipe, read_recipe, shipped
from retain.recipe.recovery import Recovery, data_of
from retain.recipe.schema import schema, schema_text
from retain.recipe.train import Train

__all__ = [
    "Arm",
    "Cell",
    "CellPart",
    "CellPhase",
    "Choose",
    "Evaluate",
    "FaultyRecipeError",
    "Gate",
    "HeldOut",
    "InitFacts",
    "Judge",
    "Keep",
    "NamedTask",
    "OwnTest",
    "Phase",
    "Recipe",
    "Recovery",
    "Rehearse",
    "Train",
    "about",
    "called",
    "data_of",
    "expand",
    "init_recipe",
    "load_recipe",
    "read_recipe",
    "schema",
    "schema_text",
    "shipped",
]
