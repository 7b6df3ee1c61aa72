"""Text to tokens for scoring, by the harness's rules: the seam, BOS, rolling windows.

Source: lm-evaluation-harness 0.4.13, ``TemplateLM.loglikelihood``, ``TemplateLM._encode_pair``,
``HFLM.tok_encode`` and ``utils.get_rolling_token_windows`` (https://github.com/EleutherAI/
lm-evaluation-harness). Departure: texts are encoded all at once, each distinct one once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retain.decode.prefix_tree import Tokens
from retain.errors import ModelError

Pair = tuple[Tokens, Tokens]
"""A context and its continuation."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer with the harness's rules around it.

    Attributes:
        tokenizer: A transformers tokenizer.
        add_bos_token: True or False overrules what the tokenizer does by itself; None leaves it.
        separate: Encode context and continuation apart (encoder-decoder models).
    """

    tokenizer: Any
    add_bos_token: bool | None = None
    separate: bool = False

    @property
    def prefix_token_id(self) -> int:
        """What the first token of a text is conditioned on: BOS, else the end of a text.

        Raises:
            ModelError: If the tokenizer has neither.
        """
        for token_id in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token_id is not None:
                return int(token_id)
        raise ModelError(
            "the tokenizer has neither BOS nor EOS, and the first token of a text follows one; "
            "set bos_token or eos_token in its tokenizer_config.json"
        )

    def encode(self, texts: Sequence[str], add_special_tokens: bool | None = None) -> list[Tokens]:
        """Tokens of each text; a text that starts with the written BOS gets no second one."""
        bos = self.tokenizer.decode([self.prefix_token_id])
        chosen = self.add_bos_token if add_special_tokens is None else add_special_tokens
        special = [
            False if add_special_tokens is None and text.startswith(bos) else chosen
            for text in texts
        ]
        encoded: dict[tuple[str, bool | None], Tokens] = {}
        for flag in (None, True, False):
            wanted = sorted({text for text, use in zip(texts, special, strict=True) if use is flag})
            if wanted:
                options = {} if flag is None else {"add_special_tokens": flag}
                rows = self.tokenizer(wanted, return_attention_mask=False, **options)["input_ids"]
                encoded |= {
                    (text, flag): tuple(row) for text, row in zip(wanted, rows, strict=True)
                }
        return [encoded[text, use] for text, use in zip(texts, special, strict=True)]

    def prompts(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of prompts to be continued; an encoder's are what its tokenizer makes of them.

        Source: ``HFLM.tok_batch_encode``: ``add_bos_token`` is of decoders, so T5 keeps its EOS.
        """
        if not self.separate:
            return self.encode(texts)
        rows = self.tokenizer(list(texts), return_attention_mask=False)["input_ids"]
        return [tuple(row) for row in rows]

    def pairs(self, texts: Sequence[tuple[str, str]]) -> list[Pair]:
        """Tokens of each context and its continuation, cut at the seam as the harness cuts.

        Spaces that end a context go to the continuation. The continuation is what the encoding of
        the whole has beyond as many tokens as the context alone has. An empty context becomes the
        prefix token. A continuation can come out empty; whoever scores it refuses it by name.
        """
        moved = [_spaces_to_continuation(context, rest) for context, rest in texts]
        contexts = self.encode([context for context, _ in moved])
        if self.separate:
            wholes = self.encode([rest for _, rest in moved], add_special_tokens=False)
        else:
            wholes = self.encode([context + rest for context, rest in moved])
        alone = self.encode([rest for _, rest in texts], add_special_tokens=False)
        pairs: list[Pair] = []
        for (text, _), context, whole, rest in zip(texts, contexts, wholes, alone, strict=True):
            if text == "":
                pairs.append(self._without_context(rest))
            else:
                pairs.append((context, whole if self.separate else whole[len(context) :]))
        return pairs

    def _without_context(self, continuation: Tokens) -> Pair:
        if continuation and continuation[0] == self.prefix_token_id:
            return continuation[:1], continuation[1:]
        return (self.prefix_token_id,), continuation

    def windows(self, text: str, max_length: int) -> list[Pair]:
        """The pairs whose log-likelihoods add up to that of the whole text."""
        (tokens,) = self.encode([text])
        return rolling_windows(tokens, self.prefix_token_id, max_length)


def rolling_windows(tokens: Tokens, prefix: int, max_length: int) -> list[Pair]:
    """Disjoint windows over a text: every token is predicted once, with all the context that fits.

    Args:
        tokens: The text.
        prefix: What the first token is conditioned on.
        max_length: The model's context, in tokens.

    Source: ``get_rolling_token_windows(context_len=1)`` with ``make_disjoint_window``.

    >>> rolling_windows((1, 2, 3, 4, 5), 0, 3)
    [((0,), (1, 2, 3)), ((2, 3), (4, 5))]
    """
    pairs: list[Pair] = []
    for start in range(0, len(tokens), max_length):
        end = min(start + max_length, len(tokens))
        if start == 0:
            pairs.append(((prefix,), tokens[:end]))
        else:
            pairs.append((tokens[end - max_length - 1 : start], tokens[start:end]))
    return pairs


def _spaces_to_continuation(context: str, continuation: str) -> tuple[str, str]:
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation
