"""Tree generation: the model writes down what it knows, as a tree of dialogues, and rehearses it.

Source: Zhang et al., "Self-decompression by tree generation" (arXiv 2406.11354): below a system
prompt the model writes questions, answers them, and lets each question with its answer grow
follow-up questions, a number N_i of them at level i, each of at most L_i tokens; near copies are
dropped before a branch grows on. Departures: the paper's numbers are not public, so branching
follows from ``shape`` and the budget; trees grow one after another until the budget is full; a
base model writes a transcript behind a meta-prompt; what each filter removes is counted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from retain.data.example import Example, Message
from retain.measure.language import unknown_languages
from retain.methods.base import Method
from retain.methods.given import LossWeight, MixSource, Past, ShareBase, ShareOf
from retain.methods.shares import of_corpora, share_faults, weight_faults
from retain.rehearse.corpus import Ask, Corpus, CutOff, Document, Node, answers, paths
from retain.rehearse.filters import Filters

Shape = Literal["balanced", "wide", "flat", "random_text"]
Output = Literal["turns", "paths", "texts"]
BALANCED_LEVELS, MOST_CHILDREN = 3, 8
SMALLEST = {"balanced": (1,) * BALANCED_LEVELS, "wide": (1, 1)}
"""What is still a tree of that shape."""


@dataclass(frozen=True, kw_only=True)
class Trees(Corpus):
    """Trees of questions and answers.

    Attributes:
        branching: Questions below the root, below each of their answers, and so on.
        question_tokens: The most tokens of a question.
        answer_tokens: The most tokens of an answer, by level; the last holds below.
        temperature: Of questions.
        answer_temperature: Of answers.
        top_p: Of both.
        system_prompt: The root; None leaves it to the chat template.
        output: What a line is: a question with its answer, a dialogue, or a plain text.
        is_random: Texts of random tokens, as long as an answer, take the place of all.
    """

    branching: tuple[int, ...]
    question_tokens: int
    answer_tokens: tuple[int, ...]
    temperature: float
    answer_temperature: float
    top_p: float
    system_prompt: str | None
    output: Output
    is_random: bool

    def expand(self, node: Node, examples: Sequence[Example], rng: Random) -> tuple[Ask, ...]:
        """Below a question its answer; below an answer, and at the root, questions."""
        level = (len(node.path) - 1) // 2
        if node.ask is not None and node.ask.writes == "user":
            return (
                Ask(
                    writes="assistant",
                    messages=node.messages,
                    max_new_tokens=self.answer_tokens[min(level, len(self.answer_tokens) - 1)],
                    temperature=self.answer_temperature,
                    top_p=self.top_p,
                ),
            )
        if level >= len(self.branching) or (self.is_random and node.ask is not None):
            return ()
        question = Ask(
            writes="user",
            messages=node.messages or self._root(),
            max_new_tokens=self.question_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
        )
        if self.is_random:
            question = replace(question, writes="random", max_new_tokens=self.answer_tokens[0])
        return (question,) * self.branching[level]

    def _root(self) -> tuple[Message, ...]:
        if self.system_prompt is None:
            return ()
        return (Message(role="system", content=self.system_prompt),)

    def documents(self, nodes: Sequence[Node]) -> Iterable[Document]:
        """The lines of a tree, as ``output`` says."""
        if self.output == "paths" and not self.is_random:
            return paths(nodes)
        found = answers(nodes)
        return found if self.output == "turns" else map(_as_text, found)


def _as_text(document: Document) -> Document:
    """A question and its answer as prose, without who says what."""
    said = [message["content"] for message in document.messages if message["role"] != "system"]
    return replace(document, messages=(), text="\n\n".join(said) or document.text, num_given=0)


@dataclass(frozen=True, kw_only=True)
class TreeGeneration(Method):
    """Mix what the model knows, written by itself as trees of dialogues, into the new data.

    Attributes:
        share: How much of the mix: above 0, and below 1 when it is of the final mix.
        share_of: What is counted: examples, or tokens whose loss counts.
        share_base: What it is a share of: the final mix, or the new data.
        loss_weight: As in ``experience_replay``.
        max_token_weight: As in ``experience_replay``.
        shape: ``balanced``: three levels that branch alike; ``wide``: many questions, one
            follow-up each. Controls of the same budget, filters and sampling: ``flat`` has no
            follow-ups, ``random_text`` is random tokens. Each takes the largest branching whose
            tree fits into ``num_tokens`` even if no text is shorter than it may be.
        branching: Questions at each level, instead of ``shape``.
        num_tokens: Budget: tokens that the corpus keeps.
        question_tokens: The most tokens of a question.
        answer_tokens: The most tokens of an answer at each level; the last holds further down.
        temperature: Of questions.
        answer_temperature: Of answers; 0 takes the most likely token.
        top_p: Draw from the most likely tokens that together have this probability.
        system_prompt: The root of the trees; it stays in what is learnt. None leaves it to the
            model's chat template.
        output: ``turns``: each question with its answer; ``paths``: whole dialogues, each answer
            learnt once; ``texts``: plain documents, every token learnt.
        languages: ISO 639-1 codes; texts in others are left out. () takes all.
        max_similarity: A question that means what an earlier one meant does not grow on: the
            largest cosine of two that differ (see ``retain.rehearse.meanings``). None keeps them.
        cut_off: An answer that ends at its limit: ``trim`` it to whole sentences, or ``drop`` it.
        writer: Who writes: the base model, or the checkpoint of the phase before.
        allow_fewer: Take what there is, with a note, where the share needs more; else it stops.
        corpora: Each phase's corpus ``replace``s those before, or they ``accumulate``.
    """

    name = "tree_generation"
    VERSION = 2  # models without a chat template are told who talks

    share: float = 0.05
    share_of: ShareOf = "examples"
    share_base: ShareBase = "final_mix"
    loss_weight: LossWeight = "match_share"
    max_token_weight: float | None = None
    shape: Shape = "balanced"
    branching: tuple[int, ...] = ()
    num_tokens: int = 50_000
    question_tokens: int = 64
    answer_tokens: tuple[int, ...] = (256,)
    temperature: float = 1.0
    answer_temperature: float = 0.7
    top_p: float = 0.95
    system_prompt: str | None = None
    output: Output = "turns"
    languages: tuple[str, ...] = ()
    max_similarity: float | None = 0.9
    cut_off: CutOff = "trim"
    writer: Literal["base", "previous"] = "base"
    allow_fewer: bool = False
    corpora: Literal["replace", "accumulate"] = "replace"

    def faults(self) -> list[tuple[str, str]]:
        """Numbers lie where they can, and one whole tree fits into the budget."""
        faults = share_faults(self.share, self.share_base)
        faults += weight_faults(self.loss_weight, self.max_token_weight)
        if unknown := unknown_languages(self.languages):
            faults.append(("languages", unknown))
        for name in ("branching", "answer_tokens", "num_tokens", "question_tokens"):
            value = getattr(self, name)
            listed = list(value) if isinstance(value, tuple) else [value]
            if any(one < 1 for one in listed):
                got = listed if isinstance(value, tuple) else value
                faults.append((name, f"must be at least 1; got {got}"))
        if not self.answer_tokens:
            faults.append(("answer_tokens", "must have a number for the first level"))
        if not 0 < self.temperature < float("inf"):
            text = f"must be above 0, or every question is the same; got {self.temperature:g}"
            faults.append(("temperature", text))
        if not 0 <= self.answer_temperature < float("inf"):
            text = f"must be at least 0; got {self.answer_temperature:g}"
            faults.append(("answer_temperature", text))
        if self.max_similarity is not None and not 0 < self.max_similarity <= 1:
            text = f"must be above 0 and at most 1; got {self.max_similarity:g}"
            faults.append(("max_similarity", text))
        if not 0 < self.top_p <= 1:
            faults.append(("top_p", f"must be above 0 and at most 1; got {self.top_p:g}"))
        if self.corpora == "accumulate" and self.writer == "base":
            text = "the base model writes the same in every phase; give writer: previous"
            faults.append(("corpora", text))
        return faults or list(self._size_faults())

    def _size_faults(self) -> Iterator[tuple[str, str]]:
        if self.branching and self.shape in ("wide", "flat"):
            text = f"says how trees branch, and so does shape: {self.shape}; give one of them"
            yield "branching", text
        branching = self.branching or SMALLEST.get(self.shape, (1,))
        num_nodes, most = self._largest(branching)
        if most > self.num_tokens:
            field = "branching" if self.branching else "num_tokens"
            listed = ", ".join(map(str, branching))
            yield (
                field,
                f"a tree of [{listed}] has {num_nodes:,} answers, with their questions up to "
                f"{most:,} tokens; num_tokens is {self.num_tokens:,}. Branch less, allow shorter "
                "texts, or raise num_tokens",
            )

    def _largest(self, branching: Sequence[int]) -> tuple[int, int]:
        """Answers of one tree, and the most tokens that they and their questions may have."""
        num_nodes = most = 0
        width = 1
        for level, children in enumerate(branching):
            width *= children
            num_nodes += width
            answer = self.answer_tokens[min(level, len(self.answer_tokens) - 1)]
            most += width * (self.question_tokens + answer)
        return num_nodes, most

    def _branching(self) -> tuple[int, ...]:
        """Of each tree: as given, or the largest of the shape that fits into the budget."""
        if self.branching:
            return self.branching
        if self.shape == "balanced":
            shapes = [(children,) * BALANCED_LEVELS for children in range(MOST_CHILDREN, 0, -1)]
        else:
            _, one = self._largest((1, 1) if self.shape == "wide" else (1,))
            children = self.num_tokens // one
            shapes = [(children, 1)] if self.shape == "wide" else [(children,)]
        return next(one for one in shapes if self._largest(one)[1] <= self.num_tokens)

    def rehearse(self, past: Past) -> Corpus:
        """The trees."""
        return Trees(
            name=self.name,
            writer=self.writer,
            cut_off=self.cut_off,
            num_tokens=self.num_tokens,
            filters=Filters(languages=self.languages),
            max_similarity=self.max_similarity,
            branching=self._branching(),
            question_tokens=self.question_tokens,
            answer_tokens=self.answer_tokens,
            temperature=self.temperature,
            answer_temperature=self.answer_temperature,
            top_p=self.top_p,
            system_prompt=self.system_prompt,
            output=self.output,
            is_random=self.shape == "random_text",
            length_keys=("answer_tokens", "question_tokens"),
        )

    def sources(self, past: Past, rehearsed: Sequence[str], rng: Random) -> tuple[MixSource, ...]:
        """The corpus, or all phases' corpora with an equal part of the share."""
        return of_corpora(self, rehearsed)
