"""The folder of an adapter: PEFT's two files, and where its base is.

It names the folder of its base model twice: as PEFT wants it, and relative to itself in
``retain_base.json``, so that a store that was moved opens.
"""

import json
import os
import shutil
from pathlib import Path

from retain.errors import ModelError

CONFIG = "adapter_config.json"
BASE = "retain_base.json"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / CONFIG).is_file()


def base_folder(folder: Path) -> Path:
    """Where the base model of an adapter lies.

    Raises:
        ModelError: If it is not there.
    """
    absolute = Path(json.loads((folder / CONFIG).read_text("utf-8"))["base_model_name_or_path"])
    memo = folder / BASE
    if memo.is_file():
        near = folder / str(json.loads(memo.read_text("utf-8"))["relative"])
        if near.is_dir():
            return Path(near).resolve()
    if not absolute.is_dir():
        raise ModelError(
            f"{folder}: this adapter's base model is not at {absolute}; put it there, or set "
            f"base_model_name_or_path in {CONFIG}"
        )
    return absolute


def quantisation(folder: Path) -> str | None:
    """What the base of an adapter is quantised to; None for its full precision."""
    memo = folder / BASE
    found: dict[str, str] = json.loads(memo.read_text("utf-8")) if memo.is_file() else {}
    return found.get("quantisation")


def point_to(output: Path, base: Path, final: Path, quantised_to: str | None) -> None:
    """Say in an adapter's files where its base is."""
    config = json.loads((output / CONFIG).read_text("utf-8"))
    config["base_model_name_or_path"] = str(base)
    for key, value in config.items():  # sets come in any order
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            config[key] = sorted(value)
    (output / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    memo = {"relative": os.path.relpath(base, final)}
    if quantised_to is not None:
        memo["quantisation"] = quantised_to
    (output / BASE).write_text(json.dumps(memo) + "\n", "utf-8")


def take_along(source: Path, copy: Path, final: Path, store: Path) -> None:
    """Make a copy of an adapter stand without the store: a base that lies there comes along.

    Args:
        source: The adapter's folder.
        copy: Its copy.
        final: Where the copy will be moved to.
        store: A base below this folder is copied too; another stays where it is.
    """
    base = base_folder(source)
    if base.is_relative_to(store.resolve()):
        if not (copy / "base").exists():
            shutil.copytree(base, copy / "base")
        base = final.resolve() / "base"
    point_to(copy, base, final.resolve(), quantisation(source))
