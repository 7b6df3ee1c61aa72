"""``MANIFEST.json``: the size and sha256 of each file of a folder, and whether they still hold."""

import json
from collections.abc import Mapping
from pathlib import Path

from retain.errors import RecipeError, StoreError
from retain.steps.fingerprint import Json, canonical, sha256_bytes, sha256_file

MANIFEST = "MANIFEST.json"
FORMAT = 1


def build_manifest(folder: Path, head: Mapping[str, Json]) -> dict[str, Json]:
    """The manifest of a complete folder.

    Args:
        folder: All of its files are listed, by name relative to it.
        head: Fields to put beside ``format`` and ``files``.

    Raises:
        StoreError: If it holds a link, a socket or a pipe: only plain files are kept.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(f"{path}: not a plain file; write a copy instead of a link")
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    files.pop(MANIFEST, None)
    return {"format": FORMAT, **head, "files": files}


def manifest_bytes(manifest: Mapping[str, Json]) -> bytes:
    """The manifest as it is written: with its own sha256, so that no byte of it can change."""
    signed = {**manifest, "sha256": sha256_bytes(canonical(manifest))}
    return json.dumps(signed, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read_manifest(folder: Path) -> dict[str, Json] | None:
    """The manifest of a folder, or None if there is none that is byte for byte as written."""
    try:
        return parse_manifest((folder / MANIFEST).read_bytes())
    except OSError:
        return None


def parse_manifest(content: bytes) -> dict[str, Json] | None:
    """The manifest of these bytes, or None if they are not as they were written."""
    try:
        manifest = json.loads(content)
        del manifest["sha256"]
        intact = manifest_bytes(manifest) == content
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, RecipeError):
        return None
    files = manifest.get("files")
    if not intact or manifest.get("format") != FORMAT or not isinstance(files, dict):
        return None
    return manifest if all(_is_entry(*item) for item in files.items()) else None


def quick_faults(folder: Path) -> list[str]:
    """What presence and sizes alone show to be wrong, one line a fault."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST} is missing or damaged"]
    faults = []
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif (size := path.stat().st_size) != entry["bytes"]:
            faults.append(f"{name} has {size} bytes instead of {entry['bytes']}")
    return faults


def faults(folder: Path, below: str = "") -> list[str]:
    """What is wrong with the files of a folder, content included; one line a fault.

    Args:
        folder: A sealed folder.
        below: Only this file, or the files below this folder of it; empty for all.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST} is missing or damaged"]
    found = []
    for name in names_below(manifest, below):
        if fault := file_fault(folder / name, manifest["files"][name]):
            found.append(f"{name} {fault}")
    return found


def file_fault(path: Path, entry: Mapping[str, Json]) -> str:
    """What is wrong with one file, or an empty string."""
    if not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != entry["bytes"]:
        return f"has {size} bytes instead of {entry['bytes']}"
    if sha256_file(path) != entry["sha256"]:
        return "has other content than was stored (its sha256 differs)"
    return ""


def names_below(manifest: Mapping[str, Json], below: str) -> list[str]:
    """The listed files that are ``below`` or are under it."""
    if not below:
        return list(manifest["files"])
    return [name for name in manifest["files"] if name == below or name.startswith(f"{below}/")]


def strangers(folder: Path, manifest: Mapping[str, Json], below: str = "") -> list[str]:
    """Files below a folder that its manifest does not list; dot files are nobody's business."""
    root = folder / below if below else folder
    if not root.is_dir():
        return []
    found = (path.relative_to(folder) for path in sorted(root.rglob("*")) if not path.is_dir())
    listed = {*manifest["files"], MANIFEST}
    return [
        path.as_posix()
        for path in found
        if path.as_posix() not in listed and not any(part.startswith(".") for part in path.parts)
    ]


def _is_entry(name: object, entry: object) -> bool:
    if not isinstance(name, str) or not isinstance(entry, dict):
        return False
    inside = name != "" and not name.startswith("/") and ".." not in name.split("/")
    return (
        inside
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
        and "\0" not in name
    )
