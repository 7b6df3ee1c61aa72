"""How a phase trains: Hugging Face's names, and every default, stated once."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from retain.recipe.faults import Fault, refuse, refuse_one, translate

NAME = re.compile(r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")
EXCLUSIVE: dict[tuple[str, ...], float] = {  # of a group one; where none is given, the first
    ("num_train_epochs", "max_steps"): 1.0,
    ("batch_size", "batch_tokens", "batch_trained_tokens"): 16,
    ("warmup_ratio", "warmup_steps"): 0.03,
}
TUNINGS = ("full", "lora", "qlora", "dora", "rslora", "ia3")
OF_ADAPTERS = {  # with what stands where an adapter is trained and none is given
    "lora_r": 16,
    "lora_alpha": 32.0,
    "lora_dropout": 0.0,
    "lora_target_modules": "all-linear",
    "train_embeddings": False,
    "train_head": False,
}
OF_SCHEDULES = {
    "min_lr_ratio": ("linear", "cosine", "warmup_stable_decay"),
    "num_cycles": ("cosine",),
    "decay_ratio": ("warmup_stable_decay",),
}
HANDOVER = "continue_adapter"


def _name(text: str) -> str:
    if not NAME.fullmatch(text) or ".." in text:
        refuse_one(
            f"must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, without '..' and not beginning "
            f"with '.'; got '{text}'"
        )
    return text


Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": NAME.pattern})]
Text = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """What every part of a recipe is: frozen, and with no key but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _tuning(value: Any) -> Any:
    if value == "freeze":
        hint = "freezing is a method: arms: {freeze: [{method: freeze, num_layers: ...}]}"
        refuse_one(f"must be one of {', '.join(TUNINGS)}; got 'freeze' ({hint})")
    return value


