"""AdamW over the parameters that move, and its state as named tensors.

``adamw_8bit`` is bitsandbytes' block-wise AdamW: both moments have 8 bits and one scale for each
256 numbers (Dettmers et al. 2021, https://arxiv.org/abs/2110.02861), so a moving weight has 2 bytes
of state in place of 8. Tensors of under 4,096 numbers keep moments of 32 bits. Departure:
embeddings have 8 bits too, where the paper leaves them at 32.
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from retain.errors import TrainingError
from retain.train.settings import Settings

FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})  # devices with a fused AdamW
EIGHT_BITS = frozenset({"cpu", "cuda", "xpu"})  # devices with bitsandbytes' block-wise AdamW
CODES = {"qmap1": "dynamic", "qmap2": "udynamic"}  # tables all tensors share, and made anew


def choose(model: torch.nn.Module, names: Iterable[str] | None) -> dict[str, Parameter]:
    """Let only the named parameters move, all for None; the rest gets no gradient.

    A tied head moves exactly when its embedding does: they are one tensor of one name.

    Raises:
        TrainingError: If a name is not a parameter of the model, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    wanted = set(parameters if names is None else names)
    if unknown := sorted(wanted - set(parameters)):
        raise TrainingError(
            f"{len(unknown)} of {len(wanted)} trainable names match no parameter, such as "
            f"'{unknown[0]}'; the model has {len(parameters)}, such as '{next(iter(parameters))}'"
        )
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in wanted)
    moving = {name: parameter for name, parameter in parameters.items() if name in wanted}
    if not moving:
        raise TrainingError(
            f"all {len(parameters)} parameters are frozen; nothing is left to train"
        )
    return moving


def make_optimizer(
    parameters: Mapping[str, Parameter], settings: Settings
) -> torch.optim.Optimizer:
    """AdamW, fused where the device has it; weights of one dimension do not decay.

    Raises:
        TrainingError: If moments of 8 bits are asked for and cannot be had.
    """
    matrices = [p for p in parameters.values() if p.dim() >= 2]
    vectors = [p for p in parameters.values() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    device = next(iter(parameters.values())).device
    common: dict[str, Any] = {
        "params": [group for group in groups if group["params"]],
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": settings.adam_epsilon,
    }
    if settings.optimizer == "adamw_8bit":
        return _with_8_bits(device, common)
    return torch.optim.AdamW(**common, fused=device.type in FUSED)


def _with_8_bits(device: torch.device, common: dict[str, Any]) -> torch.optim.Optimizer:
    if find_spec("bitsandbytes") is None:
        raise TrainingError("optimizer: adamw_8bit needs bitsandbytes: pip install 'retain[qlora]'")
    if device.type not in EIGHT_BITS:
        raise TrainingError(
            f"optimizer: adamw_8bit: bitsandbytes has no block-wise AdamW for {device.type} "
            f"(it has for {', '.join(sorted(EIGHT_BITS))}); use optimizer: adamw"
        )
    from bitsandbytes import optim

    kind: Any = optim.AdamW8bit  # type: ignore[attr-defined]
    made: torch.optim.Optimizer = kind(**common)
    return made


def state_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Parameter]
) -> dict[str, Tensor]:
    """The optimizer's state, ``<what>/<parameter>`` to tensor."""
    return {
        f"{what}/{name}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for what, value in optimizer.state[parameter].items()
        if what not in CODES
    }


def load_state(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Put back what :func:`state_tensors` gave."""
    optimizer.state.clear()
    counts_in_python = not isinstance(optimizer, torch.optim.AdamW)
    for key, value in tensors.items():
        what, _, name = key.partition("/")
        parameter = parameters[name]
        state = optimizer.state[parameter]
        if what == "step" and counts_in_python:
            state[what] = int(value)
        else:
            state[what] = value.to(parameter.device)
        if what.startswith("absmax"):
            code = f"qmap{what[-1]}"
            state[code] = optimizer.name2qmap[CODES[code]].to(parameter.device)  # type: ignore[attr-defined]
