"""What a phase will cost: time by a short probe, memory and disk by counting.

Time is floating-point operations over the rate of a matrix product of this model's shape, times
how much of that rate a whole training step reaches, plus the memory traffic of the optimizer.

Operations per token, N matrix weights of the blocks, V x D head, L blocks, A width of all heads, T
mean length: forward ``2 N + 2 L A T`` and ``2 V D`` at each position that predicts a trained token;
backward the same again for every block with something that moves at or below it, and ``2`` a
moving weight. Frozen layers below the first moving one cost their forward pass only. Where there is
an encoder, a token goes through one of the two stacks: half of the blocks.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import NamedTuple

from retain.model.facts import Facts
from retain.model.layers import Place
from retain.model.precision import Precision

EFFICIENCY = {"fp32": 0.8, "bf16": 0.45}  # of a whole step; SmolLM2-135M: 0.79-0.87, 0.44-0.52
FORWARD_EFFICIENCY = {"fp32": 0.8, "bf16": 0.5}
ADAMW_BYTES = 28  # a moving weight, read and written, each step
PROCESS_BYTES = 450e6  # Python with torch and transformers loaded
QUANTISED_BYTES = 0.6  # a weight of 4 bits, with the constants of its block
GATHERED = 5  # of the largest matrix: whole, its gradient, the next one, what is sent and received
CHUNK_BYTES = 800e6  # largest chunk of logits with its copies, see train.objective
TOKENIZER_BYTES = 4e6


@dataclass(frozen=True)
class Rates:
    """What this machine does with matrices of this model's shape.

    Attributes:
        gflops: Matrix products, forward and backward, GFLOP/s.
        bandwidth_gb_per_s: Memory, read and written.
    """

    gflops: float
    bandwidth_gb_per_s: float


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The size of one phase of training.

    Attributes:
        num_steps: Optimizer steps.
        tokens: Tokens computed, over all steps.
        trained_tokens: Tokens whose loss counts.
        sequence_tokens: Mean length of a sequence.
        moving: Names of the parameters that move; None for all.
        precision: What matrix products run in.
        micro_batch_tokens: Tokens computed at once.
        recomputed: Whether activations are computed again in the backward pass.
        adapter_parameters: Numbers in the adapter that moves instead; 0 without one.
        quantised: Whether the weights below it have 4 bits.
        moment_bytes: Of the optimizer, a moving weight: 8, or 2 for moments of 8 bits.
        kept_blocks: Lowest blocks whose output is kept and not computed here.
        shares: Processes that divide the blocks among them; memory is that of one.
    """

    num_steps: int
    tokens: int
    trained_tokens: int
    sequence_tokens: float
    precision: Precision
    moving: Set[str] | None = None
    micro_batch_tokens: int = 512
    recomputed: bool = False
    adapter_parameters: int = 0
    quantised: bool = False
    moment_bytes: float = 8.0
    kept_blocks: int = 0
    shares: int = 1


@dataclass(frozen=True)
class Cost:
    """What a phase is expected to take.

    Attributes:
        seconds: Of computing; saving adds at most 5 %.
        memory_bytes: Largest at any time, the process itself included.
        disk_bytes: What stays: the model folder.
        snapshot_bytes: What is needed besides while it runs: two snapshots, and one being written.
        copy_bytes: Memory taken besides while a snapshot is written, where memory is plenty: the
            copy it is written from, so that training need not wait.
    """

    seconds: float
    memory_bytes: int
    disk_bytes: int
    snapshot_bytes: int
    copy_bytes: int


def measure_rates(facts: Facts, precision: Precision, seconds: float = 0.3) -> Rates:
    """Time a projection of the model's width, forward and backward, and a copy of memory."""
    import torch

    from retain.model.precision import autocast, best_seconds, device

    on = device()
    tokens, width = 1024, facts.hidden_size
    x = torch.randn(tokens, width, device=on, requires_grad=True)
    up = torch.randn(4 * width, width, device=on, requires_grad=True)
    block = torch.empty(16 * 2**20, device=on)
    target = torch.empty_like(block)

    def product() -> None:
        with autocast(precision, on):
            y = torch.nn.functional.linear(x, up)
        torch.autograd.grad(y, (x, up), y)

    flops = 3 * 2 * tokens * width * 4 * width
    copy_seconds = best_seconds(lambda: target.copy_(block), on, seconds / 6)
    return Rates(
        gflops=flops / best_seconds(product, on, seconds) / 1e9,
        bandwidth_gb_per_s=2 * block.nbytes / copy_seconds / 1e9,
    )


def training_cost(facts: Facts, phase: Phase, rates: Rates) -> Cost:
    """Time, memory and disk of one phase."""
    moving = _moving(facts, phase)
    num_moving = sum(place.size for place in moving.values()) + phase.adapter_parameters
    rate = rates.gflops * 1e9 * EFFICIENCY[phase.precision]
    traffic = phase.num_steps * num_moving * ADAMW_BYTES / (rates.bandwidth_gb_per_s * 1e9)
    weights = 4 * (phase.adapter_parameters or facts.num_parameters)
    return Cost(
        seconds=training_flops(facts, phase) / rate + traffic,
        memory_bytes=training_memory_bytes(facts, phase),
        disk_bytes=int(weights + TOKENIZER_BYTES),
        snapshot_bytes=int(3 * (4 + phase.moment_bytes) * num_moving),
        copy_bytes=int((4 + phase.moment_bytes) * num_moving),
    )


