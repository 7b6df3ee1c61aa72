"""Many sequences written at once: a slot for each, filled again as soon as one ends.

What all prompts begin with is read once and kept; what some share is read once when they start. A
step reads one token of every live sequence; attention goes over each slot's own tokens, and over
the kept ones in one product for all. Nothing is padded in the matrices, no cache is copied in a
step, and a sequence that ends gives its place to the next prompt.

Shapes: B live sequences, T tokens of a row, D width, V vocabulary.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from retain.data.template import common_prefix
from retain.decode.prefix_tree import (
    MIN_KEPT,
    ROOT,
    Document,
    Request,
    Row,
    Tokens,
    trees,
)
from retain.errors import TaskError
from retain.model.attention import live_attention
from retain.model.head import UNLIKE, Head
from retain.model.layout import Layout
from retain.model.memory import is_out_of_memory
from retain.model.states import Captured, Kept, Slots

NUM_SLOTS = 64
SLOTS_BYTES = 2**30  # of keys and values of all sequences that are written at once
ROW_TOKENS = 2048  # of prompts read at once
SLOT_TOKENS = 128  # room of a slot at first; doubled when one is full
REFILL = 8  # prompts are read when a slot in so many is free

Choose = Callable[[Tensor, Sequence["Writing"]], list[int]]
"""The next token of each sequence, from logits [B, V] in fp32."""


@dataclass(eq=False)
class Writing:
    """A prompt and what is written after it.

    Attributes:
        prompt: At least one token.
        limit: The most tokens to write.
        has_ended: Told what is written so far; true ends it.
        key: What its sampling noise is drawn from.
        name: What an error calls it.
        written: The tokens, the last of which may be an end token.
    """

    prompt: Tokens
    limit: int
    has_ended: Callable[[list[int]], bool]
    key: str = ""
    name: str = ""
    written: list[int] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is written."""
        return len(self.written) >= self.limit or self.has_ended(self.written)


