"""Which parameters a phase will move, told from the model's form alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retain.errors import RecipeError
from retain.methods import from_spec
from retain.methods.given import History
from retain.pipeline.graph import Row
from retain.steps.step import Step

if TYPE_CHECKING:
    from retain.model.facts import Facts


def foreseen(choice: Step, facts: "Facts", rows: Sequence[Row]) -> set[str] | None:
    """The parameters that a ``trainable`` step will choose; None where only weights can tell.

    Args:
        choice: The step.
        facts: Of the model.
        rows: Of the graph; a fault names the arms among them that would use the choice.

    Raises:
        RecipeError: If the choice matches nothing in this model, or leaves nothing to train.
    """
    from retain.train.layers import arrange
    from retain.train.randomness import stream

    method = from_spec(choice.settings["methods"][0])
    layers = arrange(facts.places, tied=facts.tied)
    settings = choice.settings
    rng = stream(int(settings["seed"]), str(settings.get("phase", "")), method.name, "trainable")
    past = dict.fromkeys(settings.get("history", ()), UNREAD)
    weights = History(base=UNREAD, checkpoints=past)
    try:
        chosen = method.trainable(layers, weights, {}, rng)
    except (KeyError, IndexError):
        return None
    except RecipeError as error:
        trained = [row for row in rows if row.train and choice in row.train.inputs.values()]
        arms = ", ".join(dict.fromkeys(f"arms.{row.arm}" for row in trained))
        raise RecipeError(f"{arms or choice.name}: {error}") from error
    return None if chosen is None else set(chosen.names)


class _Unread(Mapping[str, Any]):
    """Weights that a plan does not open: every name may be there, none has numbers yet."""

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


UNREAD = _Unread()
