"""What is fixed when a phase starts and kept until it ends, so that a resume repeats it exactly."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from retain.steps.durable import write_file
from retain.train.settings import Settings

PLAN = "plan.json"
SMALLEST_TOKENS = 256
UNIT_TOKENS = 128
LARGEST_TOKENS = {"cpu": 384}  # more is hardly faster there, and a laptop's memory is small
LARGEST_TOKENS_ELSEWHERE = 16384
PART_OF_MEMORY = 0.2  # for activations; weights, gradients and AdamW's state come first


@dataclass(frozen=True)
class Plan:
    """How the phase is computed on this machine.

    Attributes:
        micro_batch_tokens: Tokens computed at once.
        num_threads: Threads of torch.
    """

    micro_batch_tokens: int
    num_threads: int


def make_plan(
    settings: Settings, activation_bytes: int, device: torch.device, processes: int = 1
) -> Plan:
    """The most tokens whose activations fit a fifth of the device's memory, in whole units.

    Args:
        settings: Of the phase.
        activation_bytes: That one token leaves for the backward pass.
        device: Where this process computes.
        processes: That train this phase on this machine: they share its threads, and memory where
            it is the device's.
    """
    tokens = settings.micro_batch_tokens
    if tokens is None:
        sharing = processes if device.type == "cpu" else 1
        room = PART_OF_MEMORY * total_memory_bytes(device) / sharing / activation_bytes
        most = min(int(room), LARGEST_TOKENS.get(device.type, LARGEST_TOKENS_ELSEWHERE))
        tokens = max(SMALLEST_TOKENS, most // UNIT_TOKENS * UNIT_TOKENS)
    return Plan(tokens, max(1, torch.get_num_threads() // processes))


def halved(partial: Path, plan: Plan) -> Plan:
    """A plan that computes half as much at once; a resume goes on with it."""
    smaller = replace(plan, micro_batch_tokens=plan.micro_batch_tokens // 2)
    write_file(partial / PLAN, json.dumps(asdict(smaller)))
    return smaller


def fixed_plan(partial: Path, made: Plan) -> Plan:
    """The plan this step was started with; ``made`` becomes it when there is none yet."""
    path = partial / PLAN
    with suppress(OSError, ValueError, TypeError):  # none yet, or torn
        return Plan(**json.loads(path.read_text("utf-8")))
    write_file(path, json.dumps(asdict(made)))
    return made


def activation_bytes(model: torch.nn.Module) -> int:
    """Bytes of activations that one token leaves for the backward pass, roughly.

    Sixteen widths and five inner widths a block in float32, as measured on Llama blocks with
    autocast; half of it would do for a block of GPT-2.
    """
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return int(4 * config.num_hidden_layers * (16 * config.hidden_size + 5 * inner))


def total_memory_bytes(device: torch.device) -> int:
    """All memory of the device, used or free: a figure that does not change from run to run."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