def write(
    model: Any,
    writings: Sequence[Writing],
    choose: Choose,
    num_slots: int = NUM_SLOTS,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Write after every prompt until it is over; ``Writing.written`` is filled.

    Args:
        model: A decoder that ``LiveBatch`` gives the right logits for (see ``tried``).
        writings: What to write; those that may become longest are started first.
        choose: Takes the next tokens.
        num_slots: Sequences at a time.
        check_stop: Called before every step; raises to stop.

    Raises:
        TaskError: If the model answers NaN.
    """
    waiting = deque(sorted(writings, key=lambda one: (-one.limit, -len(one.prompt))))
    batch = LiveBatch(model, shared_beginning([one.prompt for one in writings]), num_slots)
    live: list[Writing] = []

    def take(logits_BV: Tensor, taking: Sequence[Writing]) -> None:
        is_broken_B = logits_BV.amax(-1).isnan()
        if is_broken_B.any():
            broken = [one for one, bad in zip(taking, is_broken_B.tolist(), strict=True) if bad]
            raise answers_nan(_broken_alone(model, broken).name)
        for one, token in zip(taking, choose(logits_BV, taking), strict=True):
            one.written.append(token)

    while waiting or live:
        check_stop()
        free = num_slots - len(live)
        if waiting and (not live or free * REFILL >= num_slots):
            starting = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            take(batch.start([one.prompt for one in starting]), starting)
            live += starting
        else:
            take(batch.step([one.written[-1] for one in live]), live)
        for place in range(len(live) - 1, -1, -1):
            if live[place].is_over:
                batch.end(place)
                live[place] = live[-1]
                live.pop()


def answers_nan(name: str) -> TaskError:
    """The error for an answer that is no number."""
    return TaskError(
        f"{name or 'a prompt'}: the model answers NaN; its weights are broken (look at the "
        "training loss), or its precision is too low (use fp32)"
    )


def _broken_alone(model: Any, broken: Sequence[Writing]) -> Writing:
    """The first that is NaN by itself too: one NaN can spread to those computed beside it."""
    for one in broken:
        inputs = torch.tensor([[*one.prompt, *one.written]], device=model.device)
        if bool(model(input_ids=inputs, use_cache=False).logits[0, -1].isnan().any()):
            return one
    return broken[0]


def shared_beginning(prompts: Sequence[Tokens]) -> Tokens:
    """What all prompts begin with, where it is worth keeping; each has a token beyond it."""
    first, last = min(prompts), max(prompts)
    common = min(common_prefix(first, last), min(map(len, prompts)) - 1)
    return first[:common] if len(prompts) > 1 and common >= MIN_KEPT else ()


class LiveBatch:
    """Live sequences on one model.

    Args:
        model: A decoder of transformers, in evaluation mode.
        beginning: What every prompt begins with; read once.
        num_slots: The most sequences at a time.
    """

    def __init__(self, model: Any, beginning: Tokens = (), num_slots: int = NUM_SLOTS) -> None:
        self.head = Head(model)
        self.device = model.device
        self.slots = Slots(num_slots, SLOT_TOKENS)
        self.lengths: list[int] = []
        self.kept: Kept | None = None
        if beginning:
            self.kept = Kept(len(beginning))
            layout = Layout((((ROOT, len(beginning)),),))
            self.head.row(beginning, layout, self.kept, into=self.kept)

    @property
    def num_kept(self) -> int:
        """Tokens that every sequence goes on from."""
        return self.kept.length if self.kept is not None else 0

    def start(self, prompts: Sequence[Tokens]) -> Tensor:
        """Read prompts into slots behind the live ones; logits [B, V] after each."""
        own = [prompt[self.num_kept :] for prompt in prompts]
        self._make_room(max(map(len, own)) + 1)
        requests = [Request(tokens, (0,)) for tokens in own]
        first = len(self.lengths)
        self.lengths += [len(tokens) for tokens in own]
        logits: list[Tensor | None] = [None] * len(own)
        for row in trees(requests, ROW_TOKENS):
            for index, logits_V in self._start_row(row, first):
                logits[index] = logits_V
        return torch.stack([one for one in logits if one is not None])

    def _start_row(self, row: Row, first: int) -> Iterator[tuple[int, Tensor]]:
        """Read the documents of one row; logits after each prompt that ends in it."""
        all_nodes = [_with_kept(document, row.kept) for document in row.documents]
        tokens = [token for nodes in all_nodes for _, stretch in nodes for token in stretch]
        layout = Layout(
            tuple(tuple((parent, len(t)) for parent, t in nodes) for nodes in all_nodes),
            (self.num_kept,) * len(all_nodes),
        )
        captured = Captured()
        states_TD = self.head.row(tokens, layout, self.kept, into=captured)
        starts = accumulate(layout.lengths, initial=0)
        ends: list[tuple[int, int]] = []
        for document, nodes, start in zip(row.documents, all_nodes, starts, strict=False):
            for target in document.targets:
                path = _path(nodes, target.positions[-1])
                index = torch.tensor(path, device=self.device) + start
                for request in target.requests:
                    self.slots.fill(first + request, index, captured)
                    ends.append((request, start + path[-1]))
        logits_BV = self.head.logits(states_TD[[place for _, place in ends]])
        for (request, _), logits_V in zip(ends, logits_BV, strict=True):
            yield request, logits_V

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Read one token of every live sequence; logits [B, V] after each."""
        self._make_room(max(self.lengths) + 1)
        positions = [length + self.num_kept for length in self.lengths]
        with live_attention(self.head.model, self.slots, self.lengths, self.kept):
            states_B1D = self.head.hidden(
                input_ids=torch.tensor(tokens, device=self.device)[:, None],
                position_ids=torch.tensor(positions, device=self.device)[:, None],
                attention_mask=None,
            )
        self.lengths = [length + 1 for length in self.lengths]
        return self.head.logits(states_B1D[:, 0])

    def end(self, place: int) -> None:
        """Free a slot; the last live sequence moves into it."""
        last = len(self.lengths) - 1
        if place != last:
            self.slots.move(last, place, self.lengths[last])
            self.lengths[place] = self.lengths[last]
        self.lengths.pop()

    def _make_room(self, length: int) -> None:
        if length > self.slots.capacity:
            self.slots.grow(max(length, 2 * self.slots.capacity))


def _with_kept(document: Document, stretches: tuple[Tokens, ...]) -> list[tuple[int, Tokens]]:
    """A document's nodes, with what it goes on from as their root.

    Prompts that share more than one row holds are rare; their beginning is read again by each row.
    """
    before = tuple(token for stretch in stretches for token in stretch)[: document.seen]
    if not before:
        return list(document.nodes)
    nodes = [(parent + 1, tokens) for parent, tokens in document.nodes]
    return [(ROOT, before), *nodes]


def _path(nodes: Sequence[tuple[int, Tokens]], last: int) -> list[int]:
    """Places in a document of all tokens that one of them sees, itself included."""
    starts = list(accumulate((len(tokens) for _, tokens in nodes), initial=0))
    node = max(index for index in range(len(nodes)) if starts[index] <= last)
    path = list(range(starts[node], last + 1))
    while (node := nodes[node][0]) != ROOT:
        path = [*range(starts[node], starts[node + 1]), *path]
    return path


@dataclass(frozen=True)
class Trial:
    """What came of trying a live batch on a model.

    Attributes:
        worst: Largest error of a log-probability, in nats; infinite where it failed.
        fault: How it failed, empty if it did not.
        bytes_per_token: Of a sequence's keys and values.
    """

    worst: float
    fault: str = ""
    bytes_per_token: int = 0

    def num_slots(self, longest: int) -> int:
        """Sequences of so many tokens that fit into ``SLOTS_BYTES``, at most ``NUM_SLOTS``."""
        return max(1, min(NUM_SLOTS, SLOTS_BYTES // (self.bytes_per_token * longest)))


def tried(model: Any, num_tokens: int) -> Trial:
    """Compare a live batch with the model's own log-probabilities.

    Two prompts that begin alike and one that does not are read, then three tokens of each, with
    one of them ending in between, and compared with plain calls.

    Args:
        model: A decoder of transformers, in evaluation mode.
        num_tokens: Length of the longest prompt; sliding windows up to it are checked.
    """
    draw = torch.Generator().manual_seed(0)
    vocabulary = min(model.config.get_text_config().vocab_size, 10_000)

    def tokens(count: int) -> Tokens:
        return tuple(torch.randint(vocabulary, (count,), generator=draw).tolist())

    beginning = tokens(MIN_KEPT + 2)
    alike = beginning + tokens(max(1, num_tokens - len(beginning)))
    texts = [alike, alike[:-1] + tokens(2), beginning + tokens(3)]
    try:
        batch = LiveBatch(model, beginning, len(texts))
        worst = _worst(model, texts, batch.start(texts))
        for _ in range(3):
            texts = [text + tokens(1) for text in texts]
            logits_BV = batch.step([text[-1] for text in texts])
            worst = max(worst, _worst(model, texts, logits_BV))
            if len(texts) == 3:
                batch.end(0)
                texts = [texts[2], texts[1]]
    except UNLIKE as error:
        if is_out_of_memory(error):
            raise
        return Trial(float("inf"), f"{type(error).__name__}: {error}")
    return Trial(worst, bytes_per_token=batch.slots.bytes_per_token)


def _worst(model: Any, texts: Sequence[Tokens], logits_BV: Tensor) -> float:
    """The largest error of log-probabilities; NaN counts as infinite."""
    worst = 0.0
    for text, logits_V in zip(texts, logits_BV, strict=True):
        inputs = torch.tensor([text], device=model.device)
        expected_V = model(input_ids=inputs, use_cache=False).logits[0, -1].float()
        error = (logits_V.log_softmax(-1) - expected_V.log_softmax(-1)).abs().max()
        worst = max(worst, float(error.nan_to_num(float("inf"))))
    return worst
