"""Sequences for a model with an encoder: what the encoder reads, then what the decoder writes.

Both stand in one sequence, and the first trained token is where the decoder begins: what an encoder
reads has no loss, and everything the decoder writes has. So nothing that counts, mixes or stores
sequences has to know of it.

A dialogue becomes one sequence for each assistant turn that is trained: the encoder reads the
prompt as evaluation sends it, the decoder writes the answer and the token that ends it. Running
text is prefix language modelling: of each block the encoder reads the first half and the decoder
writes the second (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.2.2. Departure:
cut in the middle, not at a random place, so that a block is the same in every run).

Where a tokenizer ends texts with a token, as T5's does, so does what the encoder reads.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from retain.data.example import NUM_ID_DIGITS, Example, Message, last_assistant
from retain.data.render import Rendered, Tokens
from retain.data.template import ChatTemplate, Piece, template_of
from retain.errors import DataError

SHORTEST_BLOCK = 4


def read_tokens(example: Example, tokenizer: Any) -> list[int]:
    """What the encoder reads when the last assistant turn is asked for; [] for a text."""
    if example.messages is None:
        return []
    return _prompt(template_of(tokenizer), example.messages, example.is_completion)


def halves(tokens: Sequence[int], tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the encoder reads of a stretch of running text, and what the decoder writes."""
    middle = len(tokens) // 2
    return closed(tokens[:middle], tokenizer), list(tokens[middle:])


def closed(tokens: Sequence[int], tokenizer: Any) -> list[int]:
    """What an encoder reads: at least one token, ended as the tokenizer ends a text."""
    template = template_of(tokenizer)
    ids = tokenizer.encode("a", add_special_tokens=True)
    ends = bool(ids) and ids[-1] == template.eos_id
    if (ends or not tokens) and list(tokens[-1:]) != [template.eos_id]:
        return [*tokens, template.eos_id]
    return list(tokens)


def render_pairs(
    example: Example, tokenizer: Any, max_length: int | None = None
) -> Iterator[Tokens]:
    """The sequences of one example: one for each trained turn, or one for a text.

    Args:
        example: A dialogue or a text.
        tokenizer: A transformers tokenizer.
        max_length: Most tokens that encoder and decoder have together; what is over is cut off at
            the right. None cuts nothing.

    Raises:
        DataError: If the chat template refuses or hides a turn.
    """
    template = template_of(tokenizer)
    if example.messages is None:
        piece = template.text_piece(example.text or "")
        yield _pair(*halves(template.encode(piece), tokenizer), max_length)
        return
    for index, message in enumerate(example.messages):
        if message["role"] == "assistant" and message.get("train", True):
            turns = example.messages[: index + 1]
            read = _prompt(template, turns, example.is_completion)
            yield _pair(read, _answer(template, turns, example.is_completion), max_length)


def render_all_pairs(
    examples: Iterable[Example], tokenizer: Any, max_length: int | None = None, *, source: str
) -> Rendered:
    """The sequences of all examples; those with nothing left to train on are dropped and counted.

    Raises:
        DataError: If there are examples, and none keeps a trained token.
    """
    found = Rendered([], 0, 0, [])
    num_cut = lost = 0
    for example in examples:
        kept = False
        for tokens in render_pairs(example, tokenizer, max_length):
            num_cut, lost = num_cut + (tokens.num_cut > 0), lost + tokens.num_cut
            if tokens.num_trained:
                found.sequences.append((example.id, tokens))
                kept = True
        if not kept:
            found.dropped.append(example.id)
    if found.dropped and not found.sequences:
        raise DataError(
            f"{source}: nothing to train on: of {len(found.dropped)} examples none has a trained "
            f"token left; {num_cut} were cut at max_length {max_length}, which encoder and decoder "
            f"share, and lost {lost} tokens. Raise max_length or shorten the prompts."
        )
    return Rendered(found.sequences, num_cut, lost, found.dropped)


def pair_blocks(texts: Iterable[str], tokenizer: Any, max_length: int) -> list[tuple[str, Tokens]]:
    """Running text cut into blocks of ``max_length`` tokens, the halves of each a pair.

    Documents follow one another, each ended by the end-of-text token; a block may begin inside one.
    A last rest of under 4 tokens is left out.

    Args:
        texts: The documents.
        tokenizer: A transformers tokenizer.
        max_length: Tokens of a block, at least 4.

    Returns:
        (id, tokens) of each block; the id is a hash of the tokens.
    """
    if max_length < SHORTEST_BLOCK:
        raise DataError(f"max_length must be at least {SHORTEST_BLOCK} for text, got {max_length}")
    template = template_of(tokenizer)
    room = max_length - 1  # for the token that ends what the encoder reads
    waiting: list[int] = []
    cut: list[tuple[str, Tokens]] = []
    for text in texts:
        waiting += template.encode(template.text_piece(text))
        num_whole = len(waiting) // room * room
        cut += [_block(waiting[at : at + room], tokenizer) for at in range(0, num_whole, room)]
        del waiting[:num_whole]
    if len(waiting) >= SHORTEST_BLOCK:
        cut.append(_block(waiting, tokenizer))
    return cut


def _block(tokens: Sequence[int], tokenizer: Any) -> tuple[str, Tokens]:
    made = _pair(*halves(tokens, tokenizer), None)
    digest = sha256(array("i", made.input_ids).tobytes()).hexdigest()
    return digest[:NUM_ID_DIGITS], made


def _pair(read: list[int], written: list[int], max_length: int | None) -> Tokens:
    whole = len(read) + len(written)
    end = whole if max_length is None else min(whole, max_length)
    trained = [False] * len(read) + [True] * len(written)
    return Tokens([*read, *written][:end], trained[:end], num_cut=whole - end)


def _prompt(template: ChatTemplate, messages: Sequence[Message], is_completion: bool) -> list[int]:
    asked = messages[: last_assistant(tuple(messages)) + 1]
    pieces = template.prompt(asked, is_completion=is_completion)
    tokens = [token for piece in pieces for token in template.encode(piece)]
    return closed(tokens, template.tokenizer)


def _answer(template: ChatTemplate, messages: Sequence[Message], is_completion: bool) -> list[int]:
    """The last turn from its content to its end, encoded as a continuation is."""
    pieces = template.pieces(messages, is_completion=is_completion)
    before = sum(len(p.text) for p in template.prompt(messages, is_completion=is_completion))
    tokens: list[int] = []
    done = 0
    for piece in pieces:
        if done >= before and piece.trained:
            tokens += template.encode(Piece(piece.text, ends_text=piece.ends_text))
        done += len(piece.text)
    return tokens
