"""Where each parameter of a model stands, for any family that transformers runs.

The blocks are found as the ``ModuleList`` whose length is the number of layers in the
configuration; everything else follows from the classes of the modules around a parameter. Where
there is an encoder, its blocks come first and the decoder's are counted on from there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from retain.errors import ModelError

Part = Literal["embeddings", "block", "final_norm", "head", "other"]
Kind = Literal["attention", "mlp", "norm", "other"]

ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
MLP = re.compile(r"mlp|feed_?forward|ffn|layer_?ff|expert|moe|(^|\.)fc\d", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where one parameter stands.

    Attributes:
        part: Embeddings, a block, the final norm, the head, or other.
        block: Number of the block from the input (encoder, then decoder), -1 outside the blocks.
        kind: What it does there; ``other`` outside the blocks.
        size: Numbers in it.
    """

    part: Part
    block: int
    kind: Kind
    size: int


def places(model: Any) -> dict[str, Place]:
    """The place of every parameter of ``model``, by name, in the model's own order.

    Names are those of ``model.named_parameters()``: a tied head has no name of its own. Works on
    the meta device too.

    Raises:
        ModelError: If the blocks cannot be told.
    """
    modules = dict(model.named_modules())
    before = 0
    places_of: dict[str, int] = {}  # list of blocks to how many come before it
    for prefix in block_prefixes(model):
        places_of[prefix] = before
        before += len(modules[prefix])
    found: dict[str, Place] = {}
    above_blocks = False
    for name, parameter in model.named_parameters():
        size = int(parameter.numel())
        inside = next((one for one in places_of if name.startswith(f"{one}.")), None)
        if inside is not None:
            above_blocks = True
            index, inner = name.removeprefix(f"{inside}.").split(".", 1)
            kind = _kind(modules, f"{inside}.{index}", inner)
            found[name] = Place("block", places_of[inside] + int(index), kind, size)
        else:
            owner = modules[name.rpartition(".")[0]]
            found[name] = Place(_part(model, owner, above_blocks), -1, "other", size)
    return found


def is_tied(model: Any) -> bool:
    """Whether the head is the embedding's own tensor."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and head.weight is embeddings.weight


def block_prefixes(model: Any) -> tuple[str, ...]:
    """The names of the lists of blocks in the order of the data, e.g. ``model.layers``.

    Raises:
        ModelError: If no list of modules has as many entries as the model has layers.
    """
    if not model.config.is_encoder_decoder:
        return (blocks_prefix(model),)
    names = {id(module): name for name, module in model.named_modules()}
    stacks = (model.get_encoder(), model.get_decoder())
    prefixes = []
    for stack in stacks:
        lists = _lists(stack)
        if id(stack) not in names or not lists:
            raise ModelError(f"{type(model).__name__}: the blocks of its two stacks were not found")
        prefixes.append(f"{names[id(stack)]}.{_heaviest(lists)}")
    return tuple(prefixes)


def blocks_prefix(model: Any) -> str:
    """The name of a decoder's list of blocks, e.g. ``model.layers``.

    Raises:
        ModelError: If no list of modules has as many entries as the model has layers.
    """
    wanted: int = model.config.get_text_config().num_hidden_layers
    lists = _lists(model)
    fitting = {name: one for name, one in lists.items() if len(one) == wanted}
    if not fitting:
        found = ", ".join(f"{name} ({len(m)})" for name, m in lists.items()) or "none"
        raise ModelError(
            f"{type(model).__name__}: its {wanted} blocks were not found; lists of modules: {found}"
        )
    return _heaviest(fitting)


def _lists(module: Any) -> dict[str, Any]:
    from torch.nn import ModuleList

    return {name: one for name, one in module.named_modules() if isinstance(one, ModuleList)}


def _heaviest(lists: dict[str, Any]) -> str:
    return max(lists, key=lambda name: _num_weights(lists[name]))


def _num_weights(module: Any) -> int:
    return sum(int(parameter.numel()) for parameter in module.parameters())


def _part(model: Any, owner: Any, above_blocks: bool) -> Part:
    """What a module outside the blocks is; a norm below them belongs to the embeddings."""
    if owner is model.get_input_embeddings() or type(owner).__name__.endswith("Embedding"):
        return "embeddings"
    if owner is model.get_output_embeddings():
        return "head"
    if _is_norm(owner):
        return "final_norm" if above_blocks else "embeddings"
    return "other"


def _kind(modules: dict[str, Any], block: str, inner: str) -> Kind:
    """By the module that owns the parameter, then by the modules around it, innermost first."""
    owners = list(_owners(block, inner))
    if _is_norm(modules[owners[0]]):
        return "norm"
    for owner in owners:
        label = f"{owner.removeprefix(block)} {type(modules[owner]).__name__}"
        last = label.rpartition(".")[2]
        if ATTENTION.search(last):
            return "attention"
        if MLP.search(last):
            return "mlp"
    return "other"


def _owners(block: str, inner: str) -> Iterator[str]:
    path = inner.split(".")[:-1]
    for length in range(len(path), 0, -1):
        yield ".".join((block, *path[:length]))
    if not path:
        yield block


def _is_norm(module: Any) -> bool:
    return "norm" in type(module).__name__.lower()
