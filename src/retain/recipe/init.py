"""A first recipe for somebody's own model and data, one that fits the memory, with comments.

The arithmetic is of full fine-tuning with AdamW and float32 weights: 16 bytes for every weight that
moves (weight, gradient, two moments), 4 for one that is frozen, and what a row of tokens leaves for
the backward pass. It is an estimate, meant to be right within a third.
"""

import json
import re
from dataclasses import dataclass
from pathlib import PurePath

from retain.errors import RecipeError
from retain.recipe.train import NAME

MOVING_BYTES, FROZEN_BYTES = 16, 4
WORKSPACE_BYTES = 1.0e9  # Python, torch, libraries
LOGITS = 64 * 2**20  # numbers of logits that stand in memory at once, with their gradient
UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "G": 1e9, "M": 1e6}  # fmt: skip
LENGTHS = (2048, 1024, 512, 256)
HIGHEST_FREEZE = 0.9  # of the layers: what is left must be able to learn
BATCH_SIZE = 16
FREEZE_FRACTION = 2 / 3  # of the layers, in the arm `freeze`


@dataclass(frozen=True, kw_only=True)
class InitFacts:
    """What must be known of model and data to write a recipe that fits.

    Attributes:
        num_parameters: All weights, a tied head counted once.
        block_parameters: Weights in the decoder's layers.
        num_layers: Decoder layers.
        hidden_size: Width between layers.
        vocab_size: Rows of the head.
        context_tokens: Longest text the model was made for; 0 when unknown.
        num_examples: Examples in the data; 0 when unknown.
        is_text: Whether the data is running text, without answers.
        longest_tokens: Tokens of a long example (95 % are shorter); 0 when unknown.
        test_metric: How the own test is scored.
        general: Data that stands for what the model knew before.
    """

    num_parameters: int
    block_parameters: int
    num_layers: int
    hidden_size: int
    vocab_size: int
    context_tokens: int = 0
    num_examples: int = 0
    is_text: bool = False
    longest_tokens: int = 0
    test_metric: str = "exact_match"
    general: str = "embedded:xsum"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How training is made to fit.

    Attributes:
        max_length: Tokens of a row.
        gradient_checkpointing: Whether activations are computed twice.
        frozen_layers: Layers that must stay frozen in every arm; 0 when all may move.
        peak_bytes: What the largest arm is estimated to take.
    """

    max_length: int
    gradient_checkpointing: bool
    frozen_layers: int
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
    lines = [
        "# A first recipe: one phase, four arms. Every value may be changed; what each means is in",
        "# docs/recipes.md. See what it will do, and how long it takes, before it does it:",
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


def peak_bytes(facts: InitFacts, length: int, *, checkpointing: bool, frozen: int) -> float:
    """Memory of one training step on a row of ``length`` tokens."""
    of_layer = facts.block_parameters / facts.num_layers
    held = frozen * of_layer
    if frozen:  # embeddings and a tied head are frozen with the first layers
        held += facts.num_parameters - facts.block_parameters
    weights = (facts.num_parameters - held) * MOVING_BYTES + held * FROZEN_BYTES
    a_layer = 4 * 36 * facts.hidden_size  # float32 numbers a token leaves in one layer
    layers = facts.num_layers - frozen
    kept = layers * 4 * facts.hidden_size + a_layer if checkpointing else layers * a_layer
    logits = min(length * facts.vocab_size, LOGITS) * 4 * 2
    return weights + length * kept + logits + WORKSPACE_BYTES


def fit_memory(facts: InitFacts, memory: float) -> Fit:
    """The longest row, with as little recomputation and freezing as the memory allows.

    Raises:
        RecipeError: If nothing fits, with how much is missing.
    """
    wanted = _length(facts)
    lengths = [wanted, *(one for one in LENGTHS if one < wanted)]
    many = round(HIGHEST_FREEZE * facts.num_layers)
    for frozen in range(many + 1):
        for length in lengths if frozen in (0, many) else lengths[:1]:
            for checkpointing in (False, True):
                peak = peak_bytes(facts, length, checkpointing=checkpointing, frozen=frozen)
                if peak <= memory:
                    return Fit(
                        max_length=length,
                        gradient_checkpointing=checkpointing,
                        frozen_layers=frozen,
                        peak_bytes=peak,
                    )
    least = peak_bytes(facts, lengths[-1], checkpointing=True, frozen=many)
    whole = peak_bytes(facts, lengths[-1], checkpointing=True, frozen=0)
    raise RecipeError(
        f"a model of {facts.num_parameters / 1e9:.2f} billion weights does not fit "
        f"{memory / 1e9:.1f} GB: full fine-tuning takes about {whole / 1e9:.1f} GB, with "
        f"{many} of {facts.num_layers} layers frozen {least / 1e9:.1f} GB, "
        f"{(least - memory) / 1e9:.1f} GB too much. Take a smaller model or a larger device; "
        "an adapter (train: {tuning: lora}, or qlora on 4-bit weights) takes less: write it "
        "into the recipe by hand"
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
        "    held_out: {fraction: 0.1}  # never trained on; scored as the task phase:" + name,
        "    train:",
        f"      objective: {objective}           # {why}",
        "      tuning: full",
        "      learning_rate: 2.0e-5    # try 1.0e-5 and 5.0e-5 too: a rate that is too high looks",
        "                               # like forgetting",
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


def _steps(facts: InitFacts, epochs: int) -> str:
    """A comment with the optimizer steps, where they follow from the number of examples."""
    if facts.is_text or not facts.num_examples:
        return ""
    steps = max(1, round(epochs * 0.9 * facts.num_examples / BATCH_SIZE))
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


def _arms(facts: InitFacts, fit: Fit) -> list[str]:
    """Four arms; where the model only fits with frozen layers, every arm freezes them."""
    past = f"past: {{data: {_quoted(facts.general)}}}"
    replay = f"{{method: experience_replay, share: 0.1, {past}}}"
    num_frozen = max(fit.frozen_layers, round(FREEZE_FRACTION * facts.num_layers))
    freeze = f"{{method: freeze, select: first, num_layers: {num_frozen}}}"
    about = {
        "none": "plain fine-tuning: the control",
        "low_rate": "a third of the rate",
        "replay": "one example in ten is general text, so that it is not forgotten",
        "freeze": "the first layers and the embeddings stay as they are",
    }
    if not fit.frozen_layers:
        return [
            "arms:                          # what is compared; each trains its own model",
            f"  none: []                     # {about['none']}",
            f"  low_rate: {{train: {{learning_rate: 7.0e-6}}}}  # {about['low_rate']}",
            f"  replay:                      # {about['replay']}",
            f"    - {replay}",
            f"  freeze:                      # {about['freeze']}",
            f"    - {freeze}",
        ]
    held = f"{{method: freeze, select: first, num_layers: {fit.frozen_layers}}}"
    return [
        f"# The whole model does not fit: {fit.frozen_layers} of {facts.num_layers} layers are"
        " frozen in every arm, so `none` is",
        "# not quite plain fine-tuning.",
        "arms:                          # what is compared; each trains its own model",
        f"  none: [{held}]",
        f"  low_rate:                    # {about['low_rate']}",
        f"    methods: [{held}]",
        "    train: {learning_rate: 7.0e-6}",
        f"  replay:                      # {about['replay']}",
        f"    - {held}",
        f"    - {replay}",
        *_more_freezing(num_frozen, fit.frozen_layers, freeze),
    ]


def _more_freezing(num_frozen: int, needed: int, freeze: str) -> list[str]:
    """The arm that freezes more than every arm must, where that is more."""
    if num_frozen <= needed:
        return []
    return [f"  freeze_more: [{freeze}]"]
