"""Whether what one phase makes of the adapter before it can be done, as far as a recipe says it.

The same is refused when a phase begins (``train.tuning``), which is after the phases before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from retain.methods.given import PlannedPhase
from retain.recipe.train import Train

UNJOINED = ("dora", "ia3")
There = Mapping[str, Any]
"""What is known of an adapter: its ``tuning``, and recipe keys of adapters."""


def handover_faults(planned: Sequence[PlannedPhase]) -> Iterator[tuple[int, str]]:
    """The first phase that cannot go on from the one before, and why."""
    there: There | None = None
    for position, phase in enumerate(planned):
        train = Train.model_validate(phase.train)
        if there is not None and (text := _fault(there, train)):
            yield position, text
            return
        there = _left(there, train)


def _fault(there: There, train: Train) -> str:
    """Why a phase cannot go on from an adapter; "" if it can."""
    handover = _handover(train)
    if handover == "merge_then_new":
        return ""
    if train.tuning == "full":
        return (
            f"the phase before trains an adapter ({there['tuning']}), this one all weights; "
            "handover: merge_then_new merges it first"
        )
    if (train.tuning == "qlora") != (there["tuning"] == "qlora"):
        return (
            f"tuning {train.tuning} follows {there['tuning']}, and weights of 4 bits are others; "
            "handover: merge_then_new"
        )
    if handover == "new_adapter":
        return _unjoined(there, train.tuning, train.of_adapter)
    asked = {"tuning": train.tuning, **train.of_adapter}
    different = [
        f"{key} {_shown(there[key])} (asked: {_shown(asked[key])})"
        for key in there
        if _shown(there[key]) != _shown(asked.get(key))
    ]
    if not different:
        return ""
    return (
        f"goes on with the adapter of the phase before, which has {', '.join(different)}; ask for "
        "the same, or say handover: new_adapter or merge_then_new"
    )


def _unjoined(there: There, tuning: str, asked: Mapping[str, Any]) -> str:
    """Why two adapters cannot be saved as one."""
    kinds = [kind for kind in (there["tuning"], tuning) if kind in UNJOINED]
    if kinds:
        return f"handover: new_adapter saves two adapters as one, and {kinds[0]} cannot be joined"
    if any(one.get(key) for one in (there, asked) for key in ("train_embeddings", "train_head")):
        return "handover: new_adapter cannot join what train_embeddings and train_head train whole"
    return ""


def _left(there: There | None, train: Train) -> There | None:
    """The adapter that a phase leaves."""
    if train.tuning == "full":
        return None
    own = {"tuning": train.tuning, **train.of_adapter}
    handover = own.pop("handover")
    if there is None or handover != "new_adapter":
        return own
    rank = there["lora_r"] + own["lora_r"]
    tuning = "qlora" if train.tuning == "qlora" else "lora"
    dropout = there["lora_dropout"]
    return {"tuning": tuning, "lora_r": rank, "lora_alpha": float(rank), "lora_dropout": dropout}


def _handover(train: Train) -> str | None:
    return train.handover if train.tuning == "full" else str(train.of_adapter["handover"])


def _shown(value: Any) -> str:
    """A value as a recipe says it; a list of modules in any order."""
    return str(value) if not isinstance(value, list | tuple) else ", ".join(sorted(value))
