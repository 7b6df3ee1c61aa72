"""Looking without running anything: data, finished steps, the machine."""

from pathlib import Path
from typing import Any, Literal

from retain.api.place import place_of
from retain.api.prepared import RUNS
from retain.errors import RecipeError, did_you_mean


def list_steps(runs: str | Path = RUNS, *, verify: bool = False) -> list[str]:
    """Print the finished steps; returns their faults.

    With ``verify`` every file is read and its sha256 checked, else presence and sizes.
    """
    from retain import terminal

    store = place_of(runs).store
    entries = store.entries()
    rows = [
        (
            one.folder,
            f"{one.bytes / 1e6:.1f} MB",
            f"{one.seconds:.1f} s",
            str(one.record.get("started", ""))[:16],
        )
        for one in entries
    ]
    columns = ("step", ">size", ">took", "started")
    terminal.console().print(terminal.table(f"{len(rows)} finished steps", columns, rows))
    return [
        f"{one.folder}: {fault}"
        for one in entries
        for fault in (store.verify(one.folder) if verify else one.faults)
    ]


def doctor() -> str:
    """Device, precision probe, versions and what will be used, as text."""
    from retain.embedded import cache_dir
    from retain.model.precision import doctor as examine

    found = examine()
    versions = found.pop("versions")
    lines = [f"{name:20} {value}" for name, value in found.items()]
    lines += [f"{name:20} {value}" for name, value in versions.items()]
    return "\n".join([*lines, f"{'cache':20} {cache_dir()}"])


def show_data(source: str, number: int, *, model: str, objective: str) -> None:
    """Print examples as the model will see them, trained tokens in colour."""
    from retain import terminal
    from retain.data.show import segments
    from retain.data.sources import load
    from retain.model.auto_class import has_encoder
    from retain.model.reference import folder

    if objective not in ("sft", "pretrain"):
        raise RecipeError(did_you_mean("objective", objective, ["sft", "pretrain"]))
    shape: Literal["sft", "pretrain"] = "sft" if objective == "sft" else "pretrain"
    tokenizer, with_encoder = tokenizer_of(model), has_encoder(folder(model))
    loaded = load(source)
    terminal.show_examples(
        (
            f"{source} {index + 1} of {len(loaded.examples)}",
            [
                (part.text, part.trained)
                for part in segments(example, tokenizer, shape, has_encoder=with_encoder)
            ],
        )
        for index, example in enumerate(loaded.examples[:number])
    )


def check_data(source: str, *, model: str | None, max_length: int) -> int:
    """Print every fault with file and line, and statistics; the number of faults."""
    from retain import printed
    from retain.data.check import check

    tokenizer = None if model is None else tokenizer_of(model)
    found = check(source, tokenizer, max_length=max_length if tokenizer else None)
    printed.show_data_report(source, found)
    return len(found.faults)


def tokenizer_of(model: str) -> Any:
    """The tokenizer of a model reference."""
    from transformers import AutoTokenizer

    from retain.model.reference import folder

    return AutoTokenizer.from_pretrained(folder(model))
