"""Which finished steps a step reads while it runs."""

from retain.steps.step import Step


def read_by(step: Step) -> list[Step]:
    """The steps that a step reads: its inputs, and the models that those build on."""
    found = dict.fromkeys(step.inputs.values())
    waiting = list(found)
    while waiting:
        one = waiting.pop().inputs.get("model")
        if one is not None and one not in found:
            found[one] = None
            waiting.append(one)
    return list(found)
