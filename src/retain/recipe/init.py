"""A first recipe for somebody's own model and data, one that fits the memory, with comments.

The arithmetic is of AdamW and float32 weights: 16 bytes for every weight that moves (weight,
gradient, two moments), 4 for one that stands still, 0.6 for one of 4 bits, and what a row of tokens
leaves for the backward pass. It is an estimate, meant to be right within a third. All weights are
trained where they fit, else an adapter, else an adapter on weights of 4 bits.
"""

import json
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from retain.errors import RecipeError
from retain.recipe.train import NAME

MOVING_BYTES, STILL_BYTES, QUANTISED_BYTES = 16, 4, 0.6
ADAPTER_PART = 0.02  # of the blocks' weights, where an adapter was not counted
WORKSPACE_BYTES = 1.0e9  # Python, torch, libraries
LOGITS = 64 * 2**20  # numbers of logits that stand in memory at once, with their gradient
UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "G": 1e9, "M": 1e6}  # fmt: skip
LEAST_ITEMS = 8  # fewer have no interval
FEW_ITEMS = 50
LENGTHS = (2048, 1024, 512, 256)
BATCH_SIZE = 16
FREEZE_FRACTION = 2 / 3  # of the layers, in the arm `freeze`
Tuning = Literal["full", "lora", "qlora"]
TUNINGS: tuple[Tuning, ...] = ("full", "lora", "qlora")  # each takes less than the one before
RATES = {"full": "2.0e-5", "lora": "2.0e-4", "qlora": "2.0e-4"}
LOW_RATES = {"full": "7.0e-6", "lora": "7.0e-5", "qlora": "7.0e-5"}


@dataclass(frozen=True, kw_only=True)
class InitFacts:
    """What must be known of model and data to write a recipe that fits.

    Attributes:
        num_parameters: All weights, a tied head counted once.
        block_parameters: Weights in the decoder's layers.
        num_layers: Decoder layers.
        hidden_size: Width between layers.
        vocab_size: Rows of the head.
        adapter_parameters: Weights in an adapter of the default rank; 0 when unknown.
        context_tokens: Longest text the model was made for; 0 when unknown.
        num_examples: Examples in the data; 0 when unknown.
        is_text: Whether the data is running text, without answers.
        longest_tokens: Tokens of a long example (95 % are shorter); 0 when unknown.
        test_metric: How the own test is scored.
        general: Data that stands for what the model knew before.
        held_out: Fraction of the examples that is never trained on.
        num_reported: Source items of it that figures are about; 0 when unknown.
    """

    num_parameters: int
    block_parameters: int
    num_layers: int
    hidden_size: int
    vocab_size: int
    adapter_parameters: int = 0
    context_tokens: int = 0
    num_examples: int = 0
    is_text: bool = False
    longest_tokens: int = 0
    test_metric: str = "exact_match"
    general: str = "embedded:xsum"
    held_out: float = 0.1
    num_reported: int = 0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How training is made to fit.

    Attributes:
        tuning: What moves: all weights, an adapter, or an adapter on weights of 4 bits.
        max_length: Tokens of a row.
        gradient_checkpointing: Whether activations are computed twice.
        peak_bytes: What the largest arm is estimated to take.
    """

    tuning: Tuning
    max_length: int
    gradient_checkpointing: bool
    peak_bytes: float


def init_recipe(
    model: str,
    data: str,
    facts: InitFacts,
    *,
    test: str | None = None,
    language: str | None = None,
    memory: str = "24GB",
) -> str:
    """The text of a commented one-phase recipe that fits into ``memory``.

    Args:
        model: As a recipe names it.
        data: Training data.
        facts: About both.
        test: A test of the user's own.
        language: ISO code of the data's language.
        memory: Of the device that trains, such as ``24GB``.

    Raises:
        RecipeError: If the memory is no size, or the model does not fit it in any way known here.
    """
    fit = fit_memory(facts, memory_bytes(memory))
    name = _name_of(data)
    arms = "four" if fit.tuning == "full" else "three"
    lines = [
        f"# A first recipe: one phase, {arms} arms. Every value may be changed; what each means is",
        "# in docs/recipes.md. See what it will do, and how long it takes, before it does it:",
        "#   retain plan THIS_FILE",
        "#   retain run THIS_FILE",
        f"name: {_quoted(name)}",
        f"model: {_quoted(model)}",
        *_phases(name, data, facts, fit, language),
        *_evaluate(facts, test),
        *_arms(facts, fit),
        "seeds: [0]                     # one training run an arm; [0, 1, 2] shows the spread",
    ]
    return "\n".join(lines) + "\n"


def memory_bytes(text: str) -> float:
    """A size in bytes.

    >>> memory_bytes("24GB"), memory_bytes("512 MiB")
    (24000000000.0, 536870912.0)

    Raises:
        RecipeError: If it is no size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in UNITS or float(match[1]) == 0:
        raise RecipeError(f"memory: got '{text}'; give a size such as 24GB or 16GiB")
    return float(float(match[1]) * UNITS[match[2].upper()])


