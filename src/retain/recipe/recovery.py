"""What is retuned for a moment after the last phase, to see whether a loss comes back."""

from pydantic import Field

from retain.methods.given import Sources
from retain.recipe.train import Number, Part, Text, Whole


class Recovery(Part):
    """A brief retune after the last phase: whether what a task lost comes back."""

    task: Text
    """The task whose loss is looked at."""
    data: Sources | None = None
    """Other examples of the task; none takes those that its phase trained on."""
    placebo: Sources
    """Examples that have nothing to do with the task, for as long a retune."""
    max_steps: Whole = Field(default=20, ge=1)
    """Optimizer steps of each retune."""
    learning_rate: Number | None = Field(default=None, gt=0, le=1)
    """Their peak rate; none takes that of the task's phase, of the last phase for other tasks."""


def data_of(one: Recovery) -> dict[str, Sources]:
    """The outside data of a retune, by the key that names it."""
    found = {"placebo": one.placebo}
    return found if one.data is None else {"data": one.data, **found}
