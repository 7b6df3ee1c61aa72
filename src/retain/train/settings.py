"""What shapes the result of training, as it stands in the settings of a train step."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_args

from retain.errors import TrainingError, did_you_mean
from retain.model.adapters import ALL_LINEAR, Adapter, Kind
from retain.train.tuning import Handover

Schedule = Literal["constant", "linear", "cosine", "warmup_stable_decay"]
Optimizer = Literal["adamw", "adamw_8bit"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hyper-parameters of one phase, under Hugging Face's names and with its defaults.

    Attributes:
        learning_rate: Peak rate of AdamW.
        optimizer: ``adamw``, or with moments of 8 bits, block by block (``adamw_8bit``).
        lr_scheduler_type: Shape of the rate after the warm-up.
        warmup_steps: Steps to reach the peak; if 0, ``warmup_ratio`` decides.
        warmup_ratio: Warm-up as a part of all steps, 0..1.
        min_lr_ratio: What the rate falls to, as a part of the peak.
        num_cycles: Falls of a cosine, each from the peak again.
        decay_ratio: Part of the steps after the warm-up in which ``warmup_stable_decay`` falls.
        weight_decay: For weights of two dimensions and more; norms and biases have none.
        adam_beta1: Decay of the mean of the gradient.
        adam_beta2: Decay of the mean of its square.
        adam_epsilon: Added to the denominator.
        max_grad_norm: The gradient's norm is clipped to it; 0 switches that off.
        gradient_checkpointing: Compute activations again in the backward pass, to save memory.
        precision: What matrix products run in.
        deterministic: On a GPU only kernels that give the same bits every time.
        seed: Of dropout and of the methods' draws.
        save_steps: Optimizer steps between snapshots; None: as often as costs under 5 % of time.
        micro_batch_tokens: Tokens computed at once; None: what fits the machine.
        tuning: ``full``, or the kind of adapter that is trained.
        lora_r: Rank of the adapter.
        lora_alpha: What it is scaled by.
        lora_dropout: Of what it reads.
        lora_target_modules: Which modules get one.
        train_embeddings: Train the embeddings whole beside it.
        train_head: Train the head whole beside it.
        handover: What becomes of the adapter of the phase before.
        during_phase: Model folders kept inside the phase, to be scored.
    """

    learning_rate: float
    optimizer: Optimizer = "adamw"
    lr_scheduler_type: Schedule = "linear"
    warmup_steps: int = 0
    warmup_ratio: float = 0.0
    min_lr_ratio: float = 0.0
    num_cycles: int = 1
    decay_ratio: float = 0.1
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    deterministic: bool = False
    seed: int = 0
    save_steps: int | None = None
    micro_batch_tokens: int | None = None
    tuning: Literal["full"] | Kind = "full"
    lora_r: int = 16
    lora_alpha: float = 32
    lora_dropout: float = 0.0
    lora_target_modules: str | tuple[str, ...] = ALL_LINEAR
    train_embeddings: bool = False
    train_head: bool = False
    handover: Handover = "continue_adapter"
    during_phase: int = 0

    @property
    def adapter(self) -> Adapter | None:
        """The adapter that is trained; None where all weights are."""
        if self.tuning == "full":
            return None
        target = self.lora_target_modules
        return Adapter(
            kind=self.tuning,
            r=self.lora_r,
            alpha=self.lora_alpha,
            dropout=self.lora_dropout,
            target_modules=target if isinstance(target, str) else tuple(target),
            embeddings=self.train_embeddings,
            head=self.train_head,
        )

    def __post_init__(self) -> None:
        if self.lr_scheduler_type not in get_args(Schedule):
            known = list(get_args(Schedule))
            raise TrainingError(did_you_mean("lr_scheduler_type", self.lr_scheduler_type, known))
        if self.optimizer not in get_args(Optimizer):
            known = list(get_args(Optimizer))
            raise TrainingError(did_you_mean("optimizer", self.optimizer, known))
        if self.precision not in ("fp32", "bf16"):
            raise TrainingError(
                f"precision '{self.precision}': a train step knows fp32 and bf16; "
                "`auto` is resolved before"
            )


def read_settings(values: Mapping[str, Any]) -> Settings:
    """The hyper-parameters among a train step's settings; what is absent or None is the default.

    Raises:
        TrainingError: If the learning rate is missing, or a value is not allowed.
    """
    given = {
        field.name: values[field.name]
        for field in fields(Settings)
        if values.get(field.name) is not None
    }
    required = [field.name for field in fields(Settings) if field.default is MISSING]
    if missing := [name for name in required if name not in given]:
        raise TrainingError(f"the train step's settings lack {', '.join(missing)}")
    return Settings(**given)
