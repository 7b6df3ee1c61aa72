"""Where the turns lie in what a chat template renders, and how each stretch is encoded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from retain.data.example import Message
from retain.errors import DataError

# Some templates print the day on which they are rendered; a prompt must not change at midnight.
FIXED_DATE = "{%- macro strftime_now(format) -%}01 January 2025{%- endmacro -%}"
# What a template puts between these it says the assistant wrote.
MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
# They stand in for a content; of three that differ at both ends one always differs from a content.
SENTINELS = ("Qzx0a", "Zwk1b", "Jvp2c")


@dataclass(frozen=True)
class Piece:
    """A stretch of a sequence that is encoded on its own.

    Attributes:
        text: What it says.
        trained: Whether the loss of its tokens counts.
        at_start: It is the first of its sequence.
        ends_text: The end-of-text token follows it.
    """

    text: str
    trained: bool = False
    at_start: bool = False
    ends_text: bool = False


@dataclass(frozen=True)
class Turn:
    """Positions of one assistant turn in the rendered dialogue.

    Where the template marks what the assistant writes, ``start`` and ``end`` are its marks; white
    space behind an end is trained then, and what stands between two marks of a turn is not.

    Attributes:
        start: Where the model begins to write: the end of what generation is prompted with.
        content: Where the content begins; from ``start`` to here stands what the template adds
            to every answer, such as an empty thought.
        end_content: Where the content ends.
        end: Behind the token that ends the turn.
        lacks_end: Whether the template writes no such token.
        gaps: Between ``start`` and ``end``, what is not trained: first and one behind the last.
    """

    start: int
    content: int
    end_content: int
    end: int
    lacks_end: bool
    gaps: tuple[tuple[int, int], ...] = ()


def template_of(tokenizer: Any) -> "ChatTemplate":
    """The chat template of a tokenizer, with what has been found out about it."""
    return _template_of(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=4)
def _template_of(tokenizer: Any, _text: str) -> "ChatTemplate":
    return ChatTemplate(tokenizer)


class ChatTemplate:
    """Cuts dialogues into pieces the way one tokenizer's template, or a transcript, writes them."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise DataError("the tokenizer has no end-of-text token (eos_token); set one")
        self.tokenizer = tokenizer
        self.eos_id: int = tokenizer.eos_token_id

    # ------------------------------------------------------------ encoding

    @cached_property
    def start(self) -> str:
        """Text of the token that the tokenizer puts before every text, or ""."""
        ids = self.tokenizer.encode("a", add_special_tokens=True)
        bos = self.tokenizer.bos_token
        return bos if bos is not None and ids[0] == self.tokenizer.bos_token_id else ""

    def text_piece(self, text: str) -> Piece:
        """A whole text, every token of it trained, between the tokens that mark its ends."""
        return Piece(self.start + text, trained=True, at_start=True, ends_text=True)

    @cached_property
    def _adds_space(self) -> bool:
        """Whether encoding starts a text as if a space stood before it (SentencePiece)."""
        ids = self.tokenizer.encode("a", add_special_tokens=False)
        return bool(self._encode_behind("a") != ids)

    def _encode_behind(self, text: str) -> list[int]:
        """Tokens of a text that stands behind another, made by putting a line end before it."""
        line_end = self.tokenizer.encode("\n", add_special_tokens=False)
        ids: list[int] = self.tokenizer.encode("\n" + text, add_special_tokens=False)
        if ids[: len(line_end)] == line_end:
            return ids[len(line_end) :]
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode(self, piece: Piece) -> list[int]:
        """The tokens of a piece, the same whatever follows it."""
        if piece.at_start and self.start and piece.text.startswith(self.start):
            text = piece.text.removeprefix(self.start)
            ids = [self.tokenizer.bos_token_id]
            ids += self.tokenizer.encode(text, add_special_tokens=False)
        elif self._adds_space and not piece.at_start:
            ids = self._encode_behind(piece.text)
        else:
            ids = list(self.tokenizer.encode(piece.text, add_special_tokens=False))
        return [*ids, self.eos_id] if piece.ends_text else ids

    def joined(self, pieces: Sequence[Piece]) -> str:
        """The text of the pieces, end-of-text tokens included."""
        end = self.tokenizer.eos_token
        return "".join(piece.text + end * piece.ends_text for piece in pieces)

    # ------------------------------------------------------------ pieces

    def pieces(self, messages: Sequence[Message], *, is_completion: bool) -> list[Piece]:
        """The whole dialogue in pieces; the assistant turns that are switched on are trained."""
        turns, text = self._find(messages, is_completion)
        trained = [m.get("train", True) for m in messages if m["role"] == "assistant"]
        pieces: list[Piece] = []
        done = 0
        for turn, is_trained in zip(turns, trained, strict=True):
            pieces.append(Piece(text[done : turn.start], at_start=done == 0))
            ends_text = turn.lacks_end and (self._template is None or not text[turn.end :].strip())
            pieces += _of_turn(text, turn, trained=is_trained, ends_text=ends_text)
            done = turn.end
        pieces.append(Piece(text[done:]))
        return [piece for piece in pieces if piece.text or piece.ends_text]

    def prompt(self, messages: Sequence[Message], *, is_completion: bool) -> list[Piece]:
        """All before the content of the last turn, which is the assistant's."""
        pieces = self.pieces(messages, is_completion=is_completion)
        turns, _ = self._find(messages, is_completion)
        left = turns[-1].content
        prompt = []
        for piece in pieces:
            if left == 0:
                break
            prompt.append(piece)
            left -= len(piece.text)
        return prompt

    def answer(self, messages: Sequence[Message], *, is_completion: bool) -> str:
        """The content of the last turn as it is rendered, without the end of the turn."""
        turns, text = self._find(messages, is_completion)
        return text[turns[-1].content : turns[-1].end_content]

    # ------------------------------------------------------------ turns

    @cached_property
    def _template(self) -> str | None:
        """The template's text, its date fixed; None if the tokenizer has none."""
        if not self.tokenizer.chat_template:
            return None
        text: str = self.tokenizer.get_chat_template()
        return FIXED_DATE + text if "strftime_now" in text else text

    def _find(self, messages: Sequence[Message], is_completion: bool) -> tuple[list[Turn], str]:
        """The assistant turns, and the text in which they lie."""
        if self._template is None:
            return _transcript(messages, self.start, is_completion)
        text = self.rendered(messages)
        turns = []
        done = 0
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                turn = self._turn(messages, index, text)
                if not done <= turn.start <= turn.content < turn.end_content:
                    raise DataError(
                        f"the chat template of {self._name} hides turn {index + 1} (assistant) or "
                        f"moves it, so it cannot be trained; content: {message['content'][:80]!r}"
                    )
                done = turn.end
                turns.append(turn)
        if MARKED.search(self._template):
            turns = _as_marked(turns, self._marks(messages, text))
        return turns, text

    def _marks(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Where the template's marks of what the assistant writes begin and end."""
        from transformers.utils.chat_template_utils import render_jinja_template

        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        rendered, (marks,) = render_jinja_template(
            [plain],
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        assert rendered == [text], "marks are of another text"
        return [(start, end) for start, end in marks if end > start]

    def _turn(self, messages: Sequence[Message], index: int, text: str) -> Turn:
        content = messages[index]["content"].strip()
        sentinel = next(s for s in SENTINELS if s[0] != content[:1] and s[-1] != content[-1:])
        changed = Message(role="assistant", content=sentinel)
        other = self.rendered([*messages[:index], changed, *messages[index + 1 :]])
        begin = common_prefix(text, other)
        end = max(begin, len(text) - common_suffix(text, other))
        prompted = self.rendered(messages[:index], generate=True) if index else ""
        is_prompted = 0 < len(prompted) <= begin and text.startswith(prompted)
        start = len(prompted) if is_prompted else begin
        ended = self._end_of_turn.match(text, end)
        return Turn(start, begin, end, ended.end() if ended else end, ended is None)

    @cached_property
    def _end_of_turn(self) -> re.Pattern[str]:
        """White space and one added token, such as ``<|im_end|>`` or ``</s>``."""
        tokens = {*self.tokenizer.get_added_vocab(), self.tokenizer.eos_token}
        longest_first = sorted(tokens, key=len, reverse=True)
        return re.compile(rf"\s*(?:{'|'.join(map(re.escape, longest_first))})")

    @property
    def _name(self) -> str:
        return str(self.tokenizer.name_or_path) or "this tokenizer"

    def rendered(self, messages: Sequence[Message], *, generate: bool = False) -> str:
        """The text of a dialogue, rendered in transformers' sandbox.

        Args:
            messages: The dialogue.
            generate: Whether to add what prompts the model for the next turn.

        Raises:
            DataError: If the template refuses, for instance because roles do not alternate.
        """
        from jinja2 import TemplateError

        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        try:
            text: str = self.tokenizer.apply_chat_template(
                plain,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=generate,
            )
        except TemplateError as error:
            roles = ", ".join(m["role"] for m in messages)
            raise DataError(
                f"the chat template of {self._name} refuses a dialogue ({roles}): {error}"
            ) from error
        return text


def _of_turn(text: str, turn: Turn, *, trained: bool, ends_text: bool) -> list[Piece]:
    """An assistant turn in pieces, cut where its content begins and where training stops."""
    cuts = {turn.start, turn.content, turn.end, *(at for gap in turn.gaps for at in gap)}
    ends = sorted(at for at in cuts if turn.start <= at <= turn.end)
    pieces = [
        Piece(text[a:b], trained and not any(first <= a < last for first, last in turn.gaps))
        for a, b in pairwise(ends)
    ]
    if ends_text:
        pieces[-1] = replace(pieces[-1], ends_text=True)
    return pieces


def _as_marked(turns: Sequence[Turn], marks: Sequence[tuple[int, int]]) -> list[Turn]:
    """The turns with the template's own marks of what is trained.

    A mark belongs to the first turn whose content ends behind its beginning, else to the last turn.
    """
    own: list[list[tuple[int, int]]] = [[] for _ in turns]
    for mark in marks:
        own[next((i for i, one in enumerate(turns) if mark[0] < one.end_content), -1)].append(mark)
    marked = []
    for turn, found in zip(turns, own, strict=True):
        if not found:  # the template says that nothing of it is written
            gap = (turn.start, turn.end)
            marked.append(replace(turn, lacks_end=False, gaps=(gap,)))
            continue
        start = min(found[0][0], turn.content)
        gaps = [(start, found[0][0]), *((a[1], b[0]) for a, b in pairwise(found))]
        gaps = [gap for gap in gaps if gap[1] > gap[0]]
        end = max(found[-1][1], turn.end_content)
        gaps += [(found[-1][1], end)] if end > found[-1][1] else []
        marked.append(replace(turn, start=start, end=end, lacks_end=False, gaps=tuple(gaps)))
    return marked


def _transcript(
    messages: Sequence[Message], start: str, is_completion: bool
) -> tuple[list[Turn], str]:
    """What stands in for a chat template: named turns with blank lines between."""
    text = start
    turns = []
    for index, message in enumerate(messages):
        is_answer = message["role"] == "assistant"
        if not is_completion:
            gap = "\n\n" if index else ""
            text += f"{gap}{message['role'].capitalize()}:" + " " * (not is_answer)
        begin = len(text)
        text += " " * (is_answer and not is_completion) + message["content"]
        if is_answer:
            turns.append(Turn(begin, begin, len(text), len(text), lacks_end=True))
    return turns, text


def common_prefix(one: Sequence[object], other: Sequence[object]) -> int:
    """Length of the longest common start of texts or tokens, by halving: fast for megabytes.

    >>> common_prefix("abcd", "abxd")
    2
    """
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix(one: str, other: str) -> int:
    """Length of the longest common end.

    >>> common_suffix("abcd", "abxd")
    1
    """
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle - 1
    return low