def peak_bytes(facts: InitFacts, length: int, *, tuning: Tuning, checkpointing: bool) -> float:
    """Memory of one training step on a row of ``length`` tokens."""
    adapter = facts.adapter_parameters or ADAPTER_PART * facts.block_parameters
    outside = facts.num_parameters - facts.block_parameters  # embeddings and head keep 32 bits
    weights = {
        "full": facts.num_parameters * MOVING_BYTES,
        "lora": facts.num_parameters * STILL_BYTES + adapter * MOVING_BYTES,
        "qlora": facts.block_parameters * QUANTISED_BYTES
        + outside * STILL_BYTES
        + adapter * MOVING_BYTES,
    }[tuning]
    a_layer = 4 * 36 * facts.hidden_size  # float32 numbers a token leaves in one layer
    layers = facts.num_layers
    kept = layers * 4 * facts.hidden_size + a_layer if checkpointing else layers * a_layer
    logits = min(length * facts.vocab_size, LOGITS) * 4 * 2
    return weights + length * kept + logits + WORKSPACE_BYTES


def fit_memory(facts: InitFacts, memory: float) -> Fit:
    """The most that moves, with as little recomputation as the memory allows.

    Rows are as long as the data asks; only where nothing else fits are they shortened.

    Raises:
        RecipeError: If nothing fits, with how much is missing.
    """
    wanted = _length(facts)
    shorter = [one for one in LENGTHS if one < wanted]
    tries: list[tuple[Tuning, int, bool]] = [
        (tuning, wanted, checkpointing) for tuning in TUNINGS for checkpointing in (False, True)
    ]
    tries += [("qlora", length, True) for length in shorter]
    for tuning, length, checkpointing in tries:
        peak = peak_bytes(facts, length, tuning=tuning, checkpointing=checkpointing)
        if peak <= memory:
            return Fit(
                tuning=tuning,
                max_length=length,
                gradient_checkpointing=checkpointing,
                peak_bytes=peak,
            )
    whole = peak_bytes(facts, wanted, tuning="full", checkpointing=True)
    least = peak_bytes(facts, min([wanted, *shorter]), tuning="qlora", checkpointing=True)
    raise RecipeError(
        f"a model of {facts.num_parameters / 1e9:.2f} billion weights does not fit "
        f"{memory / 1e9:.1f} GB: full fine-tuning takes about {whole / 1e9:.1f} GB, an adapter on "
        f"weights of 4 bits (qlora) {least / 1e9:.1f} GB: {(least - memory) / 1e9:.1f} GB too much."
        " Take a smaller model or a larger device"
    )


def _length(facts: InitFacts) -> int:
    """The row that the data asks for, within the model's context."""
    asked = facts.longest_tokens or (1024 if not facts.is_text else 512)
    length = next((one for one in sorted(LENGTHS) if one >= asked), LENGTHS[0])
    return min(length, facts.context_tokens) if facts.context_tokens else length


def _name_of(data: str) -> str:
    """A name for recipe and phase, from the data's."""
    words = re.split(r"[/\\:]", data.split("#")[0].rstrip("/\\"))
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePath(words[-1]).stem).strip("-")[:64]
    return stem if NAME.match(stem) and stem not in ("joint", "base", "all") else "my-data"


def _quoted(text: str) -> str:
    """A scalar as every YAML reader takes it for text: quoted where one could not."""
    plain = re.fullmatch(r"[A-Za-z./][A-Za-z0-9._/-]*(:[A-Za-z0-9._-]+)?", text)
    if plain and text.lower() not in {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}:
        return text
    return json.dumps(text, ensure_ascii=False)


