"""Whether computing activations twice, or compiling, makes a training step cheaper here.

    python benchmarks/blocks.py [--layers 6] [--tokens 384] [--rounds 3] [--output FILE]

Blocks of SmolLM2-135M's shape with random weights, a packed row of uneven documents as the trainer
makes it, forward and backward. Compared with the blocks as they are: each block with its
activations computed again in the backward pass (``gradient_checkpointing``), and the MLP and norms
of each compiled by ``torch.compile`` (attention goes by document). Rounds go plain, other, other,
plain; printed are the median and range of the ratios of processor time (``--clock wall``: of time),
below 1 a gain, what is kept for the backward pass, and what compiling itself took.
"""

import argparse
import resource
import statistics
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from retain.model.attention import tree_attention
from retain.model.layout import Layout
from retain.model.precision import Precision, autocast, device
from retain.train.recompute import recompute_activations

CLOCKS = {"wall": perf_counter, "cpu": process_time}
SHAPE = {
    "vocab_size": 512,  # the head is computed apart, and in no variant otherwise
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
LENGTHS = (0.4, 0.25, 0.2, 0.1, 0.05)  # of the documents, as parts of the row


def blocks(layers: int, on: torch.device) -> Any:
    """The trunk of a model, the same weights each time."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **SHAPE))
    return model.model.to(on).train()


def step(trunk: Any, num_tokens: int, precision: Precision) -> None:
    """One forward and backward pass."""
    lengths = [int(part * num_tokens) for part in LENGTHS]
    layout = Layout.of_documents(lengths)
    on = next(trunk.parameters()).device
    tokens = torch.arange(sum(lengths), device=on)[None] % SHAPE["vocab_size"]
    positions = torch.tensor(layout.positions(), device=on)[None]
    with tree_attention(trunk, layout):
        with autocast(precision, on):
            states = trunk(input_ids=tokens, position_ids=positions, use_cache=False)
        states.last_hidden_state.float().square().mean().backward()
    trunk.zero_grad()
    if on.type != "cpu":
        torch.accelerator.synchronize()


def kept_bytes(trunk: Any, num_tokens: int, precision: Precision) -> int:
    """What a step keeps for its backward pass."""
    kept = 0
    weights = {parameter.untyped_storage().data_ptr() for parameter in trunk.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes * (tensor.untyped_storage().data_ptr() not in weights)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step(trunk, num_tokens, precision)
    return kept


def variants(layers: int, on: torch.device) -> dict[str, Any]:
    """What is compared."""
    plain, twice, compiled = (blocks(layers, on) for _ in range(3))
    recompute_activations(twice, enabled=True)
    for block in compiled.layers:
        for part in (block.mlp, block.input_layernorm, block.post_attention_layernorm):
            part.compile(dynamic=True)
    return {"plain": plain, "gradient_checkpointing": twice, "torch.compile": compiled}


def timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of a call."""
    started = clock()
    call()
    return clock() - started


def measure(given: argparse.Namespace, precision: Precision) -> list[str]:
    """A line for each variant."""
    made = variants(given.layers, device())
    clock = CLOCKS[given.clock]

    def once(name: str) -> float:
        return timed(lambda: step(made[name], given.tokens, precision), clock)

    lines = []
    kept = {
        name: kept_bytes(trunk, given.tokens, precision)
        for name, trunk in made.items()
        if name != "torch.compile"
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    first = once("torch.compile")
    spent = first + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    once("torch.compile")
    for name in ("gradient_checkpointing", "torch.compile"):
        ratios = []
        for _ in range(given.rounds):
            a, b, c, d = once("plain"), once(name), once(name), once("plain")
            ratios.append((b + c) / (a + d))
        text = f"{precision}  {name}: time x {statistics.median(ratios):.2f}"
        text += f" ({min(ratios):.2f} to {max(ratios):.2f})"
        if name in kept:
            text += f", activations x {kept[name] / kept['plain']:.2f}"
        else:
            text += f", after {spent:.0f} s of compiling"
        lines.append(text)
    return lines


def main() -> None:
    """Print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    title = f"{given.layers} blocks of SmolLM2's shape, {given.tokens} tokens a row, "
    title += f"{torch.get_num_threads()} threads, torch {torch.__version__}, {device().type}"
    lines = [title, *measure(given, "fp32"), *measure(given, "bf16")]
    sys.stdout.write("\n".join(lines) + "\n")
    if given.output is not None:
        with suppress(FileExistsError):
            given.output.parent.mkdir(parents=True)
        given.output.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
