"""Adapters: low-rank changes beside weights that stand still, by PEFT."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args
from warnings import catch_warnings, filterwarnings

import torch

from retain.errors import ModelError
from retain.model.adapter_folder import point_to

Kind = Literal["lora", "qlora", "dora", "rslora", "ia3"]
KINDS = get_args(Kind)
NAME = "default"
NEW, BOTH = "new", "both"
ALL_LINEAR = "all-linear"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What an adapter is, in PEFT's words.

    Attributes:
        kind: ``lora``; ``qlora``, the same on a base in 4 bits; ``dora``, ``rslora``, ``ia3``.
        r: Rank.
        alpha: What the change is scaled by, over the rank (over its root in ``rslora``).
        dropout: Of what the adapter reads.
        target_modules: ``all-linear``, a regular expression for whole names, or endings of names.
        embeddings: Whether the embeddings are trained whole beside it; a tied head with them.
        head: Whether the head is trained whole beside it.
    """

    kind: Kind
    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = ALL_LINEAR
    embeddings: bool = False
    head: bool = False


def is_adapted(model: Any) -> bool:
    """Whether a model in memory has an adapter."""
    return hasattr(model, "peft_config")


def plain(model: Any) -> Any:
    """The decoder itself, with adapters inside its layers if there are any."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def attach(model: Any, adapter: Adapter, name: str = NAME) -> Any:
    """The model with a new adapter that changes nothing yet; only the adapter moves.

    Draws from torch's global generator.

    Raises:
        ModelError: If no module of the model is meant, or the embeddings are trained whole and
            something else goes on with them as they were.
    """
    import peft

    config = _config(plain(model), adapter)
    try:
        with _quiet():
            if is_adapted(model):
                model.add_adapter(name, config)
            else:
                model = peft.get_peft_model(model, config, adapter_name=name)
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"target_modules {adapter.target_modules!r}: {first}") from error
    if config.modules_to_save:
        _refuse_torn(model)
    return model


def _refuse_torn(model: Any) -> None:
    """Refuse a table that is trained whole in one place and goes on as it was in another.

    PEFT keeps the tied tables of some families together, of others not (T5's, which has three).
    """
    modules = dict(model.named_modules())
    whole = {
        id(module._parameters["weight"]): name.removesuffix(".original_module")
        for name, module in modules.items()
        if name.endswith(".original_module")
    }
    for name, module in modules.items():
        table = whole.get(id(module._parameters.get("weight")))
        if table is not None and not name.endswith(".original_module"):
            found = [one.removeprefix("base_model.model.") for one in (table, name)]
            raise ModelError(
                f"train_embeddings, train_head: {found[0]} would be trained whole, and {found[1]}, "
                "the same table, would stay as it is: PEFT does not keep them together in this "
                "family. Leave them out, or use tuning: full"
            )


def _config(model: Any, adapter: Adapter) -> Any:
    import peft

    target = adapter.target_modules
    whole = _trained_whole(model, adapter)
    common = {
        "task_type": "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        "target_modules": target if isinstance(target, str) else list(target),
        "modules_to_save": whole or None,
    }
    if adapter.kind == "ia3":
        feedforward: list[str] | None = [] if target == ALL_LINEAR else None
        return peft.IA3Config(**common, feedforward_modules=feedforward)
    return peft.LoraConfig(
        **common,
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        use_dora=adapter.kind == "dora",
        use_rslora=adapter.kind == "rslora",
        ensure_weight_tying=bool(whole) and _is_tied(model),
    )


def _trained_whole(model: Any, adapter: Adapter) -> list[str]:
    """The last parts of the names of what is trained whole; PEFT adds what is tied to it.

    Raises:
        ModelError: If it would not.
    """
    from peft.utils.constants import EMBEDDING_LAYER_NAMES

    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    asked = {embeddings: adapter.embeddings, head: adapter.head}
    whole = [_name_of(model, module) for module, wanted in asked.items() if wanted]
    if not (whole and _is_tied(model)):
        return whole
    name = _name_of(model, embeddings)
    if model.config.is_encoder_decoder or name not in EMBEDDING_LAYER_NAMES:
        raise ModelError(
            f"train_embeddings, train_head: the head of {type(model).__name__} is its '{name}', "
            "which PEFT does not keep together. Leave both out, or use tuning: full"
        )
    return whole[:1]


def _name_of(model: Any, module: torch.nn.Module) -> str:
    """The last part of a module's name."""
    names = (name for name, one in model.named_modules() if one is module)
    return str(next(names)).rpartition(".")[2]


def _is_tied(model: Any) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def put_on(model: Any, folder: Path) -> Any:
    """The base model with the adapter of a folder; nothing moves."""
    import peft

    with _quiet():
        return peft.PeftModel.from_pretrained(model, folder, is_trainable=False)


def move(model: Any, names: tuple[str, ...] = (NAME,)) -> list[str]:
    """Let the parameters of these adapters move, and no others; their names."""
    moving = []
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        wanted = any(adapter in parts for adapter in names)
        parameter.requires_grad_(wanted and parameter.is_floating_point())
        if parameter.requires_grad:
            moving.append(name)
    return moving


def add_beside(model: Any, adapter: Adapter) -> Any:
    """A second adapter beside the first, which stays as it is; both act.

    Raises:
        ModelError: If the two cannot be saved as one.
    """
    found = model.peft_config[NAME]
    for kind in (adapter.kind, kind_of(found)):
        if kind in ("dora", "ia3"):
            raise ModelError(
                f"handover new_adapter: two {kind} adapters cannot be saved as one; use "
                "continue_adapter or merge_then_new"
            )
    if adapter.embeddings or adapter.head or found.modules_to_save:
        raise ModelError(
            "handover new_adapter: embeddings and head are trained whole, not beside an earlier "
            "copy; use continue_adapter or merge_then_new"
        )
    attach(model, adapter, NEW)
    model.base_model.set_adapter([NAME, NEW])
    try:
        with joined(model):  # what cannot be saved as one shows now, not after the training
            pass
    except ValueError as error:
        raise ModelError(
            f"handover new_adapter: PEFT cannot save the two as one: {error}"
        ) from error
    return model


def kind_of(config: Any) -> str:
    """The kind of an adapter that is there; of two that became one, ``lora``."""
    if config.peft_type.value == "IA3":
        return "ia3"
    return "dora" if config.use_dora else "rslora" if config.use_rslora else "lora"


def has_magnitudes(model: Any) -> bool:
    """Whether a model's adapter is DoRA's, which transformers alone does not open whole."""
    return any(kind_of(config) == "dora" for config in model.peft_config.values())


def join(model: Any) -> None:
    """Two adapters become one that does what both did: their ranks stand side by side."""
    first = model.peft_config[NAME]
    by_root = first.use_rslora
    # PEFT copies this, and gives the sum a scale of alpha over the rank: it would act too strongly
    first.use_rslora = False
    try:
        with _quiet():
            model.add_weighted_adapter([NAME, NEW], [1.0, 1.0], BOTH, combination_type="cat")
    finally:
        first.use_rslora = by_root
    model.base_model.set_adapter(BOTH)


@contextmanager
def joined(model: Any) -> Iterator[None]:
    """The two adapters as one while they are written; then they move again as they did."""
    import torch

    moving = {name: p.requires_grad for name, p in model.named_parameters()}
    with torch.random.fork_rng():
        join(model)
    try:
        yield
    finally:
        with _quiet():
            model.delete_adapter(BOTH)
        model.base_model.set_adapter([NAME, NEW])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(moving[name])


def merged(model: Any) -> Any:
    """The decoder with the adapter's change in its weights.

    Raises:
        ModelError: If the weights have 4 bits: merging in place would quantise the change away.
    """
    if is_quantised(model):
        raise ModelError(
            "a model in 4 bits is not merged in place; open its base in full precision"
        )
    with _quiet():
        return model.merge_and_unload()


def is_quantised(model: Any) -> bool:
    """Whether any weight has fewer than 16 bits."""
    return any(not p.is_floating_point() for p in plain(model).parameters())


def write(model: Any, output: Path, base: Path, final: Path) -> None:
    """Write PEFT's files and where the base is.

    Args:
        model: With one adapter, or two that were joined.
        output: A folder that is there.
        base: Folder of the base model.
        final: Where ``output`` will be moved to.
    """
    name = BOTH if BOTH in model.peft_config else NAME
    with _quiet():
        model.save_pretrained(output, selected_adapters=[name], save_embedding_layers=False)
    inner = output / name
    if inner.is_dir():  # PEFT puts any adapter that is not called default into a folder of its own
        for file in inner.iterdir():
            file.replace(output / file.name)
        inner.rmdir()
    point_to(output, base, final, "nf4" if is_quantised(model) else None)


def differences(model: Any, adapter: Adapter, base: Path) -> list[str]:
    """What an adapter that is there has otherwise than asked: it cannot be gone on with.

    Args:
        model: With the adapter.
        adapter: What is asked.
        base: Folder of the weights below it.
    """
    found = model.peft_config[NAME]
    kinds = {kind_of(found), "lora" if adapter.kind == "qlora" else adapter.kind}
    if len(kinds) > 1 and "ia3" in kinds:
        return [f"kind {kind_of(found)} (asked: {adapter.kind})"]
    asked: Mapping[str, Any] = {
        "r": adapter.r,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "use_dora": adapter.kind == "dora",
        "use_rslora": adapter.kind == "rslora",
    }
    other = [
        f"{key} {getattr(found, key)} (asked: {value})"
        for key, value in asked.items()
        if "ia3" not in kinds and getattr(found, key) != value
    ]
    there, wanted = _modules(model), _modules(attached_empty(base, adapter))
    if more := sorted(there - wanted):
        other.append(f"{len(more)} modules that are not asked for, such as {more[0]}")
    if more := sorted(wanted - there):
        other.append(f"no part at {len(more)} modules that are asked for, such as {more[0]}")
    return other


def _modules(model: Any) -> set[str]:
    """The modules that an adapter changes."""
    names = (name.split(".") for name, _ in model.named_parameters())
    return {".".join(parts[2 : parts.index(NAME) - 1]) for parts in names if NAME in parts}


def attached_empty(base: Path, adapter: Adapter) -> Any:
    """A model without weights, with an adapter."""
    from retain.model.load import load_empty

    return attach(load_empty(base), adapter)


@cache
def num_parameters(base: Path, adapter: Adapter) -> int:
    """Numbers in an adapter on a model; no weights are read."""
    model = attached_empty(base, adapter)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PEFT's advice about what is done on purpose here."""
    with catch_warnings():
        filterwarnings("ignore", module="peft")
        filterwarnings("ignore", message=".*tie_word_embeddings.*")
        filterwarnings("ignore", message=".*is_gradient_checkpointing. is deprecated.*")
        yield
