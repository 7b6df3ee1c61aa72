"""What is computed together: requests become documents, documents become rows.

A *document* is a tree of tokens: what its sequences begin with in common stands once, as a node
that the rest hangs from. So the instruction and the shots that questions share are computed once,
a question once for all its choices. A *row* is what one call of the model computes. The plan is
fixed before the first row is computed and depends on the requests and the budget alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from retain.errors import TaskError
from retain.evaluate.tokens import Tokens

ROOT = -1  # as in model.attention
SLOWER = 4.0  # attention under a mask against matrix products, time per operation


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
        positions: Index in the document of the token that predicts each token.
        tokens: The tokens.
    """

    requests: tuple[int, ...]
    positions: tuple[int, ...]
    tokens: Tokens


@dataclass(frozen=True)
class Document:
    """A tree of tokens, and what is predicted where.

    Attributes:
        nodes: Index of the parent (``ROOT`` for none) and tokens of each node, parents first.
        targets: What is scored.
    """

    nodes: tuple[tuple[int, Tokens], ...]
    targets: tuple[Target, ...] = ()
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


Row = tuple[Document, ...]


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
        TaskError: If a continuation is empty, or alone longer than the context.
    """
    fitted, num_truncated = [], 0
    for request in requests:
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


def trees(requests: Sequence[Request], budget_tokens: int, width: int) -> list[Document]:
    """Documents in which common beginnings stand once.

    Sequences are taken in the order of their tokens, so that those with the longest common
    beginnings are neighbours. A sequence joins the document before it where that pays (see
    ``_pays``) and does not take it beyond the budget.

    Args:
        requests: What is asked.
        budget_tokens: The most tokens of a document of several sequences.
        width: Of the model's states.
    """
    by_input: dict[Tokens, list[int]] = {}
    for index, request in enumerate(requests):
        by_input.setdefault(request.context + request.continuation[:-1], []).append(index)
    documents: list[Document] = []
    group: list[Tokens] = []
    size = 0
    for tokens in sorted(by_input):
        common = _num_common(group[-1], tokens) if group else 0
        grown = size + len(tokens) - common
        if group and (grown > budget_tokens or not _pays(common, size, len(tokens), width)):
            documents.append(_tree(group, by_input, requests))
            group, grown = [], len(tokens)
        group.append(tokens)
        size = grown
    if group:
        documents.append(_tree(group, by_input, requests))
    return documents


def _pays(common: int, size: int, length: int, width: int) -> bool:
    """Whether sharing saves more operations than the wider mask costs.

    A token costs about 24 width² in the matrices of a block, a pair of tokens 4 width in its
    attention; a document with a mask computes every pair, a plain one half of them.
    """
    grown = size + length - common
    more_pairs = grown**2 - size**2 - length**2 / 2
    return 24 * width**2 * common > SLOWER * 4 * width * more_pairs


def _num_common(one: Tokens, other: Tokens) -> int:
    """How many tokens two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _tree(
    group: Sequence[Tokens], by_input: dict[Tokens, list[int]], requests: Sequence[Request]
) -> Document:
    """One document for sequences in the order of their tokens; each common beginning is a node.

    ``path`` holds the nodes of the sequence before, each with where it ends in the sequence.
    """
    cuts = [_num_common(*pair) for pair in pairwise(group)]
    nodes: list[tuple[int, Tokens]] = []
    starts: list[int] = []
    num_tokens = 0
    path: list[tuple[int, int]] = []
    targets: list[Target] = []
    for number, tokens in enumerate(group):
        shared = cuts[number - 1] if number else 0
        while path and path[-1][1] > shared:
            path.pop()
        begin = path[-1][1] if path else 0
        for end in sorted({*_turns(cuts[number:], len(tokens)), len(tokens)}):
            if end > begin:
                nodes.append((path[-1][0] if path else ROOT, tokens[begin:end]))
                starts.append(num_tokens - begin)
                num_tokens += end - begin
                path.append((len(nodes) - 1, end))
                begin = end
        places = [starts[node] + at for at, node in _places(path)]
        targets.extend(_targets(by_input[tokens], requests, places))
    return Document(tuple(nodes), tuple(targets))


def _turns(cuts: Sequence[int], length: int) -> Iterator[int]:
    """Where a sequence parts from those after it: each cut that is below all before it."""
    lowest = length
    for cut in cuts:
        if cut < lowest:
            lowest = cut
            yield cut


def _places(path: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Index in the sequence and node of each of its tokens."""
    begin = 0
    for node, end in path:
        yield from ((at, node) for at in range(begin, end))
        begin = end


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


def rows(documents: Sequence[Document], budget_tokens: int, *, padded: bool) -> list[Row]:
    """Documents put together, longest first, until a row would exceed the budget.

    Args:
        documents: What to compute.
        budget_tokens: Tokens of one row, padding included; a longer document is a row by itself.
        padded: Whether every document of a row takes the place of the longest one.
    """
    order = sorted(range(len(documents)), key=lambda i: (-documents[i].num_tokens, i))
    plan: list[Row] = []
    row: list[Document] = []
    for document in (documents[i] for i in order):
        longest = row[0].num_tokens if row else 0
        filled = longest * len(row) if padded else sum(other.num_tokens for other in row)
        needed = longest if padded else document.num_tokens
        if row and filled + needed > budget_tokens:
            plan.append(tuple(row))
            row = []
        row.append(document)
    if row:
        plan.append(tuple(row))
    return plan
