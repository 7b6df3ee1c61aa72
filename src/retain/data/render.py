"""From an example to tokens and to the question which of them are trained.

A dialogue becomes *pieces* of text, cut where an assistant turn begins and ends; each piece is
encoded on its own, so that the tokens before an answer never depend on the answer: what is trained
is what evaluation and generation send. The turns are found in what the tokenizer's own chat
template renders, by rendering the dialogue again with another content in one turn and looking where
the two differ. That needs no marker in the template and holds for templates that rewrite earlier
turns. The token that ends a turn is trained; white space behind it is not. A template that marks
what the assistant writes (``{% generation %}``) is taken at its word, white space included.

Without a chat template a dialogue is a transcript, ``User: ...``, blank line, ``Assistant: ...``;
``prompt`` and ``completion`` strings are joined exactly as they are. Both end with the
end-of-text token.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from retain.data.example import NUM_ID_DIGITS, Example, Message, last_assistant
from retain.data.template import ChatTemplate, Piece, template_of
from retain.errors import DataError

Objective = Literal["sft", "pretrain"]


@dataclass(frozen=True)
class Tokens:
    """One training sequence.

    Attributes:
        input_ids: The tokens.
        trained: For each token, whether its loss counts; never for the first.
        num_cut: Tokens cut off at the right to fit ``max_length``.
    """

    input_ids: list[int]
    trained: list[bool]
    num_cut: int = 0

    @property
    def num_trained(self) -> int:
        """Tokens whose loss counts."""
        return sum(self.trained)


def render(
    example: Example,
    tokenizer: Any,
    objective: Objective = "sft",
    max_length: int | None = None,
) -> Tokens:
    """The tokens of one example; with all trained tokens cut off, ``num_trained`` is 0.

    It ends with its last trained token: what stands behind one has no part in any loss.

    Args:
        example: A dialogue or a text.
        tokenizer: A transformers tokenizer.
        objective: ``sft`` trains what the assistant says, ``pretrain`` every token. A text is
            always trained whole.
        max_length: Most tokens; what is over is cut off at the right. None cuts nothing.

    Raises:
        DataError: If the chat template refuses or hides a turn.
    """
    template = template_of(tokenizer)
    input_ids: list[int] = []
    trained: list[bool] = []
    for piece in _pieces(example, template):
        ids = template.encode(piece)
        input_ids += ids
        trained += [piece.trained or objective == "pretrain"] * len(ids)
    if trained:
        trained[0] = False
    length = max((index + 1 for index, counts in enumerate(trained) if counts), default=0)
    end = length if max_length is None else min(length, max_length)
    return Tokens(input_ids[:end], trained[:end], num_cut=length - end)


def _pieces(example: Example, template: ChatTemplate) -> list[Piece]:
    if example.messages is None:
        return [template.text_piece(example.text or "")]
    return template.pieces(example.messages, is_completion=example.is_completion)


# ---------------------------------------------------------------- what evaluation sends


def prompt_text(example: Example, tokenizer: Any) -> str:
    """All that stands before the last assistant turn's content, template included; "" for a text.

    Encode it with ``prompt_tokens``, or as a whole with ``add_special_tokens=False``.

    Raises:
        DataError: If the chat template refuses or hides a turn.
    """
    template = template_of(tokenizer)
    return template.joined(_prompt_pieces(example, template))


def prompt_tokens(example: Example, tokenizer: Any) -> list[int]:
    """The tokens of ``prompt_text``, exactly as training sees them."""
    template = template_of(tokenizer)
    return [
        token for piece in _prompt_pieces(example, template) for token in template.encode(piece)
    ]


def _prompt_pieces(example: Example, template: ChatTemplate) -> list[Piece]:
    if example.messages is None:
        return []
    messages = example.messages[: last_assistant(example.messages) + 1]
    return template.prompt(messages, is_completion=example.is_completion)


def continuations(example: Example, tokenizer: Any) -> list[str]:
    """Each choice (without choices: the reference) as it follows ``prompt_text``.

    Without the end of the turn. A transcript's answers start with a space.
    """
    template = template_of(tokenizer)
    answers = example.choices or (() if example.reference is None else (example.reference,))
    if example.messages is None or not answers:
        return []
    index = last_assistant(example.messages)
    result = []
    for answer in answers:
        turn = Message(role="assistant", content=answer)
        messages = (*example.messages[:index], turn)
        result.append(template.answer(messages, is_completion=example.is_completion))
    return result


def continuation_tokens(text: str, tokenizer: Any) -> list[int]:
    """The tokens of a continuation behind a prompt, exactly as training sees them."""
    return template_of(tokenizer).encode(Piece(text))


def with_shots(example: Example, shots: Sequence[Example]) -> Example:
    """The example with other examples answered before it: as earlier turns of one dialogue.

    A system message is kept once, at the front. Prompt and completion strings are joined with a
    blank line between.

    Args:
        example: The one that is asked; ``choices``, ``answer`` and ``reference`` stay its own.
        shots: Shown with their answers, first to last.
    """
    if not shots or example.messages is None:
        return example
    before: list[Message] = []
    for shot in shots:
        before += [m for m in shot.messages or () if m["role"] not in ("system", "developer")]
    if example.is_completion:
        joined = "".join(m["content"] + "\n\n" * (m["role"] == "assistant") for m in before)
        asked = joined + example.messages[0]["content"]
        messages = (Message(role="user", content=asked), *example.messages[1:])
    else:
        system = [m for m in example.messages if m["role"] in ("system", "developer")]
        rest = [m for m in example.messages if m["role"] not in ("system", "developer")]
        messages = (*system, *before, *rest)
    return Example(
        source=example.source,
        messages=messages,
        choices=example.choices,
        answer=example.answer,
        reference=example.reference,
        label=example.label,
        item=example.item,
        is_completion=example.is_completion,
    )


# ---------------------------------------------------------------- many examples


@dataclass(frozen=True)
class Rendered:
    """The sequences of many examples.

    Attributes:
        sequences: (example id, tokens), in order, without those dropped.
        num_truncated: Sequences that lost tokens at ``max_length``.
        num_cut_tokens: How many tokens they lost.
        dropped: Ids of examples whose trained tokens were all cut off.
    """

    sequences: list[tuple[str, Tokens]]
    num_truncated: int
    num_cut_tokens: int
    dropped: list[str]


def render_all(
    examples: Iterable[Example],
    tokenizer: Any,
    objective: Objective = "sft",
    max_length: int | None = None,
    *,
    source: str = "data",
) -> Rendered:
    """The sequences of all examples; those with nothing left to train on are dropped and counted.

    Raises:
        DataError: If there are examples, and none keeps a trained token.
    """
    sequences: list[tuple[str, Tokens]] = []
    dropped: list[str] = []
    num_truncated = num_cut_tokens = 0
    for example in examples:
        tokens = render(example, tokenizer, objective, max_length)
        num_truncated += tokens.num_cut > 0
        num_cut_tokens += tokens.num_cut
        if tokens.num_trained:
            sequences.append((example.id, tokens))
        else:
            dropped.append(example.id)
    if dropped and not sequences:
        raise DataError(
            f"{source}: nothing to train on: of {len(dropped)} examples none has a trained token "
            f"left; {num_truncated} were cut at max_length {max_length} and lost {num_cut_tokens} "
            "tokens. Raise max_length or shorten the prompts."
        )
    return Rendered(sequences, num_truncated, num_cut_tokens, dropped)


def blocks(texts: Iterable[str], tokenizer: Any, max_length: int) -> list[tuple[str, Tokens]]:
    """Running text cut into blocks of ``max_length`` tokens, nothing lost and nothing repeated.

    Documents follow one another in the order given, each ended by the end-of-text token; a block
    may begin inside one. Where the tokenizer starts every text with a token, so does every block.

    The last block may be shorter; a single last token, which nothing could predict, is left out.
    All tokens but the first of a block are trained.

    Args:
        texts: The documents.
        tokenizer: A transformers tokenizer.
        max_length: Tokens of a block, at least 2.

    Returns:
        (id, tokens) of each block; the id is a hash of the tokens.
    """
    if max_length < 2:
        raise DataError(f"max_length must be at least 2 for running text, got {max_length}")
    template = template_of(tokenizer)
    head = [tokenizer.bos_token_id] if template.start else []
    room = max_length - len(head)
    waiting: list[int] = []
    cut: list[tuple[str, Tokens]] = []

    for text in texts:
        waiting += template.encode(template.text_piece(text))[len(head) :]
        num_whole = len(waiting) // room * room
        cut += [_block(head + waiting[at : at + room]) for at in range(0, num_whole, room)]
        del waiting[:num_whole]
    if len(head) + len(waiting) > 1:
        cut.append(_block(head + waiting))
    return cut


def _block(input_ids: list[int]) -> tuple[str, Tokens]:
    digest = sha256(array("i", input_ids).tobytes()).hexdigest()
    trained = [False] + [True] * (len(input_ids) - 1)
    return digest[:NUM_ID_DIGITS], Tokens(input_ids, trained)
