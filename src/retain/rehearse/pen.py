"""A model's pen: from what is asked to tokens, from tokens to text.

A user turn is written behind the template's open user header, as in Xu et al., "Magpie", 2024,
https://arxiv.org/abs/2406.08464. A model without a chat template goes on with a transcript, above
which stands who talks. Of its first turns Gemma 3 270M makes questions or requests in 11 of 12 so;
in 5 where the examples are left out, and behind a bare "User:" in none of 14, but names and
addresses of pages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retain.data.draw import generator
from retain.data.example import Message
from retain.data.template import SENTINELS, ChatTemplate, Piece, common_prefix, template_of
from retain.decode.choose import Sampling
from retain.decode.live import Writing
from retain.decode.prefix_tree import Tokens
from retain.decode.writer import BATCH_SIZE, Ends, Writer, end_tokens
from retain.model.embed import mean_states
from retain.model.load import Loaded
from retain.rehearse.corpus import Ask
from retain.rehearse.log import Text

BEGINNING = (
    "What users ask a knowledgeable assistant, each about another subject.\n\n"
    "User: How do vaccines protect the body?\n\n"
    "User: Write a short poem about the sea.\n\n"
    "User: Which metals are used in coins, and why?"
)
GOING_ON = (
    "A user talks with a knowledgeable assistant. The user asks clear questions about what the "
    "assistant said. The assistant answers every one of them correctly, in a few sentences."
)
"""What stands above the transcript in which a model without a chat template writes a user's turn.

