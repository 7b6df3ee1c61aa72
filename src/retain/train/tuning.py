"""Which weights a phase moves: all of them, or an adapter; and what becomes of an earlier adapter.

What one phase's adapter is to the next is spelled in the recipe (``handover``): the same one goes
on (``continue_adapter``), a second one is added and both are saved as one (``new_adapter``), or the
first is merged into the weights below (``merge_then_new``).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch

from retain.errors import TrainingError
from retain.model import adapters
from retain.model.adapters import Adapter
from retain.model.load import Loaded, load_model, load_quantised
from retain.model.save import save

Handover = Literal["continue_adapter", "new_adapter", "merge_then_new"]
HANDOVERS = get_args(Handover)
BASE = "base"


@dataclass(frozen=True)
class Tuned:
    """A model ready to be trained.

    Attributes:
        loaded: With the adapter that moves, if one does.
        moving: Names of what moves; None leaves the choice to methods, else everything.
        joins: Whether two adapters are to be saved as one.
    """

    loaded: Loaded
    moving: tuple[str, ...] | None = None
    joins: bool = False


def tune(
    loaded: Loaded, adapter: Adapter | None, handover: Handover, output: Path, final: Path
) -> Tuned:
    """Put on the model what this phase moves.

    Args:
        loaded: What the phase starts with; used up.
        adapter: What is trained; None trains all weights.
        handover: What becomes of an adapter that is there.
        output: The step's output; a merged base is written into ``output/base``.
        final: Where ``output`` will lie.

    Raises:
        TrainingError: If the earlier adapter cannot be handed over so.
        ModelError: If the adapter does not fit the model.
    """
    if adapters.is_adapted(loaded.model):
        if handover == "merge_then_new":
            loaded = _merged(loaded, output, final, adapter)
        elif adapter is None:
            raise TrainingError(
                "the phase before trained an adapter, this one trains all weights: merge it first "
                "(train.handover: merge_then_new)"
            )
        else:
            return _handed_over(loaded, adapter, handover)
    if adapter is None:
        loaded.model.requires_grad_(True)
        return Tuned(loaded)
    if adapter.kind == "qlora" and loaded.quantisation is None:
        model = load_quantised(loaded.base, loaded.device, loaded.precision)
        loaded = replace(loaded, model=model, quantisation="nf4")
    loaded = replace(loaded, model=adapters.attach(loaded.model, adapter))
    return Tuned(loaded, tuple(adapters.move(loaded.model)))


def _handed_over(loaded: Loaded, adapter: Adapter, handover: Handover) -> Tuned:
    if (adapter.kind == "qlora") != (loaded.quantisation is not None):
        raise TrainingError(
            "qlora and another tuning follow each other: their bases have different precision; "
            "use train.handover: merge_then_new"
        )
    if handover == "new_adapter":
        adapters.add_beside(loaded.model, adapter)
        return Tuned(loaded, tuple(adapters.move(loaded.model, (adapters.NEW,))), joins=True)
    if different := adapters.differences(loaded.model, adapter, loaded.base):
        raise TrainingError(
            "handover continue_adapter: the adapter of the phase before has "
            f"{', '.join(different)}; ask for the same, or use new_adapter or merge_then_new"
        )
    return Tuned(loaded, tuple(adapters.move(loaded.model)))


def _merged(loaded: Loaded, output: Path, final: Path, adapter: Adapter | None) -> Loaded:
    """The model with its adapter in its weights; where an adapter follows, written as its base."""
    model = loaded.model
    if loaded.quantisation is not None:  # 4 bits hold no small change: merge at full precision
        model = adapters.put_on(load_model(loaded.base).to(loaded.device), loaded.folder)
    model = adapters.merged(model)
    base = loaded.base
    if adapter is not None:
        save(model, loaded.folder, output / BASE, "Weights below an adapter, made by merging.\n")
        base = output / BASE
    merged = replace(loaded, model=model, base=base, quantisation=None)
    if adapter is None or adapter.kind != "qlora":
        return merged
    quantised = load_quantised(base, loaded.device, loaded.precision)
    return replace(merged, model=quantised, quantisation="nf4")


def settled(tuned: Tuned, output: Path, final: Path) -> Loaded:
    """The trained model as it is saved: two adapters as one, the base where it will lie."""
    loaded = tuned.loaded
    if tuned.joins:
        with torch.random.fork_rng():
            adapters.join(loaded.model)
    if loaded.base == output / BASE:
        loaded = replace(loaded, base=final / BASE)
    return loaded
