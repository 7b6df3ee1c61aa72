"""What a corpus is that a model writes: what is asked of it, and what follows from an answer.

A corpus is a row of trees. A tree's root holds nothing; below it stand what the model wrote and,
below that, what it wrote in reply. A flat corpus is a tree without replies. Nothing here loads
torch: a recipe is read with these classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from retain.data.example import Example, Message
from retain.errors import RecipeError
from retain.rehearse.filters import Filters

Writes = Literal["user", "assistant", "text", "random"]
"""A turn of a dialogue; the rest of a text; tokens drawn at random, which need no model."""
CutOff = Literal["trim", "drop"]
HERE = "retain"
"""The engine that writes where none is named: the model in memory."""
ENGINES = (HERE, "vllm")
Path = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What the model shall write next in one place.

    Attributes:
        writes: Whose turn it is, or a text.
        messages: The dialogue before the turn.
        text: What a text begins with; may be empty.
        max_new_tokens: The most tokens to write.
        temperature: What logits are divided by; 0 takes the most likely token.
        top_p: Draw from the most likely tokens that together have this probability.
    """

    writes: Writes
    messages: tuple[Message, ...] = ()
    text: str = ""
    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Node:
    """A place in a tree, and what was written there.

    Attributes:
        path: The tree's number, then the number of the child in each generation.
        ask: What was asked; None at the root.
        written: The text.
        num_tokens: Its tokens.
    """

    path: Path
    ask: Ask | None = None
    written: str = ""
    num_tokens: int = 0

    @property
    def name(self) -> str:
        """The path as text.

        >>> Node(path=(0, 3, 1)).name
        '0.3.1'
        """
        return ".".join(map(str, self.path))

    @property
    def messages(self) -> tuple[Message, ...]:
        """The dialogue up to what was written here; () at a root and for a text."""
        if self.ask is None or self.ask.writes not in ("user", "assistant"):
            return ()
        return (*self.ask.messages, Message(role=self.ask.writes, content=self.written))

    @property
    def text(self) -> str:
        """A text with its beginning."""
        assert self.ask is not None
        return self.ask.text + self.written