def training_memory_bytes(facts: Facts, phase: Phase) -> int:
    """The most memory that one phase takes at any time, the process itself included."""
    return int(_memory_bytes(facts, phase))


def training_flops(facts: Facts, phase: Phase) -> float:
    """Floating-point operations of a phase, by the formula of this module."""
    moving = _moving(facts, phase)
    per_block = facts.block_parameters / facts.num_layers
    attention = 2 * facts.attention_size * phase.sequence_tokens
    lowest = 0 if phase.adapter_parameters else _lowest_block(facts, moving)
    above = facts.num_layers - lowest  # blocks that the backward pass goes through
    forward = (facts.num_layers - phase.kept_blocks) * (2 * per_block + attention)
    backward = above * (2 * per_block + 2 * attention)
    backward += 2 * sum(place.size for place in moving.values() if place.part == "block")
    backward += 4 * phase.adapter_parameters  # forward too
    if phase.recomputed:
        backward += above * (2 * per_block + attention)
    head = 2 * facts.vocab_size * facts.hidden_size
    head_moves = any(place.part == "head" for place in moving.values()) or (
        facts.tied and any(place.part == "embeddings" for place in moving.values())
    )
    at_head = head * (2 + head_moves)
    through = facts.passes * phase.tokens
    return through * (forward + backward) + phase.trained_tokens * at_head


def scoring_seconds(
    facts: Facts, rates: Rates, precision: Precision, *, tokens: int, scored_tokens: int
) -> float:
    """Time to score text: every token through the blocks, the scored ones through the head."""
    head = 2 * facts.vocab_size * facts.hidden_size
    flops = 2 * facts.block_parameters * facts.passes * tokens + head * scored_tokens
    return flops / (rates.gflops * 1e9 * FORWARD_EFFICIENCY[precision])


class Memory(NamedTuple):
    """Bytes of a training step, by what they grow with.

    Attributes:
        weights: Those that stand still or move, in all the forms that are held.
        moving: Gradients and AdamW's means.
        a_token: Activations of one token computed at once.
        a_trained_token: Logits of one token whose loss counts, up to CHUNK_BYTES in all.
    """

    weights: float
    moving: float
    a_token: float
    a_trained_token: float

    def bytes(self, tokens: float, trained_tokens: float) -> float:
        """Of a step that computes so many tokens at once, the process itself included."""
        logits = min(CHUNK_BYTES, trained_tokens * self.a_trained_token)
        return PROCESS_BYTES + self.weights + self.moving + tokens * self.a_token + logits


def step_memory(facts: Facts, phase: Phase) -> Memory:
    """What a training step holds in one process."""
    moving = _moving(facts, phase)
    elsewhere = (1 - 1 / phase.shares) * facts.block_parameters
    num_moving = sum(place.size for place in moving.values()) - elsewhere
    weights = 4.0 * (facts.num_parameters - elsewhere)
    if phase.quantised:  # embeddings and head are not
        weights -= (4.0 - QUANTISED_BYTES) * facts.block_parameters
    elif phase.precision == "bf16":
        rounded_once = facts.block_parameters if phase.shares > 1 else 0  # when it is gathered
        weights += 2 * (facts.num_parameters - rounded_once)
    if phase.shares > 1:
        largest = max(place.size for place in facts.places.values() if place.part == "block")
        weights += 4 * GATHERED * largest
    lowest = 0 if phase.adapter_parameters else _lowest_block(facts, moving)
    above = facts.num_layers - lowest
    inner = facts.block_parameters / facts.num_layers / (4 * facts.hidden_size)
    per_block = 4 * (12 * facts.hidden_size + 4 * inner)
    if phase.recomputed:
        activations = 4.0 * facts.hidden_size * above + per_block
    else:
        activations = per_block * above
    return Memory(
        weights=weights + 4 * phase.adapter_parameters,
        moving=(4 + phase.moment_bytes) * (num_moving + phase.adapter_parameters),
        a_token=facts.passes * activations,
        a_trained_token=12.0 * facts.vocab_size,
    )


def _memory_bytes(facts: Facts, phase: Phase) -> float:
    tokens = min(phase.micro_batch_tokens, phase.tokens / max(1, phase.num_steps))
    trained = tokens * phase.trained_tokens / max(1, phase.tokens)
    return step_memory(facts, phase).bytes(tokens, trained)


def _moving(facts: Facts, phase: Phase) -> dict[str, Place]:
    if phase.adapter_parameters:
        return {}
    if phase.moving is None:
        return facts.places
    return {name: place for name, place in facts.places.items() if name in phase.moving}


def _lowest_block(facts: Facts, moving: dict[str, Place]) -> int:
    """The lowest block that the backward pass goes through; their number when it enters none."""
    if any(place.part == "embeddings" for place in moving.values()):
        return 0
    return min((p.block for p in moving.values() if p.part == "block"), default=facts.num_layers)
