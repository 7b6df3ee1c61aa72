"""AdamW over the parameters that move, and its state as named tensors."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from retain.errors import TrainingError
from retain.train.settings import Settings

FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})  # devices with a fused AdamW


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


def make_optimizer(parameters: Mapping[str, Parameter], settings: Settings) -> torch.optim.AdamW:
    """AdamW, fused where the device has it; weights of one dimension do not decay."""
    matrices = [p for p in parameters.values() if p.dim() >= 2]
    vectors = [p for p in parameters.values() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    device = next(iter(parameters.values())).device
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=device.type in FUSED,
    )


def state_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Parameter]
) -> dict[str, Tensor]:
    """The optimizer's state, ``<what>/<parameter>`` to tensor."""
    return {
        f"{what}/{name}": value
        for name, parameter in parameters.items()
        for what, value in optimizer.state[parameter].items()
    }


def load_state(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Put back what :func:`state_tensors` gave."""
    optimizer.state.clear()
    for key, value in tensors.items():
        what, _, name = key.partition("/")
        parameter = parameters[name]
        optimizer.state[parameter][what] = value.to(parameter.device)
