"""Growing a corpus: generation after generation, tree after tree, until it has its size.

A generation is asked for in portions. A portion is written whole and then kept; after a kill the
one that was being written is written again with the same sequences beside each other, so that the
corpus comes out the same to the last bit, in any precision. What a text says depends on the seed
and its place alone; in fp32 not even on how the work is cut into portions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from time import monotonic
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retain.data.draw import generator
from retain.data.example import Example
from retain.errors import DataError, Interrupted
from retain.rehearse.corpus import Ask, Corpus, Document, Node, Path, Writes
from retain.rehearse.filters import Sieve
from retain.rehearse.log import Log, Text
from retain.rehearse.meanings import Meanings
from retain.rehearse.sentences import whole_sentences

PORTION = 128  # texts between two saves
MOST_WRITTEN = 20  # times the corpus's size, in texts or tokens, before giving up
MOST_IN_VAIN = 100  # texts in trees without a line, written or too long, before giving up
NUM_SHOWN = 5
TOO_LONG, SAID_BEFORE = "too long for the model", "said before in other words"
Progress = Callable[[float, float, str, str], None]


class Pen(Protocol):
    """Writes what is asked for."""

    def fits(self, ask: Ask) -> bool:
        """Whether the model can read what is before, and then write."""

    def write(self, asked: Sequence[tuple[str, Ask]], check_stop: Callable[[], None]) -> list[Text]:
        """The text of each (key of its sampling noise, ask); all are sampled alike."""

    def num_read(self, asks: Sequence[Ask]) -> int:
        """Tokens that the model reads to write these; what some begin with alike, once."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """A vector for each text, by what it says."""


@dataclass
class Grown:
    """A corpus, and what it took.

    Attributes:
        documents: Its lines.
        num_written: Texts written, by what they are.
        tokens_written: Tokens of all of them.
        token_passes: Tokens that went through the model: each that it wrote, what it read before
            that (what prompts of a portion begin with alike, once), and what it compared by
            meaning. It follows from the texts alone, and so is the same after a kill.
        removed: By what a text is, how many each filter removed.
        samples: Some of the removed texts, with the filter that removed each.
        notes: What a reader must know.
    """

    documents: list[Document] = field(default_factory=list)
    num_written: Counter[str] = field(default_factory=Counter)
    tokens_written: int = 0
    token_passes: int = 0
    removed: dict[str, Counter[str]] = field(default_factory=dict)
    samples: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _silent(done: float, total: float, text: str, unit: str) -> None:
    """Progress that nobody watches."""


def _never() -> bool:
    """A stop that never comes."""
    return False


@dataclass
class Grower:
    """Grows one corpus.

    Attributes:
        corpus: What to grow.
        examples: What its ``expand`` is given, in a seeded order.
        pen: Who writes.
        seed: Of the run.
        log: What was written before.
        progress: Told done, total, text, unit.
        stop: Asked while the model writes; true ends with ``Interrupted``.
    """

    corpus: Corpus
    examples: Sequence[Example]
    pen: Pen
    seed: int = 0
    log: Log = field(default_factory=lambda: Log(None))
    progress: Progress = _silent
    stop: Callable[[], bool] = _never

    def __post_init__(self) -> None:
        self.grown = Grown()
        self.sieves: dict[Writes, Sieve] = {}
        self.meanings: Meanings | None = None
        self._in_tree = self._before_tree = 0
        self._done = 0.0
        self._examples = list(self.examples)
        generator(self.seed, "examples").shuffle(self._examples)

    def grow(self) -> Grown:
        """The corpus.

        Raises:
            DataError: If the model writes hardly anything that the filters keep.
            Interrupted: If ``stop`` came true; what is in the log is kept.
        """
        full, grown = self.corpus.full_size, self.grown
        missing, num_useful = full, 0
        for number in count():
            tree = self._tree(number, missing)
            if tree is None:
                break
            lines = list(self.corpus.documents(tree))
            grown.documents += lines
            missing = full - self.corpus.size(grown.documents)
            if missing <= 0:
                break
            num_useful = self._num_asked if lines else num_useful
            in_vain = self._num_asked - num_useful
            if in_vain >= MOST_IN_VAIN or self._written > MOST_WRITTEN * full:
                raise DataError(self._hardly_anything())
        grown.documents = self._cut(grown.documents, full)
        if not grown.documents:
            raise DataError(
                self._hardly_anything()
                if self._num_asked
                else f"{self.corpus.name}: there is nothing to ask the model"
            )
        self.progress(full, full, "", self._unit)
        for role, sieve in self.sieves.items():
            grown.removed.setdefault(role, Counter()).update(sieve.removed)
        self._note_size(full)
        return grown

    @property
    def _num_asked(self) -> int:
        """Texts that were written, and those for which the model had no room."""
        no_room = sum(counts[TOO_LONG] for counts in self.grown.removed.values())
        return self.grown.num_written.total() + no_room

    @property
    def _written(self) -> int:
        """How much was written so far, in the corpus's unit."""
        by_line = self.corpus.num_tokens is None
        return self.grown.num_written.total() if by_line else self.grown.tokens_written

    def _tree(self, number: int, missing: int) -> list[Node] | None:
        """Every node of a tree that was kept, in the order of paths; None if there is no tree."""
        self._in_tree, self._before_tree = 0, self._written
        root = Node(path=(number,))
        asked = self._asked(root)
        if not asked:
            return None
        kept: dict[Path, Node] = {}
        newest = self._generation(dict(list(asked.items())[: self._num_needed(missing)]))
        while newest:
            kept |= {node.path: node for node in newest}
            newest = self._generation(
                {path: ask for node in newest for path, ask in self._asked(node).items()}
            )
        return [kept[path] for path in sorted(kept)]

    def _asked(self, node: Node) -> dict[Path, Ask]:
        """What is asked below a node, by path."""
        rng = generator(self.seed, f"expand/{node.name}")
        asks = self.corpus.expand(node, self._examples, rng)
        return {(*node.path, number): ask for number, ask in enumerate(asks)}

    def _num_needed(self, missing: int) -> int | None:
        """Children of a further root that will do, going by what those before came to."""
        if not self.grown.documents:
            return None
        sizes: Counter[Path] = Counter()
        for document in self.grown.documents:
            sizes[document.node.path[:2]] += self.corpus.size([document])
        return 1 + 11 * missing * len(sizes) // (10 * sizes.total())

    # ------------------------------------------------------------ one generation

    def _generation(self, asked: Mapping[Path, Ask]) -> list[Node]:
        """The nodes that were kept; what a filter removed is asked for again, a few times."""
        waiting = {path: ask for path, ask in asked.items() if self._fits(ask)}
        kept: dict[Path, Node] = {}
        for attempt in range(self.corpus.tries):
            waiting = {
                path: ask
                for path, ask in waiting.items()
                if path not in kept and (attempt == 0 or ask.temperature > 0)
            }
            for path, ask, written in self._texts(waiting, attempt):
                text = self._trimmed(ask, written)
                if self._is_kept(ask, text):
                    kept[path] = Node(
                        path=path, ask=ask, written=text.text, num_tokens=text.num_tokens
                    )
        return [kept[path] for path in asked if path in kept]

    def _fits(self, ask: Ask) -> bool:
        fits = self.pen.fits(ask)
        if not fits:
            self.grown.removed.setdefault(ask.writes, Counter())[TOO_LONG] += 1
        return fits

    def _trimmed(self, ask: Ask, text: Text) -> Text:
        """An answer that is cut off, in whole sentences; a text has no end of its own."""
        if ask.writes == "text":
            return replace(text, finished=True)
        if text.finished or ask.writes == "user" or self.corpus.cut_off == "drop":
            return text
        whole = whole_sentences(text.text)
        return replace(text, text=whole or text.text, finished=bool(whole))

    def _is_kept(self, ask: Ask, text: Text) -> bool:
        if ask.writes == "random":
            return True
        sieve = self.sieves.setdefault(ask.writes, Sieve(self.corpus.filters))
        why = sieve.removes(
            text.text,
            finished=text.finished,
            is_prompt=ask.writes == "user",
            answers=ask.messages[-1]["content"] if ask.writes == "assistant" else None,
        )
        if why is None and ask.writes == "user" and self._is_said_before(text):
            return False
        if why is not None and len(self.grown.samples) < NUM_SHOWN:
            self.grown.samples.append((why, text.text))
        return why is None

    def _is_said_before(self, text: Text) -> bool:
        """Whether a user turn means what an earlier one meant."""
        if self.corpus.max_similarity is None:
            return False
        if self.meanings is None:
            self.meanings = Meanings(self.pen.embed, self.corpus.max_similarity)
        self.grown.token_passes += text.num_tokens
        is_new = self.meanings.add(text.text)
        if not is_new:
            self.grown.removed.setdefault("user", Counter())[SAID_BEFORE] += 1
        return not is_new

    def _texts(self, asked: Mapping[Path, Ask], attempt: int) -> Iterator[tuple[Path, Ask, Text]]:
        """Every ask with its text, in order; from the log, or written now."""
        groups: dict[Any, list[Path]] = {}
        for path, ask in asked.items():
            alike = (ask.writes, ask.max_new_tokens, ask.temperature, ask.top_p)
            groups.setdefault(alike, []).append(path)
        found: dict[Path, Text] = {}
        for paths in groups.values():
            for start in range(0, len(paths), PORTION):
                portion = paths[start : start + PORTION]
                texts = self._portion([(path, asked[path]) for path in portion], attempt)
                found |= dict(zip(portion, texts, strict=True))
        for path, ask in asked.items():
            self.grown.num_written[ask.writes] += 1
            self.grown.tokens_written += found[path].num_tokens
            self.grown.token_passes += found[path].num_tokens * (ask.writes != "random")
            yield path, ask, found[path]

    def _portion(self, portion: Sequence[tuple[Path, Ask]], attempt: int) -> list[Text]:
        keys = [f"{'.'.join(map(str, path))}/{attempt}" for path, _ in portion]
        texts = self.log.found(keys)
        if texts is None:
            asked = [
                (f"{self.seed}/{key}", ask) for key, (_, ask) in zip(keys, portion, strict=True)
            ]
            self._check_stop()
            started = monotonic()
            texts = self.pen.write(asked, self._check_stop)
            self.log.add(keys, texts, monotonic() - started)
        self.grown.token_passes += self.pen.num_read([ask for _, ask in portion])
        by_line = self.corpus.num_tokens is None
        self._in_tree += len(texts) if by_line else sum(text.num_tokens for text in texts)
        self._say_how_far(portion[0][0][0])
        return texts

    def _say_how_far(self, tree: int) -> None:
        """What was kept, and of the tree being written as large a part as of those before."""
        full, kept = self.corpus.full_size, self.corpus.size(self.grown.documents)
        done = kept + self._in_tree * (kept / self._before_tree if kept else 1)
        self._done = max(self._done, min(done, full))
        self.progress(self._done, full, f"tree {tree + 1}", self._unit)

    @property
    def _unit(self) -> str:
        return "documents" if self.corpus.num_tokens is None else "tokens"

    def _check_stop(self) -> None:
        if self.stop():
            raise Interrupted(f"{self.corpus.name}: stopped; the same command goes on")

    # ------------------------------------------------------------ the end

    def _cut(self, documents: Sequence[Document], full: int) -> list[Document]:
        """The first lines that fit into the corpus's size; the very first in any case."""
        kept: list[Document] = []
        size = 0
        for document in documents:
            size += self.corpus.size([document])
            if kept and size > full:
                break
            kept.append(document)
        return kept

    def _note_size(self, full: int) -> None:
        size = self.corpus.size(self.grown.documents)
        if self.corpus.num_tokens is None and size < full:
            self.grown.notes.append(
                f"{self.corpus.name}: {size} of {full} documents; there was no more to ask"
            )

    def _hardly_anything(self) -> str:
        """What to say when the filters remove nearly all."""
        size = self.corpus.size(self.grown.documents)
        num_written = self.grown.num_written.total()
        removed = Counter[str]()
        for counts in self.grown.removed.values():
            removed.update(counts)
        for sieve in self.sieves.values():
            removed.update(sieve.removed)
        listed = ", ".join(f"{why} {num}" for why, num in removed.most_common())
        samples = "\n".join(f"  {why}: {text[:200]!r}" for why, text in self.grown.samples)
        lengths = " or ".join(self.corpus.length_keys)
        no_room = f" Lower {lengths}, or shorten what stands before, if a text is too long."
        return (
            f"{self.corpus.name}: the model wrote {num_written} texts; {size} of "
            f"{self.corpus.full_size} {self._unit} can be used. Removed: {listed or 'none'}.\n"
            f"{samples}\nRaise {lengths} if texts are cut off, lower temperature if they make no "
            "sense, or let another model write (in a recipe: writer)."
            f"{no_room if TOO_LONG in removed else ''}"
        )