It is not part of what is learnt, and an answer is written without it, as training reads it."""
NEXT_TURNS = ("\n\nUser:", "\n\nAssistant:", "\n\nSystem:", "\nUser:", "\nAssistant:")
"""Where a turn of a transcript ends: another begins."""
TOLD_SECONDS = 0.5  # between two words on how far the writing is


def _silent(num_ended: int, num_tokens: int) -> None:
    """Writing that nobody watches."""


@dataclass
class ModelPen:
    """Writes with a model.

    Attributes:
        writer: Writes tokens.
        loaded: The model, to embed texts with.
        seed: Of the fallback's noise; the live batch draws from each text's key.
        told: Told while it writes how many texts of the call have ended, and the tokens of all.
    """

    writer: Writer
    loaded: Loaded | None = None
    seed: int = 0
    told: Callable[[int, int], None] = _silent

    def __post_init__(self) -> None:
        self.tokenizer = self.writer.tokenizer
        self.template: ChatTemplate = template_of(self.tokenizer)
        self.has_template = bool(self.tokenizer.chat_template)
        self._special = set(self.tokenizer.all_special_ids)

    def fits(self, ask: Ask) -> bool:
        """Whether the model can read what is before, and then write as much as it may."""
        return len(self.tokens(ask)) + ask.max_new_tokens <= self.writer.max_length

    def write(self, asked: Sequence[tuple[str, Ask]], check_stop: Callable[[], None]) -> list[Text]:
        """The text of each (key of its noise, ask); all are sampled alike.

        Raises:
            DataError: If the chat template refuses a dialogue.
        """
        ask = asked[0][1]
        if ask.writes == "random":
            return [self._random(key, one) for key, one in asked]
        ends = self._ends(ask)
        writings = [Writing(self.tokens(one), one.max_new_tokens, ends, key) for key, one in asked]
        longest = max(len(one.prompt) + one.limit for one in writings)
        check_stop = self._telling(writings, check_stop)
        if reason := self.writer.why_not_live(longest):
            self.writer.say(f"texts written by transformers.generate because {reason}")
            size = 1 if self.writer.alone_if(longest) else BATCH_SIZE
            batches = [writings[at : at + size] for at in range(0, len(writings), size)]
            self._by_transformers(batches, ask, ends, check_stop)
        else:
            sampling = Sampling(temperature=ask.temperature, top_p=ask.top_p)
            self.writer.live(writings, sampling, check_stop)
        return [self._text(one, ask, ends) for one in writings]

    def _telling(
        self, writings: Sequence[Writing], check_stop: Callable[[], None]
    ) -> Callable[[], None]:
        """The check that every step makes, saying now and then how far the writing is."""
        last = monotonic()

        def check() -> None:
            nonlocal last
            check_stop()
            if monotonic() - last < TOLD_SECONDS:
                return
            last = monotonic()
            num_ended = sum(bool(one.written) and one.is_over for one in writings)
            self.told(num_ended, sum(len(one.written) for one in writings))

        return check

    def num_read(self, asks: Sequence[Ask]) -> int:
        """Tokens of the prompts; what some begin with alike, once.

        So the live batch reads them, but for parts too short to be kept.
        """
        read = 0
        before: Tokens = ()
        for prompt in sorted(self.tokens(ask) for ask in asks if ask.writes != "random"):
            read += len(prompt) - common_prefix(before, prompt)
            before = prompt
        return read

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The mean state of each text's tokens."""
        assert self.loaded is not None, "a pen that embeds knows the model as it was loaded"
        return mean_states(self.loaded)(texts)

    # ------------------------------------------------------------ what is before

    def tokens(self, ask: Ask) -> Tokens:
        """The tokens after which the model writes."""
        if ask.writes == "assistant":
            last = Message(role="assistant", content=SENTINELS[0])
            pieces = self.template.prompt([*ask.messages, last], is_completion=False)
        elif ask.writes == "user":
            pieces = [Piece(self._user_header(ask.messages), at_start=True)]
        else:
            pieces = [Piece(self.template.start + ask.text, at_start=True)]
        tokens = [token for piece in pieces for token in self.template.encode(piece)]
        return tuple(tokens or [self.template.eos_id])

    def _user_header(self, messages: Sequence[Message]) -> str:
        """The dialogue up to where the user's next words begin."""
        if not self.has_template:
            said = [f"{m['role'].capitalize()}: {m['content']}" for m in messages]
            has_begun = any(m["role"] == "assistant" for m in messages)
            above = GOING_ON if has_begun else BEGINNING
            return self.template.start + "\n\n".join([above, *said, "User:"])
        one, other = (
            self.template.rendered([*messages, Message(role="user", content=text)])
            for text in SENTINELS[:2]
        )
        return one[: common_prefix(one, other)]

    # ------------------------------------------------------------ what is written

    def _ends(self, ask: Ask) -> Ends:
        """Where a text ends: at any special token, in a transcript at the next turn."""
        config = self.writer.model.generation_config
        tokens = end_tokens(config, self.tokenizer) | self._special
        if ask.writes == "text" or self.has_template:
            return Ends(self.tokenizer, (), tokens)
        line_end = ("\n",) if ask.writes == "user" else ()
        return Ends(self.tokenizer, (*line_end, *NEXT_TURNS), tokens)

    def _text(self, writing: Writing, ask: Ask, ends: Ends) -> Text:
        written = writing.written
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        if not self.has_template and ask.writes == "user":
            text = text.lstrip()
        for stop in ends.until:
            text = text.split(stop)[0]
        if ask.writes != "text":
            text = text.strip()
        return Text(text, len(written), bool(written) and ends(written))

    def _by_transformers(
        self,
        batches: Sequence[Sequence[Writing]],
        ask: Ask,
        ends: Ends,
        check_stop: Callable[[], None],
    ) -> None:
        options: dict[str, Any] = {"do_sample": ask.temperature > 0}
        if ask.temperature > 0:
            options |= {"temperature": ask.temperature, "top_p": ask.top_p, "top_k": 0}
        for batch in batches:
            check_stop()
            rows = [one.prompt for one in batch]
            seed = generator(self.seed, batch[0].key).getrandbits(60)
            found = self.writer.by_transformers(rows, ask.max_new_tokens, ends, seed, **options)
            for one, tokens in zip(batch, found, strict=True):
                for token in tokens:
                    one.written.append(token)
                    if ends(one.written):
                        break

    def _random(self, key: str, ask: Ask) -> Text:
        """Tokens of the vocabulary, each as likely as any other; as many as may be."""
        draw = torch.Generator().manual_seed(generator(self.seed, key).getrandbits(60))
        size = len(self.tokenizer)
        tokens = torch.randint(size, (ask.max_new_tokens,), generator=draw).tolist()
        plain = [token for token in tokens if token not in self._special]
        return Text(self.tokenizer.decode(plain), len(plain), finished=True)
