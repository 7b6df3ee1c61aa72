"""Which function carries out a step: looked up by kind, imported when first needed."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from retain.errors import StoreError, did_you_mean
from retain.steps.work import Work

Runner = Callable[[Work], None]


def by_kind(runners: Mapping[str, str]) -> Runner:
    """A runner that hands each step to the one of its kind.

    Args:
        runners: Kind to ``module:function``; a module is imported with the first step of its kind,
            so that a run which reuses everything imports none.
    """

    def run(work: Work) -> None:
        kind = work.step.kind
        if kind not in runners:
            raise StoreError(
                f"{work.step.folder}: {did_you_mean('kind of step', kind, list(runners))}"
            )
        find_runner(runners[kind])(work)

    return run


def find_runner(place: str) -> Runner:
    """The function that ``module:function`` names."""
    module, _, name = place.partition(":")
    return cast(Runner, getattr(import_module(module), name))
