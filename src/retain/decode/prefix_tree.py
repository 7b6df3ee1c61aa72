"""What is computed together: requests become documents, documents become rows.

The tokens of all requests are one tree: what sequences begin with in common stands once. A part of
it that fits into a row is a *document*. What more hangs from than one row holds is kept: its keys,
values and last states are computed once, and the documents of many rows go on from there. So shots
are computed once a task, a question once for its choices, and fewer shots are the beginning of
more. The plan is fixed before the first row is computed and depends on the requests and the budget
alone.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from retain.data.template import common_prefix
from retain.errors import TaskError

Tokens = tuple[int, ...]
ROOT = -1  # as in model.layout
MIN_KEPT = 16  # tokens; fewer are sooner computed again than kept
MIN_SAVED = 0.04  # share of a document's tokens; less is not worth the parts it is cut into
SMALL = 128  # tokens; a document of so many is one block of attention however it is cut
MAX_DEPTH = 200  # of the tree; what branches deeper shares no more


@dataclass(frozen=True, slots=True)
class Request:
    """What is the log-likelihood of these tokens, given those?

    Attributes:
        context: At least one token.
        continuation: At least one token.
        name: What an error calls it, such as ``piqa, document 3, choice 1``.
    """

    context: Tokens
    continuation: Tokens
    name: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Log-likelihood of the continuation in nats; whether greedy decoding would have written it."""

    loglikelihood: float
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class Target:
    """Where in its document the tokens of one continuation are predicted.

    Attributes:
        requests: Indices of the requests that ask for it (equal requests are computed once).
        positions: Index of the token that predicts each token, among the kept tokens that the
            document goes on from and its own.
        tokens: The tokens.
    """

    requests: tuple[int, ...]
    positions: tuple[int, ...]
    tokens: Tokens


@dataclass(frozen=True)
class Document:
    """A tree of tokens, and what is predicted where.

    Attributes:
        nodes: Index of the parent (``ROOT`` for none) and tokens of each node, parents first, each
            followed by all that hangs from it.
        targets: What is scored; positions count the kept tokens that the document goes on from.
        seen: How many kept tokens it goes on from.
    """

    nodes: tuple[tuple[int, Tokens], ...]
    targets: tuple[Target, ...] = ()
    seen: int = 0
    num_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_tokens", sum(len(tokens) for _, tokens in self.nodes))

    @classmethod
    def plain(cls, tokens: Tokens, targets: tuple[Target, ...] = ()) -> "Document":
        """A document of one node."""
        return cls(((ROOT, tokens),), targets)

    @property
    def tokens(self) -> list[int]:
        """All tokens, node after node."""
        return [token for _, tokens in self.nodes for token in tokens]


