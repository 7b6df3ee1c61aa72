"""Generative replay: the model answers prompts before a phase, and rehearses its answers in it.

Source: "Exploring Two-Phase Continual Instruction Fine-tuning for Multilingual Adaptation" (arXiv
2410.16006): the checkpoint of the phase before answers the English counterparts of the new phase's
instructions, and 5 or 10 % of such pairs are mixed in. Departures: what the paper does not state
(temperature, filters of its answers) is chosen here; the share is of the final mix unless
``share_base`` says otherwise, and weighs its share in the loss unless ``loss_weight`` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from retain.data.example import Example, last_assistant
from retain.data.formats import PROMPTS
from retain.errors import DataError
from retain.measure.language import language_of, unknown_languages
from retain.methods.base import Method
from retain.methods.given import LossWeight, MixSource, Past, ShareBase, ShareOf, Source
from retain.methods.shares import of_corpora, share_faults, weight_faults
from retain.rehearse.corpus import Ask, Corpus, CutOff, Node
from retain.rehearse.filters import Filters

BEGINNING_WORDS = 16
"""Of a text, what the model goes on from."""


@dataclass(frozen=True, kw_only=True)
class Answered(Corpus):
    """Answers to prompts, each asked once.

    Attributes:
        other_side: Ask the other side of each example's pair, and only where there is one.
        languages: Prompts in other languages are left out; () takes all.
        max_new_tokens: The most tokens of an answer.
        temperature: 0 takes the most likely token.
    """

    other_side: bool = False
    languages: tuple[str, ...] = ()
    max_new_tokens: int = 256
    temperature: float = 0.7

    def expand(self, node: Node, examples: Sequence[Example], rng: Random) -> tuple[Ask, ...]:
        """Tree n asks the n-th prompts, as many as the corpus shall have documents."""
        if node.ask is not None:
            return ()
        asks = list(self._asks(examples))
        if not asks:
            raise DataError(self._nothing(examples))
        size = self.full_size
        return tuple(asks[node.path[0] * size : (node.path[0] + 1) * size])

    def _asks(self, examples: Sequence[Example]) -> Iterator[Ask]:
        sides = [example.parallel if self.other_side else example for example in examples]
        for example in filter(None, sides):
            messages, text = example.messages, example.text or ""
            before = messages[: last_assistant(messages)] if messages else ()
            beginning = " ".join(text.split()[:BEGINNING_WORDS])
            if not self._is_asked(before[-1]["content"] if before else text):
                continue
            yield Ask(
                writes="assistant" if before else "text",
                messages=before,
                text="" if before else beginning,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
            )

    def _is_asked(self, prompt: str) -> bool:
        return bool(prompt.strip()) and (
            not self.languages or language_of(prompt) in self.languages
        )

    def _nothing(self, examples: Sequence[Example]) -> str:
        wanted = f" in {', '.join(self.languages)}" if self.languages else ""
        if self.other_side:
            wanted += ", for they are not read as pairs (parallel: COLUMN at the phase's source)"
        return (
            f"{self.name}: {len(examples)} examples hold no prompt{wanted}; take prompts from "
            "elsewhere (prompts: past, or a file of them), or change languages"
        )


@dataclass(frozen=True, kw_only=True)
class GenerativeReplay(Method):
    """Mix answers of the earlier model into the new data.

    Attributes:
        share: How much of the mix: above 0, and below 1 when it is of the final mix.
        share_of: What is counted: examples, or tokens whose loss counts.
        share_base: What it is a share of: the final mix, or the new data (the paper's "5 %").
        loss_weight: As in ``experience_replay``.
        max_token_weight: As in ``experience_replay``.
        prompts: ``new``: the user's turns of the new phase; ``parallel``: of the other side of its
            pairs (the paper's English counterparts); ``past``: those of earlier phases; or a source
            of prompts, with answers or without. Of a text, its first words.
        languages: ISO 639-1 codes; prompts and answers in others are left out. () takes all.
        num_documents: Answers to write; a share takes as many of them as it needs.
        max_new_tokens: The most tokens of an answer.
        temperature: 0 takes the most likely token.
        cut_off: An answer that ends at its limit: ``trim`` it to whole sentences, or ``drop`` it.
        writer: Who answers: the checkpoint of the phase before, or the base model.
        allow_fewer: Take what there is, with a note, where the share needs more; else it stops.
        corpora: Each phase's answers ``replace`` those before, or ``accumulate``: all share alike.
    """

    name = "generative_replay"
    needs_past = True

    share: float = 0.05
    share_of: ShareOf = "examples"
    share_base: ShareBase = "final_mix"
    loss_weight: LossWeight = "match_share"
    max_token_weight: float | None = None
    prompts: str = "new"
    languages: tuple[str, ...] = ()
    num_documents: int = 500
    max_new_tokens: int = 256
    temperature: float = 0.7
    cut_off: CutOff = "trim"
    writer: Literal["previous", "base"] = "previous"
    allow_fewer: bool = False
    corpora: Literal["replace", "accumulate"] = "replace"

    def faults(self) -> list[tuple[str, str]]:
        """Numbers lie where they can."""
        faults = share_faults(self.share, self.share_base)
        faults += weight_faults(self.loss_weight, self.max_token_weight)
        if unknown := unknown_languages(self.languages):
            faults.append(("languages", unknown))
        for name in ("num_documents", "max_new_tokens"):
            if getattr(self, name) < 1:
                faults.append((name, f"must be at least 1; got {getattr(self, name)}"))
        if not 0 <= self.temperature < float("inf"):
            faults.append(("temperature", f"must be at least 0; got {self.temperature:g}"))
        return faults

    def data(self) -> Mapping[str, tuple[Source, ...]]:
        """The prompts, where they come from outside."""
        if self.prompts in ("new", "parallel", "past"):
            return {}
        shape = None if self.prompts.startswith("embedded:") else PROMPTS
        return {f"extra:{self.name}-prompts": (Source(source=self.prompts, format=shape),)}

    @property
    def has_own_past(self) -> bool:
        """Only the prompts of earlier phases need one."""
        return self.prompts != "past"

    def rehearse(self, past: Past) -> Corpus:
        """Answers to the prompts."""
        return Answered(
            name=self.name,
            writer=self.writer,
            cut_off=self.cut_off,
            data=tuple(self.data()) or ("past" if self.prompts == "past" else "new",),
            num_documents=self.num_documents,
            filters=Filters(  # two prompts may have one answer
                duplicates=False, near_duplicates=None, languages=self.languages
            ),
            other_side=self.prompts == "parallel",
            languages=self.languages,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
        )

    def sources(self, past: Past, rehearsed: Sequence[str], rng: Random) -> tuple[MixSource, ...]:
        """The answers, or all phases' answers with an equal part of the share."""
        return of_corpora(self, rehearsed)
