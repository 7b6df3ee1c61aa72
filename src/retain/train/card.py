"""The README of a model folder: what it is, what it learnt, how to open it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retain.model.auto_class import CAUSAL


@dataclass(frozen=True)
class CardFacts:
    """What a card says besides the figures.

    Attributes:
        base: How the base model is called; "" takes its folder's name.
        methods: The methods that acted, in the mix too, as a recipe writes them.
    """

    base: str = ""
    methods: tuple[Mapping[str, Any], ...] = ()


def model_card(
    name: str,
    base: str,
    facts: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    opens_with: str = CAUSAL,
) -> str:
    """The card, in the hub's format; it names no path of this machine.

    Args:
        name: The step's name.
        base: How the base model is referred to.
        facts: Figures of the training, shown as a table.
        methods: The methods that acted, as a recipe writes them.
        opens_with: The class of transformers that opens it.
    """
    remote = not base.startswith("embedded:") and base.count("/") == 1 and base[0] not in "./~"
    header = ["---", "library_name: transformers", "tags: [retain]"]
    if remote:
        header.append(f"base_model: {base}")
    rows = [f"| {key.replace('_', ' ')} | {_shown(value)} |" for key, value in facts.items()]
    acted = "; ".join(map(_method, methods)) or "none"
    shown_base = base if remote or base.startswith("embedded:") else base.rstrip("/").split("/")[-1]
    return "\n".join(
        [
            *header,
            "---",
            "",
            f"# {name}",
            "",
            f"`{shown_base}` after one more phase of training with `retain`; methods: {acted}.",
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
            "```python",
            f"from transformers import {opens_with}, AutoTokenizer",
            "",
            f'model = {opens_with}.from_pretrained("path/to/this/folder")',
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
            "```",
            "",
        ]
    )


def _method(entry: Mapping[str, Any]) -> str:
    """A method with the values that are set."""
    left_out = ("method", "phases", "VERSION")
    values = [f"{k} {v}" for k, v in entry.items() if k not in left_out and v not in (None, (), [])]
    return f"{entry['method']} ({', '.join(values)})"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