@dataclass(frozen=True)
class Row:
    """What one call of the model computes.

    Attributes:
        documents: Side by side.
        kept: Stretches of tokens, one behind the other, that documents go on from; each is
            computed by a call of its own, once for all rows that begin with the same ones.
    """

    documents: tuple[Document, ...]
    kept: tuple[Tokens, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens of its documents."""
        return sum(document.num_tokens for document in self.documents)


@dataclass(frozen=True)
class Fitted:
    """Requests cut to the model's context, and how many had to be cut."""

    requests: list[Request]
    num_truncated: int


def fit(requests: Iterable[Request], max_length: int, *, separate: bool = False) -> Fitted:
    """Drop from the left of each context what the model's context has no room for.

    Args:
        requests: What is asked.
        max_length: What the model can read, in tokens.
        separate: Context and continuation do not share that room (encoder-decoder).

    Source: ``HFLM._loglikelihood_tokens``: the last token is predicted, never read, so
    ``max_length + 1`` tokens fit.

    Raises:
        TaskError: If a context or a continuation is empty, or the latter alone longer than the
            model's context.
    """
    fitted, num_truncated = [], 0
    for request in requests:
        if not request.context:
            raise TaskError(
                f"{request.name}: the prompt has no token: it is white space alone, and the "
                "tokenizer adds no BOS. Give it text, leave it empty (the answer then follows the "
                "end-of-text token), or set add_bos_token"
            )
        if not request.continuation:
            raise TaskError(
                f"{request.name}: the answer to score has no token; a choice is empty, or the "
                "tokenizer merges all of it into the prompt"
            )
        if len(request.continuation) > max_length:
            raise TaskError(
                f"{request.name}: the answer to score has {len(request.continuation)} tokens, the "
                f"model reads {max_length} at most"
            )
        room = max_length if separate else max_length + 1 - len(request.continuation)
        if len(request.context) > room:
            num_truncated += 1
            request = Request(request.context[-room:], request.continuation, request.name)
        fitted.append(request)
    return Fitted(fitted, num_truncated)


def trees(requests: Sequence[Request], budget_tokens: int) -> list[Row]:
    """Rows in which what requests begin with in common is computed once.

    Args:
        requests: What is asked.
        budget_tokens: Tokens of one row; a longer sequence is a row by itself.
    """
    return _Planner(requests, budget_tokens).rows()


class _Planner:
    """Walks down the tree of all sequences, which are sorted by their tokens.

    Neighbours have the longest common beginnings, so a subtree is a range of sequences.
    """

    def __init__(self, requests: Sequence[Request], budget_tokens: int) -> None:
        self.requests, self.budget = requests, budget_tokens
        self.by_input: dict[Tokens, list[int]] = {}
        for index, request in enumerate(requests):
            tokens = request.context + request.continuation[:-1]
            self.by_input.setdefault(tokens, []).append(index)
        self.inputs = sorted(self.by_input)
        self.cuts = [common_prefix(*pair) for pair in pairwise(self.inputs)]
        self.new_tokens = [0]  # of the first so many sequences, each beyond the one before it
        for tokens, cut in zip(self.inputs, [0, *self.cuts], strict=False):
            self.new_tokens.append(self.new_tokens[-1] + len(tokens) - cut)
        self.plan: list[Row] = []

    def rows(self) -> list[Row]:
        """The whole plan."""
        if self.inputs:
            left = self._walk(0, len(self.inputs), (), 0)
            self._flush(left, (), -1)
        return self.plan

    def _size(self, low: int, high: int, seen: int) -> int:
        """Distinct tokens of a range of sequences, beyond those that are kept."""
        beyond_first = self.new_tokens[high] - self.new_tokens[low + 1]
        return len(self.inputs[low]) - seen + beyond_first

    def _walk(self, low: int, high: int, kept: tuple[Tokens, ...], depth: int) -> list[Document]:
        """Plan rows for a range; documents that do not fill one are given back.

        Those given back go on from what is kept, or from its beginning.
        """
        seen = sum(map(len, kept))
        one = high - low == 1
        if one or depth > MAX_DEPTH or self._size(low, high, seen) <= self.budget:
            return list(self._documents(low, high, seen, depth))
        common = common_prefix(self.inputs[low], self.inputs[high - 1])
        inside = kept
        if common - seen >= MIN_KEPT:
            inside += tuple(_stretches(self.inputs[low][seen:common], self.budget))
        documents: list[Document] = []
        for child in self._children(low, high, common):
            documents += self._walk(*child, inside, depth + 1)
        return documents if inside is kept else self._flush(documents, inside, seen)

    def _children(self, low: int, high: int, common: int) -> Iterator[tuple[int, int]]:
        """The ranges that part at a common beginning."""
        start = low
        for place in range(low, high - 1):
            if self.cuts[place] == common:
                yield start, place + 1
                start = place + 1
        yield start, high

    def _documents(self, low: int, high: int, seen: int, depth: int) -> Iterator[Document]:
        """Documents for a range that fits into a row: one, unless sharing hardly saves."""
        size = self._size(low, high, seen)
        common = common_prefix(self.inputs[low], self.inputs[high - 1])
        saved = (common - seen) * (high - low - 1)
        if high - low == 1 or (common > seen and (size <= SMALL or saved > MIN_SAVED * size)):
            yield self._tree(low, high, seen)
        elif depth > MAX_DEPTH:
            yield from (self._tree(one, one + 1, seen) for one in range(low, high))
        else:
            for child in self._children(low, high, common):
                yield from self._documents(*child, seen, depth + 1)

    def _flush(
        self, documents: list[Document], kept: tuple[Tokens, ...], outside: int
    ) -> list[Document]:
        """Put the documents that go on from more than ``outside`` tokens into rows.

        What is left of the last row is filled with the others; those that find no room come back.
        """
        packed = _packed([one for one in documents if one.seen > outside], self.budget)
        if not packed:
            return documents
        room = self.budget - sum(document.num_tokens for document in packed[-1])
        left = []
        for document in _longest_first(one for one in documents if one.seen <= outside):
            if document.num_tokens <= room:
                packed[-1].append(document)
                room -= document.num_tokens
            else:
                left.append(document)
        for row in packed:
            row.sort(key=lambda document: document.seen)
            self.plan.append(Row(tuple(row), kept))
        return left

    def _tree(self, low: int, high: int, seen: int) -> Document:
        """One document for a range of sequences; each common beginning is a node.

        ``path`` holds the nodes of the sequence before, each with where it ends in the sequence.
        """
        nodes: list[tuple[int, Tokens]] = []
        shifts: list[int] = []  # from the index in a sequence to that in the document, by node
        num_tokens = seen
        path: list[tuple[int, int]] = []
        targets: list[Target] = []
        cuts = self.cuts[low : high - 1]
        for number, tokens in enumerate(self.inputs[low:high]):
            shared = cuts[number - 1] if number else seen
            while path and path[-1][1] > shared:
                path.pop()
            begin = path[-1][1] if path else seen
            for end in sorted({*_turns(cuts[number:], len(tokens)), len(tokens)}):
                if end > begin:
                    nodes.append((path[-1][0] if path else ROOT, tokens[begin:end]))
                    shifts.append(num_tokens - begin)
                    num_tokens += end - begin
                    path.append((len(nodes) - 1, end))
                    begin = end
            ends = [end for _, end in path]
            askers = self.by_input[tokens]
            longest = max(len(self.requests[index].continuation) for index in askers)
            places = [
                at if at < seen else at + shifts[path[bisect_right(ends, at)][0]]
                for at in range(len(tokens) - longest, len(tokens))
            ]
            targets.extend(_targets(askers, self.requests, places))
        return Document(tuple(nodes), tuple(targets), seen)


def _stretches(tokens: Tokens, length: int) -> Iterator[Tokens]:
    """Tokens cut into stretches of at most so many."""
    return (tokens[start : start + length] for start in range(0, len(tokens), length))


def _longest_first(documents: Iterable[Document]) -> list[Document]:
    return sorted(documents, key=lambda document: -document.num_tokens)


def _packed(documents: Iterable[Document], budget_tokens: int) -> list[list[Document]]:
    """Documents put together, longest first, until a row would exceed the budget."""
    rows: list[list[Document]] = []
    room = -1
    for document in _longest_first(documents):
        if document.num_tokens > room:
            rows.append([])
            room = budget_tokens
        rows[-1].append(document)
        room -= document.num_tokens
    return rows


def _turns(cuts: Sequence[int], length: int) -> Iterator[int]:
    """Where a sequence parts from those after it: each cut that is below all before it."""
    lowest = length
    for cut in cuts:
        if cut < lowest:
            lowest = cut
            yield cut


def _targets(
    indices: Sequence[int], requests: Sequence[Request], places: Sequence[int]
) -> Iterator[Target]:
    """What is predicted along one sequence; equal continuations are one target."""
    by_continuation: dict[Tokens, list[int]] = {}
    for index in indices:
        by_continuation.setdefault(requests[index].continuation, []).append(index)
    for continuation, askers in by_continuation.items():
        positions = tuple(places[len(places) - len(continuation) :])
        yield Target(tuple(askers), positions, continuation)


def chains(requests: Sequence[Request]) -> list[Document]:
    """One document per distinct input, without branches: for models whose state cannot be shared.

    Continuations of one token share the input that predicts them.
    """
    by_input: dict[Tokens, dict[Tokens, list[int]]] = {}
    for index, request in enumerate(requests):
        tokens = request.context + request.continuation[:-1]
        by_input.setdefault(tokens, {}).setdefault(request.continuation, []).append(index)
    documents = []
    for tokens, askers in by_input.items():
        targets = tuple(
            Target(tuple(indices), tuple(range(len(tokens) - len(rest), len(tokens))), rest)
            for rest, indices in askers.items()
        )
        documents.append(Document.plain(tokens, targets))
    return documents


def batches(documents: Sequence[Document], budget_tokens: int) -> list[Row]:
    """Documents to be padded to the longest of their row, longest first.

    Args:
        documents: What to compute.
        budget_tokens: Tokens of one row, padding included; a longer document is a row by itself.
    """
    plan: list[Row] = []
    row: list[Document] = []
    for document in _longest_first(documents):
        if row and row[0].num_tokens * (len(row) + 1) > budget_tokens:
            plan.append(Row(tuple(row)))
            row = []
        row.append(document)
    if row:
        plan.append(Row(tuple(row)))
    return plan
