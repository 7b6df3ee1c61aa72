"""What is computed together: requests become documents, documents become rows.

A *document* is the tokens of one forward pass of one context: a stem and, where it has several
continuations, a branch for each. A *row* is what one call of the model computes. The plan is fixed
before the first row is computed and depends on the requests and the budget alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from retain.errors import TaskError
from retain.evaluate.tokens import Tokens


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
    """A stem, its branches, and what is predicted where."""

    stem: Tokens
    branches: tuple[Tokens, ...] = ()
    targets: tuple[Target, ...] = ()
    num_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_tokens", len(self.stem) + sum(map(len, self.branches)))

    @property
    def tokens(self) -> list[int]:
        """Stem and branches in order."""
        return [*self.stem, *(token for branch in self.branches for token in branch)]


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


def trees(requests: Sequence[Request]) -> list[Document]:
    """One document per distinct context: its continuations branch off where it ends."""
    by_context: dict[Tokens, dict[Tokens, list[int]]] = {}
    for index, request in enumerate(requests):
        by_context.setdefault(request.context, {}).setdefault(request.continuation, []).append(
            index
        )
    return [_tree(context, askers) for context, askers in by_context.items()]


def _tree(context: Tokens, askers: dict[Tokens, list[int]]) -> Document:
    if len(askers) == 1:
        ((continuation, indices),) = askers.items()
        start = len(context) - 1
        positions = tuple(range(start, start + len(continuation)))
        return Document(
            context + continuation[:-1], (), (Target(tuple(indices), positions, continuation),)
        )
    branches: list[Tokens] = []
    targets: list[Target] = []
    end = len(context)
    for continuation, indices in askers.items():
        branch = continuation[:-1]
        positions = (len(context) - 1, *range(end, end + len(branch)))
        targets.append(Target(tuple(indices), positions, continuation))
        if branch:
            branches.append(branch)
            end += len(branch)
    return Document(context, tuple(branches), tuple(targets))


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
        documents.append(Document(tokens, (), targets))
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
