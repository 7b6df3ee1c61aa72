"""Calling a model that has an encoder: pairs of like length in one padded batch.

A sequence of such a model is what the encoder reads, then what the decoder writes; the first
trained token is where the decoder begins (``retain.data.pairs``). Attention of T5 takes a table of
relative positions instead of going by position, so sequences do not share a row: those of like
length make a batch, padded to its longest and masked, and no sequence sees another.

Shapes: B sequences, S longest of the encoder, L longest of the decoder, D width, V vocabulary.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import BaseModelOutput

from retain.errors import ModelError
from retain.methods.given import Batch
from retain.model.adapters import plain
from retain.model.exact import multiplied_in_float32
from retain.model.head import Given
from retain.train.forward import TOLERANCE, Forward, Head
from retain.train.stream import Row

CHECK_TOKENS = ((5, 3), (23, 11), (2, 17))  # of encoder and decoder
IGNORED = -100  # transformers' label of a position without loss


@dataclass(frozen=True)
class PairForward(Forward):
    """How a model with an encoder is called in training; ``decoder`` is the whole model."""

    def attention(self, rows: Sequence[Row]) -> AbstractContextManager[None]:
        """Nothing: the batch carries its masks."""
        return nullcontext()

    def batch(self, rows: Sequence[Row]) -> Batch:
        """The sequences padded; ``rows`` of the batch count through the decoders' positions."""
        return make_batch(self.decoder, rows)

    def hidden(self, batch: Batch) -> Tensor:
        """States of all decoders before the head, B x L one after another."""
        model, given = self.decoder, batch.inputs
        read = model.get_encoder()(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"]
        )
        written = model.get_decoder()(
            input_ids=given["decoder_input_ids"],
            encoder_hidden_states=read.last_hidden_state,
            encoder_attention_mask=given["attention_mask"],
            use_cache=False,
        )
        states_BLD: Tensor = written.last_hidden_state
        return states_BLD.flatten(0, 1)

    def groups(self, rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
        """Batches of like length; none has more tokens, its padding counted, unless it is one."""
        counting = [row for row in rows if row.num_trained_tokens]
        groups: list[list[Row]] = []
        for row in sorted(counting, key=lambda row: (-row.num_tokens, -seam(row))):
            if groups and _padded_tokens([*groups[-1], row]) <= max_tokens:
                groups[-1].append(row)
            else:
                groups.append([row])
        return groups


def make_pair_forward(model: Any) -> PairForward:
    """The way to call ``model``, tried against plain calls on one sequence at a time.

    Args:
        model: A model with an encoder; its mode is left as found.

    Raises:
        ModelError: If its stacks or its head cannot be called apart, or give something else.
    """
    inner = plain(model)
    was_training = model.training
    model.eval()
    try:
        forward = PairForward(model, False, inner, _head(inner))
        with multiplied_in_float32(model):
            worst = _worst(forward)
    except (AttributeError, TypeError, ValueError) as error:
        name = type(inner).__name__
        raise ModelError(
            f"{name}: encoder, decoder and head cannot be called apart ({error}), so it cannot be "
            "trained here; models built like T5, mT0 or BART can"
        ) from error
    finally:
        model.train(was_training)
    if worst > TOLERANCE:
        raise ModelError(
            f"{type(inner).__name__}: a padded batch gives other log-probabilities than one "
            f"sequence at a time (by {worst:.1e}, allowed {TOLERANCE:.0e}); it is not trained"
        )
    return forward


def seam(row: Row) -> int:
    """How many of a sequence's tokens the encoder reads."""
    return int(row.trained.argmax())


def make_batch(model: Any, rows: Sequence[Row]) -> Batch:
    """The sequences as the model takes them, on its device.

    The decoders' input is made by the model itself, from labels. ``rows`` of the batch are the
    trained positions, counted through all decoders, B x L.
    """
    read_BS = _padded([row.input_ids[: seam(row)] for row in rows], 0)
    labels_BL = _padded([row.input_ids[seam(row) :] for row in rows], IGNORED)
    lengths_B1 = torch.tensor([[seam(row)] for row in rows])
    mask_BS = (torch.arange(read_BS.shape[1])[None] < lengths_B1).long()
    at = torch.flatten(labels_BL != IGNORED).nonzero()[:, 0]
    weights = [np.full(row.num_trained_tokens, row.weight) for row in rows]

    def there(tensor: Tensor) -> Tensor:
        return tensor.to(model.device, non_blocking=True)

    return Batch(
        inputs={
            "input_ids": there(read_BS),
            "attention_mask": there(mask_BS),
            "decoder_input_ids": model.prepare_decoder_input_ids_from_labels(there(labels_BL)),
        },
        rows=there(at),
        targets=there(labels_BL.flatten()[at]),
        weights=there(torch.as_tensor(np.concatenate(weights), dtype=torch.float32)),
    )


def _padded(sequences: Sequence[Any], filling: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(
        [torch.as_tensor(one, dtype=torch.int64) for one in sequences],
        batch_first=True,
        padding_value=filling,
    )


def _padded_tokens(rows: Sequence[Row]) -> int:
    read = max(map(seam, rows))
    return len(rows) * (read + max(row.num_tokens - seam(row) for row in rows))


def _head(model: Any) -> Head:
    """States R D to logits R V: the model with a decoder that hands back what it is given."""
    given = Given()
    decoder = model.get_decoder()
    path = next((name for name, one in model.named_modules() if one is decoder and name), None)
    if path is None:
        raise ModelError(f"{type(model).__name__}: no decoder below its head was found")
    head_model = _with(model, path.split("."), given)

    def head(states_RD: Tensor) -> Tensor:
        given.states = states_RD
        nothing = torch.zeros((1, 1), dtype=torch.int64, device=states_RD.device)
        read = BaseModelOutput(last_hidden_state=states_RD[None, :1])
        try:
            logits: Tensor = head_model(
                encoder_outputs=read, decoder_input_ids=nothing, use_cache=False
            ).logits
        finally:
            given.states = None
        return logits[0]

    return head


def _with(module: Any, path: Sequence[str], new: torch.nn.Module) -> Any:
    """A shallow copy of a module with one module below it exchanged."""
    changed = copy.copy(module)
    below = new if len(path) == 1 else _with(module._modules[path[0]], path[1:], new)
    changed._modules = {**module._modules, path[0]: below}
    return changed


@torch.no_grad()
def _worst(forward: PairForward) -> float:
    """The largest difference of a log-probability from plain calls on one sequence at a time."""
    rows = _random_rows(forward.vocab_size)
    expected = torch.cat([_plain_log_probabilities(forward.model, row) for row in rows])
    batch = forward.batch(rows)
    logits = forward.head(forward.hidden(batch)[batch.rows])
    got = -cross_entropy(logits.float(), batch.targets, reduction="none")
    return float((got - expected).abs().max())


def _plain_log_probabilities(model: Any, row: Row) -> Tensor:
    ids = torch.from_numpy(row.input_ids).to(model.device)[None]
    labels = ids[:, seam(row) :]
    logits = model(input_ids=ids[:, : seam(row)], labels=labels).logits[0]
    return -cross_entropy(logits.float(), labels[0], reduction="none")


def _random_rows(vocab_size: int) -> list[Row]:
    draw = np.random.default_rng(0)
    return [
        Row(f"check-{i}", "check", draw.integers(0, vocab_size, s + n), np.arange(s + n) >= s, 1.0)
        for i, (s, n) in enumerate(CHECK_TOKENS)
    ]
