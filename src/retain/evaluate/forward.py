"""How a row of documents is computed: as a tree, as a padded batch, or with an encoder.

Shapes: T tokens of a row, B documents, L longest document, N scored positions, D width,
V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, takewhile
from typing import Any, Protocol

import torch

from retain.decode.prefix_tree import (
    ROOT,
    Answer,
    Document,
    Request,
    Row,
    Target,
    Tokens,
    batches,
    chains,
    trees,
)
from retain.evaluate.below import Below, Recorder, row_keys, stretch_key
from retain.model.head import Head, chunk_length
from retain.model.layout import Layout, Tree
from retain.model.rotary import forget_rows
from retain.model.states import Kept

NUM_CHECKED = 64  # tokens on which kept states are compared with the model's own


class ScoringPath(Protocol):
    """One way to score requests; which one is taken is found by trying.

    Attributes:
        name: What the record says.
    """

    name: str

    def plan(self, requests: Sequence[Request], budget_tokens: int) -> list[Row]:
        """What is computed together."""
        ...

    def answer(self, row: Row) -> list[Answer]:
        """An answer per target of the row, in order."""
        ...

    def release(self) -> None:
        """Let go of what was kept from row to row."""
        ...


@dataclass
class TreePath:
    """Documents lie end to end in one row, each a tree in which common beginnings stand once.

    What many documents begin with is computed before them and kept until a row needs another.

    Attributes:
        below: What the model's lowest blocks make of rows, where that was kept in a former phase.
    """

    model: Any
    name: str = "tree"
    below: Below | None = None
    _stack: list[tuple[Tokens, torch.Tensor]] = field(default_factory=list)
    _kept: Kept | None = None
    _recorder: Recorder | None = None
    _reads_below: bool = False

    def __post_init__(self) -> None:
        self.head = Head(self.model)

    def plan(self, requests: Sequence[Request], budget_tokens: int) -> list[Row]:
        """Rows that share all that pays."""
        rows = trees(requests, budget_tokens)
        self._reads_below = self.below is not None and self.below.covers(rows)
        return rows

    def record(self, row: Row, recorder: Recorder) -> None:
        """Keep what the lowest blocks make of a row; what lies above them is not computed."""
        keys = row_keys(row)
        if recorder.has(keys):
            return
        self._recorder = recorder
        try:
            self._keep(row.kept)
            if row.num_tokens:
                self._row(row, keys[-1])
        finally:
            self._recorder = None

    def answer(self, row: Row) -> list[Answer]:
        """Run the row once; the head sees the scored positions only."""
        self._keep(row.kept)
        parts = [states_TD for _, states_TD in self._stack]
        if row.num_tokens:
            parts.append(self._row(row, row_keys(row)[-1] if self._reads_below else ""))
        num_kept = sum(map(len, row.kept))
        starts = accumulate((document.num_tokens for document in row.documents), initial=num_kept)
        return _score(self.head, torch.cat(parts), row, list(starts))

    def release(self) -> None:
        """Let go of what is kept."""
        self._stack, self._kept = [], None

    def _keep(self, stretches: tuple[Tokens, ...]) -> None:
        """Compute the stretches that are not kept yet, behind those that are."""
        both = zip((tokens for tokens, _ in self._stack), stretches, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
        del self._stack[same:]
        needed = sum(map(len, stretches))
        if self._kept is None or self._kept.capacity < needed:
            self._stack, same = [], 0
            self._kept = Kept(needed)
        self._kept.length = sum(len(tokens) for tokens, _ in self._stack)
        for number, tokens in enumerate(stretches[same:], same):
            layout = Layout((((ROOT, len(tokens)),),), (self._kept.length,))
            call = partial(self.head.row, tokens, layout, self._kept, into=self._kept)
            wanted = self._reads_below or self._recorder is not None
            key = stretch_key(stretches[: number + 1]) if wanted else ""
            beginning = partial(self._alone, tokens[:NUM_CHECKED])
            self._stack.append((tokens, self._states(call, key, beginning)))

    def _row(self, row: Row, key: str) -> torch.Tensor:
        """States of the documents of a row."""
        layout = Layout(
            tuple(map(_tree, row.documents)), tuple(document.seen for document in row.documents)
        )
        tokens = [token for document in row.documents for token in document.tokens]
        beginning = partial(self._alone, _beginning(row.documents[0])[:NUM_CHECKED])
        return self._states(partial(self.head.row, tokens, layout, self._kept), key, beginning)

    def _alone(self, tokens: Sequence[int]) -> torch.Tensor:
        """States of tokens that follow nothing."""
        return self.head.row(tokens, Layout((((ROOT, len(tokens)),),), (0,)))

    def _states(
        self, call: Callable[[], torch.Tensor], key: str, beginning: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """States of a call: all of it, what lies above those that are kept, or what lies below.

        The first call that reads kept states follows nothing, and neither does its ``beginning``.
        """
        if self._recorder is not None:
            return self._recorder.take(key, call)
        if self._reads_below and self.below is not None:
            self.below.check(key, beginning)
            with self.below.given(key):
                return call()
        return call()


def _beginning(document: Document) -> list[int]:
    """The tokens that a document starts with, up to its second branch."""
    chain = takewhile(lambda one: one[1][0] == one[0] - 1, enumerate(document.nodes))
    return [token for _, (_, tokens) in chain for token in tokens]


def _tree(document: Document) -> Tree:
    """The shape of a document, without its tokens."""
    return tuple((parent, len(tokens)) for parent, tokens in document.nodes)


@dataclass
class PaddedPath:
    """Each input by itself, padded to the longest of its batch: for models that share nothing.

    Attributes:
        equal: Batch inputs of equal length only: what rotary positions that depend on the longest
            sequence of a call need (``retain.model.rotary``).
    """

    model: Any
    name: str = "padded"
    equal: bool = False

    def __post_init__(self) -> None:
        self.head = Head(self.model)

    def plan(self, requests: Sequence[Request], budget_tokens: int) -> list[Row]:
        """One document per distinct input."""
        documents = chains(requests)
        if not self.equal:
            return batches(documents, budget_tokens)
        by_length: dict[int, list[Document]] = {}
        for document in documents:
            by_length.setdefault(document.num_tokens, []).append(document)
        lengths = sorted(by_length, reverse=True)
        return [row for one in lengths for row in batches(by_length[one], budget_tokens)]

    def answer(self, row: Row) -> list[Answer]:
        """Run the batch once; the head sees the scored positions only."""
        self._forget()
        hidden_BLD = self.head.hidden(input_ids=_padded(row.documents, self.model.device))
        return _score(self.head, hidden_BLD.flatten(0, 1), row, _starts(hidden_BLD))

    def release(self) -> None:
        """Nothing is kept."""

    def _forget(self) -> None:
        if self.equal:
            forget_rows(self.model)


@dataclass
class WholePath(PaddedPath):
    """A padded batch with logits everywhere: for models whose head cannot be run apart."""

    name: str = "whole"

    def __post_init__(self) -> None:
        pass

    def answer(self, row: Row) -> list[Answer]:
        """Run the batch once, head included."""
        self._forget()
        inputs_BL = _padded(row.documents, self.model.device)
        logits_BLV = self.model(input_ids=inputs_BL, use_cache=False).logits
        flat = logits_BLV.flatten(0, 1)
        return _score(_Given(flat), flat, row, _starts(logits_BLV))


@dataclass
class EncoderPath:
    """An encoder reads the context, the decoder is scored on the continuation."""

    model: Any
    name: str = "encoder-decoder"

    def plan(self, requests: Sequence[Request], budget_tokens: int) -> list[Row]:
        """One document per request: its context is the first node, its continuation the second."""
        documents = []
        for index, request in enumerate(requests):
            scored = request.continuation
            target = Target((index,), tuple(range(len(scored))), scored)
            nodes = ((ROOT, request.context), (0, scored))
            documents.append(Document(nodes, (target,)))
        return batches(documents, budget_tokens)

    def answer(self, row: Row) -> list[Answer]:
        """Run the batch once, as the harness does: labels shifted right by the model itself."""
        device = self.model.device
        documents = row.documents
        inputs_BL = _padded([Document.plain(doc.nodes[0][1]) for doc in documents], device)
        lengths_B1 = torch.tensor([[len(doc.nodes[0][1])] for doc in documents], device=device)
        mask_BL = torch.arange(inputs_BL.shape[1], device=device)[None] < lengths_B1
        labels = _padded([Document.plain(doc.nodes[1][1]) for doc in documents], device)
        logits_BLV = self.model(
            input_ids=inputs_BL, attention_mask=mask_BL.long(), labels=labels
        ).logits
        flat = logits_BLV.flatten(0, 1)
        return _score(_Given(flat), flat, row, _starts(logits_BLV))

    def release(self) -> None:
        """Nothing is kept."""


def _starts(states_BLx: torch.Tensor) -> range:
    """Where each sequence of a batch starts when the batch is made flat."""
    num_sequences, length = states_BLx.shape[:2]
    return range(0, num_sequences * length, length)


class _Given:
    """Stands for the head where logits were computed with the trunk."""

    def __init__(self, logits_NV: torch.Tensor) -> None:
        self.chunk_length = chunk_length(logits_NV.shape[-1])

    def logits(self, logits_NV: torch.Tensor) -> torch.Tensor:
        """The logits in fp32."""
        return logits_NV.float()


def _padded(documents: Sequence[Document], device: torch.device) -> torch.Tensor:
    """Tokens [B, L] with zeros on the right, which no causal position before them sees."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(document.tokens, device=device) for document in documents], batch_first=True
    )


