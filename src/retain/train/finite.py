"""Stop where a number is none, in a loss, a gradient or a weight, before it is built on."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from retain.errors import TrainingError
from retain.train.stream import Row

NUM_SHOWN = 8


def check_step(
    figures: Sequence[float],
    step: int,
    rows: Sequence[Row],
    wrong: Callable[[], Sequence[Row]],
    parameters: Mapping[str, Tensor],
) -> None:
    """Before a step is applied: its loss, penalty and gradient norm are numbers.

    Args:
        figures: Those three.
        step: Optimizer steps done before it.
        rows: Its sequences.
        wrong: Finds those of the micro-batches whose loss is none.
        parameters: What moves.

    Raises:
        TrainingError: If one is NaN or infinite: names the micro-batches whose loss is, else all.
    """
    if all(map(_is_finite, figures)):
        return
    what = "loss" if not all(map(_is_finite, figures[:2])) else f"gradient norm ({figures[2]})"
    rows = wrong() or [row for row in rows if row.num_trained_tokens]
    name = _first_wrong(parameters)
    cause = f"; weights are not, such as '{name}'" if name else ""
    raise TrainingError(
        f"the {what} is not finite in optimizer step {step + 1} ({_ids(rows)}{cause}); the step "
        "was not applied and the last snapshot is kept. Look at these examples, or lower the "
        "learning rate"
    )


def check_weights(parameters: Mapping[str, Tensor], step: int, rows: Sequence[Row]) -> None:
    """Before weights are trained or saved: all are numbers.

    A gradient of numbers moves no weight to infinity, so this need not be asked in every step.

    Args:
        parameters: What moves.
        step: Optimizer steps done.
        rows: The sequences of the last of them.

    Raises:
        TrainingError: If one is NaN or infinite.
    """
    if name := _first_wrong(parameters):
        if step == 0:
            raise TrainingError(
                f"the weight '{name}' is not finite before the first step: the model that this "
                "phase starts from is damaged. Look at where it comes from"
            )
        raise TrainingError(
            f"the weight '{name}' is not finite after optimizer step {step} ({_ids(rows)}); "
            "nothing was saved, the last snapshot is kept. Lower the learning rate"
        )


@torch.no_grad()
def _first_wrong(parameters: Mapping[str, Tensor]) -> str:
    """The first parameter with a NaN or an infinity; empty if there is none."""
    moving = {name: p for name, p in parameters.items() if p.is_floating_point() and p.numel()}
    ends = [torch.stack(torch.aminmax(p.detach())).float() for p in moving.values()]
    if not ends:
        return ""
    good = torch.stack(ends).isfinite().all(1).tolist()
    return next((name for name, fine in zip(moving, good, strict=True) if not fine), "")


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _ids(rows: Sequence[Row]) -> str:
    shown = ", ".join(row.example_id for row in rows[:NUM_SHOWN])
    more = f" and {len(rows) - NUM_SHOWN} more" if len(rows) > NUM_SHOWN else ""
    return f"examples {shown}{more}"
