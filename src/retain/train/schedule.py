"""The learning rate of each optimizer step, in closed form: a resume needs only the step."""

import math

from retain.train.settings import Settings


def num_warmup_steps(settings: Settings, num_steps: int) -> int:
    """Steps of warm-up: ``warmup_steps``, or the ratio of all steps, rounded up."""
    return settings.warmup_steps or math.ceil(settings.warmup_ratio * num_steps)


def learning_rate(settings: Settings, step: int, num_steps: int) -> float:
    """The rate used in one optimizer step.

    Args:
        settings: Peak, shape and warm-up.
        step: Counted from 0.
        num_steps: All optimizer steps of the phase.

    Source: the schedules of transformers. Departures: warm-up step s uses ``(s + 1) / warm-up`` of
    the peak where transformers uses ``s / warm-up``, whose first step has rate 0 and is lost; every
    shape falls to ``min_lr_ratio`` of the peak, not to 0 alone.

    >>> [learning_rate(Settings(learning_rate=1.0, warmup_steps=2), s, 6) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = num_warmup_steps(settings, num_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    floor = settings.min_lr_ratio
    return settings.learning_rate * (floor + (1 - floor) * _shape(settings, done))


def _shape(settings: Settings, done: float) -> float:
    """Part of the way from the floor to the peak, after a part 0..1 of the steps."""
    match settings.lr_scheduler_type:
        case "constant":
            return 1.0
        case "linear":
            return 1 - done
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * (done * settings.num_cycles % 1)))
        case "warmup_stable_decay":
            return min(1.0, (1 - done) / settings.decay_ratio)