@dataclass(frozen=True, kw_only=True)
class Document:
    """One line of a corpus: either ``messages`` or ``text``.

    Attributes:
        node: The last node of it.
        parent: The node of the document that it grew from; None for the first generation.
        depth: Generations of documents, from 1.
        num_given: Messages at its beginning that the model did not write.
        num_tokens: Tokens that the model wrote for this document and for none before it.
    """

    node: Node
    messages: tuple[Message, ...] = ()
    text: str = ""
    parent: Node | None = None
    depth: int = 1
    num_given: int = 0
    num_tokens: int = 0

    @property
    def written(self) -> str:
        """All of it that the model wrote."""
        return "\n".join(m["content"] for m in self.messages[self.num_given :]) or self.text

    def row(self, **origin: Any) -> dict[str, Any]:
        """The line, with where it comes from."""
        ask = self.node.ask
        assert ask is not None
        content: dict[str, Any] = (
            {"messages": [dict(message) for message in self.messages]}
            if self.messages
            else {"text": self.text}
        )
        return {
            **content,
            "node": self.node.name,
            "parent": None if self.parent is None else self.parent.name,
            "depth": self.depth,
            "temperature": ask.temperature,
            "num_tokens": self.num_tokens,
            "num_given": self.num_given,
            **origin,
        }


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What the model shall write before a phase; a method's ``rehearse`` gives one.

    Override ``expand``, and ``documents`` where a line is not a question with its answer.

    Attributes:
        name: Its role in the mix is ``rehearsed:<name>``.
        writer: Who writes: the base model, or the checkpoint of the phase before.
        data: Roles of the data whose examples ``expand`` is given: ``new``, ``past``, or one of
            the method's own (``extra:<name>``).
        num_documents: Size in lines; or
        num_tokens: size in tokens written, to within a line. One of the two.
        tries: How often a place is asked whose text a filter removed.
        cut_off: What becomes of an answer that ends at its limit: ``trim`` it to whole sentences,
            or ``drop`` it.
        filters: What is removed.
        max_similarity: Of user turns, what means the same as an earlier one is removed: the
            largest cosine of two that differ (see ``retain.rehearse.meanings``). None keeps them.
        length_keys: What the method calls the most tokens of a text, for advice.
    """

    name: str
    writer: Literal["base", "previous"] = "base"
    data: tuple[str, ...] = ()
    num_documents: int | None = None
    num_tokens: int | None = None
    tries: int = 3
    cut_off: CutOff = "trim"
    filters: Filters = field(default_factory=Filters)
    max_similarity: float | None = None
    length_keys: tuple[str, ...] = ("max_new_tokens",)

    def __post_init__(self) -> None:
        sizes = [size for size in (self.num_documents, self.num_tokens) if size is not None]
        if len(sizes) != 1 or sizes[0] < 1:
            raise RecipeError(
                f"{self.name}: a corpus has either num_documents or num_tokens, at least 1; got "
                f"num_documents {self.num_documents} and num_tokens {self.num_tokens}"
            )

    def expand(self, node: Node, examples: Sequence[Example], rng: Random) -> tuple[Ask, ...]:
        """What is asked below a node; () ends there.

        Called for the root of tree 0, 1, … until the corpus has its size or a root gives nothing,
        and for every node that no filter removed.

        Args:
            node: A root, or a node with what was written.
            examples: Of ``data``, in a seeded order.
            rng: The node's own generator, from the seed and its path alone.
        """
        raise NotImplementedError

    def documents(self, nodes: Sequence[Node]) -> Iterable[Document]:
        """The lines of one tree, in the order of paths: every answer with its question.

        Args:
            nodes: All that were kept, in the order of their paths (a parent before its children).
        """
        return answers(nodes)

    def size(self, documents: Iterable[Document]) -> int:
        """Of some lines, in the unit in which the corpus is bounded."""
        found = list(documents)
        if self.num_tokens is None:
            return len(found)
        return sum(document.num_tokens for document in found)

    @property
    def full_size(self) -> int:
        """What the corpus shall have, in that unit."""
        return self.num_documents or self.num_tokens or 0


def answers(nodes: Sequence[Node]) -> Iterator[Document]:
    """Every answer with its question, every text; what the model was given stays before them."""
    by_path = {node.path: node for node in nodes}
    for node in nodes:
        if node.ask is None or node.ask.writes == "user":
            continue
        question = by_path.get(node.path[:-1])
        num_given = len(node.ask.messages) - (question is not None)
        messages = node.messages
        if question is not None:  # of the dialogue before, its system turn alone
            num_given = int(messages[0]["role"] == "system")
            messages = (*messages[:num_given], *messages[-2:])
        yield Document(
            node=node,
            messages=messages,
            text="" if messages else node.text,
            parent=by_path.get(node.path[:-2]),
            depth=max(1, (len(node.path) - 1) // 2),
            num_given=num_given,
            num_tokens=node.num_tokens + (question.num_tokens if question else 0),
        )


def paths(nodes: Sequence[Node]) -> Iterator[Document]:
    """Whole dialogues, from the root to each last answer; every answer is trained in one of them.

    An answer that an earlier line has is there to be read (``train: false``).
    """
    answered = [node for node in nodes if node.ask is not None and node.ask.writes == "assistant"]
    inner = {node.path[:length] for node in answered for length in range(len(node.path))}
    by_path = {node.path: node for node in nodes}
    seen: set[Path] = set()
    for node in answered:
        if node.path in inner:
            continue
        line = [node.path[:length] for length in range(2, len(node.path) + 1)]
        new = [by_path[path] for path in line if path in by_path and path not in seen]
        messages = list(node.messages)
        first = len(messages) - len(line)  # what the model was given
        for place, path in enumerate(line):
            if path in seen and messages[first + place]["role"] == "assistant":
                messages[first + place] = Message(**messages[first + place] | {"train": False})
        parent = next((by_path[path] for path in reversed(line) if path in seen), None)
        seen.update(line)
        yield Document(
            node=node,
            messages=tuple(messages),
            parent=parent,
            depth=max(1, (len(node.path) - 1) // 2),
            num_given=first,
            num_tokens=sum(one.num_tokens for one in new),
        )