def _score(
    head: Head | _Given, hidden_TD: torch.Tensor, row: Row, starts: Sequence[int]
) -> list[Answer]:
    """Answers of all targets of a row, from the states (or logits) at every position.

    Args:
        head: What makes logits of states.
        hidden_TD: States of all positions, flat.
        row: The documents.
        starts: Where each document starts among the positions; kept tokens come first of all.
    """
    targets = [
        (start - document.seen, document.seen, target)
        for start, document in zip(starts, row.documents, strict=False)
        for target in document.targets
    ]
    device = hidden_TD.device
    where = [
        position if position < seen else shift + position
        for shift, seen, target in targets
        for position in target.positions
    ]
    token_N = torch.tensor([token for *_, t in targets for token in t.tokens], device=device)
    places_U, place_N = torch.unique(torch.tensor(where, device=device), return_inverse=True)
    loglikelihood_N = torch.empty(len(where), dtype=torch.float32, device=device)
    greedy_N = torch.empty(len(where), dtype=torch.bool, device=device)
    for first, logits_UV in _chunks(head, hidden_TD[places_U]):
        inside_N = (place_N >= first) & (place_N < first + len(logits_UV))
        row_N, wanted_N = place_N[inside_N] - first, token_N[inside_N]
        normaliser_U = logits_UV.logsumexp(-1)
        loglikelihood_N[inside_N] = logits_UV[row_N, wanted_N] - normaliser_U[row_N]
        greedy_N[inside_N] = logits_UV.argmax(-1)[row_N] == wanted_N
    sizes = [len(target.tokens) for *_, target in targets]
    sums = [float(part.sum()) for part in torch.split(loglikelihood_N.cpu().double(), sizes)]
    greedy = [bool(part.all()) for part in torch.split(greedy_N.cpu(), sizes)]
    return [Answer(total, all_best) for total, all_best in zip(sums, greedy, strict=True)]


def _chunks(head: Head | _Given, hidden_UD: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """The first row's index and logits of one chunk of positions after the other."""
    length = head.chunk_length
    for first in range(0, len(hidden_UD), length):
        yield first, head.logits(hidden_UD[first : first + length])