class Train(Part):
    """How a phase trains; Hugging Face's names and meanings."""

    objective: Literal["sft", "pretrain"] = "sft"
    """`sft`: the loss counts on the assistant's turns; `pretrain`: on every token of a text."""
    tuning: Annotated[
        Literal["full", "lora", "qlora", "dora", "rslora", "ia3"], BeforeValidator(_tuning)
    ] = "full"
    """What moves: all weights (an arm's `freeze` holds some) or an adapter (`qlora`: on 4 bits)."""
    learning_rate: Number = Field(default=2e-5, gt=0, le=1)
    """Peak learning rate of AdamW."""
    optimizer: Literal["adamw", "adamw_8bit"] | None = None
    """`adamw` where none is given; `adamw_8bit` keeps its moments in 8 bits (bitsandbytes)."""
    num_train_epochs: Number | None = Field(default=None, gt=0)
    """Passes over the phase's training examples; 1 where neither this nor `max_steps` is given."""
    max_steps: Whole | None = Field(default=None, ge=1)
    """Optimizer steps, instead of epochs."""
    batch_size: Whole | None = Field(default=None, ge=1)
    """Examples in one optimizer step; 16 where no other size of it is given."""
    batch_tokens: Whole | None = Field(default=None, ge=16)
    """Tokens in one optimizer step, instead of examples."""
    batch_trained_tokens: Whole | None = Field(default=None, ge=1)
    """Tokens whose loss counts in one optimizer step, instead of examples."""
    max_length: Whole = Field(default=1024, ge=8)
    """Longest training sequence, in tokens."""
    packing: Flag = True
    """Put several examples end to end in a row; none sees another."""
    completion_only_loss: Flag = True
    """`false` trains on the prompt's tokens too (`sft`)."""
    lr_scheduler_type: Literal["constant", "linear", "cosine", "warmup_stable_decay"] = "linear"
    """How the rate moves after the warm-up: stays, falls, or stays and then falls at the end."""
    min_lr_ratio: Number | None = Field(default=None, ge=0, lt=1)
    """What the rate falls to, as a part of the peak; 0 where none is given."""
    num_cycles: Whole | None = Field(default=None, ge=1)
    """Falls of a `cosine`, each from the peak again; 1 where none is given."""
    decay_ratio: Number | None = Field(default=None, gt=0, le=1)
    """Part of the steps in which `warmup_stable_decay` falls; 0.1 where none is given."""
    warmup_ratio: Number | None = Field(default=None, ge=0, lt=1)
    """Part of the steps in which the rate rises; 0.03 where `warmup_steps` is not given either."""
    warmup_steps: Whole | None = Field(default=None, ge=0)
    """Steps in which the rate rises, instead of a part."""
    weight_decay: Number = Field(default=0.0, ge=0)
    """AdamW's weight decay; norms and biases have none."""
    adam_beta1: Number = Field(default=0.9, ge=0, lt=1)
    """AdamW's first moment."""
    adam_beta2: Number = Field(default=0.999, ge=0, lt=1)
    """AdamW's second moment."""
    adam_epsilon: Number = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    max_grad_norm: Number = Field(default=1.0, ge=0)
    """Longest gradient; longer ones are scaled down. 0 leaves them."""
    gradient_checkpointing: Flag = False
    """Compute activations twice, to hold fewer: less memory, a third more time."""
    boundary_cache: Flag | None = None
    """Keep what frozen lowest blocks give, computed once; none: where a frozen phase has epochs."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the arithmetic; `auto` asks a short probe of the machine. Weights stay fp32."""
    deterministic: Flag = False
    """On a GPU only kernels that give the same bits every time; slower. The CPU's always do."""
    save_steps: Whole | None = Field(default=None, ge=1)
    """Steps between snapshots that a stopped run goes on from; none: under 5 % of the time."""
    report_to: Literal["none", "tensorboard", "wandb", "mlflow", "trackio"] = "none"
    """Tracker that is told of every optimizer step as it is done; changes no result."""
    processes: Whole = Field(default=1, ge=1)
    """Processes of this machine that train the phase together; each has a part of every batch."""
    shard: Flag = False
    """Divide the blocks' weights, gradients and moments among `processes` (FSDP2); `full` only."""
    lora_r: Whole | None = Field(default=None, ge=1)
    """Rank of an adapter; 16 where none is given."""
    lora_alpha: Number | None = Field(default=None, gt=0)
    """What an adapter is scaled by, over its rank; 32 where none is given."""
    lora_dropout: Number | None = Field(default=None, ge=0, lt=1)
    """Dropout of what an adapter reads; 0 where none is given."""
    lora_target_modules: Text | tuple[Text, ...] | None = None
    """Which modules get one: `all-linear` (default), a regular expression, or a list of endings."""
    train_embeddings: Flag | None = None
    """Train the embeddings whole beside an adapter; a tied head with them."""
    train_head: Flag | None = None
    """Train the head whole beside an adapter."""
    handover: Literal["continue_adapter", "new_adapter", "merge_then_new"] | None = None
    """Of the adapter of the phase before: goes on (default), stays beside a new one, is merged."""

    @property
    def of_adapter(self) -> dict[str, Any]:
        """What the adapter is and what becomes of an earlier one, defaults filled in."""
        if self.tuning == "full":
            return {} if self.handover is None else {"handover": self.handover}
        no_rank = ("lora_r", "lora_alpha", "lora_dropout") if self.tuning == "ia3" else ()
        made = {
            key: default if getattr(self, key) is None else getattr(self, key)
            for key, default in OF_ADAPTERS.items()
            if key not in no_rank
        }
        return made | {"handover": self.handover or HANDOVER}

    @model_validator(mode="wrap")
    @classmethod
    def _groups(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Fill and check the groups, beside what pydantic finds."""
        if not isinstance(values, Mapping):
            return handler(values)
        filled, faults = _one_of_each_group(values)
        try:
            made = handler(filled)
        except ValidationError as error:
            keys = tuple(cls.model_fields)
            refuse([*translate(error, lambda _: keys), *faults])
            raise
        faults += [*_of_adapters(made), *_of_schedules(made), *_of_shards(made)]
        if made.max_steps and made.warmup_steps and made.warmup_steps > made.max_steps:
            text = f"must be at most max_steps, {made.max_steps}; got {made.warmup_steps}"
            faults.append(Fault(("warmup_steps",), text))
        refuse(faults)
        return made

    def changed(self, values: Mapping[str, Any]) -> "Train":
        """These settings with some values changed; a value replaces the other of its group.

        >>> Train(batch_size=8).changed({"batch_tokens": 1024}).batch_size is None
        True
        """
        kept = self.model_dump()
        if values.get("tuning") == "full":  # what was said of an adapter goes with it
            kept |= dict.fromkeys((*OF_ADAPTERS, "handover"))
        if "lr_scheduler_type" in values:
            fits = values["lr_scheduler_type"]
            kept |= dict.fromkeys(key for key, types in OF_SCHEDULES.items() if fits not in types)
        for group in EXCLUSIVE:
            if any(values.get(key) is not None for key in group):
                kept |= dict.fromkeys(group)
        return Train.model_validate(kept | dict(values))


def _of_schedules(train: Train) -> Iterator[Fault]:
    """What is said of another schedule than the one chosen."""
    for key, fits in OF_SCHEDULES.items():
        if getattr(train, key) is not None and train.lr_scheduler_type not in fits:
            text = (
                f"belongs to lr_scheduler_type {' or '.join(fits)}, not {train.lr_scheduler_type}"
            )
            yield Fault((key,), text)


def _of_shards(train: Train) -> Iterator[Fault]:
    """What cannot be where the weights are divided among processes."""
    if not train.shard:
        return
    if train.processes == 1:
        yield Fault(("shard",), "there is one process, so nothing to divide; give processes: 2")
    if train.tuning != "full":
        yield Fault(
            ("shard",), f"divides what moves, and with {train.tuning} that is small; leave it out"
        )
    if train.optimizer == "adamw_8bit":
        yield Fault(
            ("shard",), "adamw_8bit cannot divide its moments; leave shard or optimizer out"
        )
    if train.handover is not None:
        yield Fault(
            ("shard",), "an adapter of the phase before cannot be merged with it; leave it out"
        )


def _of_adapters(train: Train) -> Iterator[Fault]:
    """What is said of an adapter where none is trained, and what its kind does not have."""
    given = [key for key in OF_ADAPTERS if getattr(train, key) is not None]
    if train.tuning == "full":
        for key in given:
            yield Fault((key,), "tuning is full; it belongs to an adapter (tuning: lora)")
    if train.tuning == "ia3":
        for key in ("lora_r", "lora_alpha", "lora_dropout"):
            if key in given:
                yield Fault((key,), "ia3 has no rank, scale or dropout; leave it out")


def _one_of_each_group(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The values with a default for each group that is not given, and a fault where both are."""
    filled, faults = dict(values), []
    for group, default in EXCLUSIVE.items():
        given = [key for key in group if filled.get(key) is not None]
        for other in given[1:]:
            faults.append(Fault((other,), f"{given[0]} is given too; give one of them"))
        if not given:
            filled[group[0]] = default
    return filled, faults