def _phases(name: str, data: str, facts: InitFacts, fit: Fit, language: str | None) -> list[str]:
    objective = "pretrain" if facts.is_text else "sft"
    why = "the loss counts on every token" if facts.is_text else "the loss counts on answers only"
    batch = "batch_tokens: 8192" if facts.is_text else f"batch_size: {BATCH_SIZE}"
    epochs = 1 if facts.is_text else 2
    lines = [
        "phases:",
        f"  - name: {_quoted(name)}",
        f"    data: {_quoted(data)}",
    ]
    if language is not None:
        lines.append(f"    language: {_quoted(language)}")
    lines += [
        f"    held_out: {{fraction: {facts.held_out:g}}}  # never trained on; scored as the task"
        f" phase:{name}",
        *_reported(facts),
        "    train:",
        f"      objective: {objective}           # {why}",
        f"      tuning: {fit.tuning}{_why_tuning(fit)}",
        f"      learning_rate: {RATES[fit.tuning]}    # try half and double too: too high",
        "                               # a rate looks like forgetting",
        f"      num_train_epochs: {epochs}{_steps(facts, epochs)}",
        f"      {batch}           # of one optimizer step; how many fit at once is found out",
        f"      max_length: {fit.max_length}         # tokens; longer examples are cut",
        "      lr_scheduler_type: cosine",
        "      warmup_ratio: 0.03",
    ]
    checkpointing = "true " if fit.gradient_checkpointing else "false"
    saves = "saves memory, costs a third more time"
    lines.append(f"      gradient_checkpointing: {checkpointing} # true {saves}")
    lines.append(f"      # estimated peak memory: {fit.peak_bytes / 1e9:.1f} GB")
    return lines


def _reported(facts: InitFacts) -> list[str]:
    """A comment with the items behind every figure of the phase, where they are few."""
    if not 0 < facts.num_reported < FEW_ITEMS:
        return []
    at = " " * 31 + "# "
    told = [f"{at}{facts.num_reported} source items are reported, the rest is for choosing"]
    if facts.num_reported < LEAST_ITEMS:
        told.append(f"{at}fewer than {LEAST_ITEMS}: no interval can be given; bring more data")
    return told


def _steps(facts: InitFacts, epochs: int) -> str:
    """A comment with the optimizer steps, where they follow from the number of examples."""
    if facts.is_text or not facts.num_examples:
        return ""
    steps = max(1, round(epochs * (1 - facts.held_out) * facts.num_examples / BATCH_SIZE))
    return f"      # about {steps} optimizer steps of your {facts.num_examples} examples"


def _evaluate(facts: InitFacts, test: str | None) -> list[str]:
    lines = [
        "evaluate:",
        "  tasks:",
        "    - phases                   # the held-out part of the data",
        "    - general                  # questions and English text: what the model could before",
    ]
    if test is not None:
        entry = f"{{name: my-test, data: {_quoted(test)}, metric: {facts.test_metric}}}"
        lines.append(f"    - {entry}")
    lines += [
        "  num_fewshot: [0]             # [0, 5] scores every task twice",
        "  limit: 200                   # items a task; leave it out to score all",
    ]
    return lines


def _why_tuning(fit: Fit) -> str:
    """A comment, where not all weights move."""
    return {
        "full": "",
        "lora": "             # to train all weights does not fit: an adapter is trained",
        "qlora": "            # an adapter on weights of 4 bits: on 32 bits it does not fit",
    }[fit.tuning]


def _arms(facts: InitFacts, fit: Fit) -> list[str]:
    """Four arms; three with an adapter, which holds the weights below it still anyway."""
    past = f"past: {{data: {_quoted(facts.general)}}}"
    replay = f"{{method: experience_replay, share: 0.1, {past}}}"
    lines = [
        "arms:                          # what is compared; each trains its own model",
        "  none: []                     # plain fine-tuning: the control",
        f"  low_rate: {{train: {{learning_rate: {LOW_RATES[fit.tuning]}}}}}  # a third of the rate",
        "  replay:                      # one example in ten is general text, so that it is not"
        " forgotten",
        f"    - {replay}",
    ]
    if fit.tuning != "full":
        return lines
    num_frozen = round(FREEZE_FRACTION * facts.num_layers)
    return [
        *lines,
        "  freeze:                      # the first layers and the embeddings stay as they are",
        f"    - {{method: freeze, select: first, num_layers: {num_frozen}}}",
    ]
