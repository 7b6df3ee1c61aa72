"""The README of a model folder: what it is, what it learnt, how to open it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retain.model.auto_class import CAUSAL

FOUR_BITS = """four_bits = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype="{computes_in}",
)"""


@dataclass(frozen=True)
class CardFacts:
    """What a card says besides the figures.

    Attributes:
        base: How the base model is called; "" takes its folder's name.
        methods: The methods that acted, in the mix too, as a recipe writes them.
    """

    base: str = ""
    methods: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Opening:
    """How a model folder is opened as the model that was trained and scored.

    Attributes:
        by: The class of transformers, or of PEFT.
        computes_in: What weights of 4 bits below an adapter are multiplied in; "" without them.
    """

    by: str = CAUSAL
    computes_in: str = ""

    def lines(self) -> list[str]:
        """Lines of Python."""
        names = "AutoTokenizer" + (", BitsAndBytesConfig" if self.computes_in else "")
        peft = "Peft" in self.by
        place = '"path/to/this/folder"'
        given = f'{place}, dtype="float32", quantization_config=four_bits'
        return [
            *([f"from peft import {self.by}"] * peft),
            f"from transformers import {names if peft else f'{self.by}, {names}'}",
            "",
            *(FOUR_BITS.format(computes_in=self.computes_in).splitlines() * bool(self.computes_in)),
            f"model = {self.by}.from_pretrained({given if self.computes_in else place})",
            f"tokenizer = AutoTokenizer.from_pretrained({place})",
        ]


def model_card(
    name: str,
    base: str,
    facts: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    opening: Opening = Opening(),
) -> str:
    """The card, in the hub's format; it names no path of this machine.

    Args:
        name: The step's name.
        base: How the base model is referred to.
        facts: Figures of the training, shown as a table.
        methods: The methods that acted, as a recipe writes them.
        opening: How it is opened.
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
            *opening.lines(),
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
