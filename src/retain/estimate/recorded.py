"""Facts of models and data sets that are not at hand, from the record that is shipped.

``recorded.yaml`` holds the shapes of published models, as their configurations give them, and sizes
of data sets. With them a plan can say what a large run takes before anything is downloaded. A
model's parameters are counted by building it from the recorded configuration without weights, by
the same code that counts one that is there.
"""

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from retain.embedded.cache import cache_dir
from retain.model.reference import memorise

RECORD = Path(__file__).with_name("recorded.yaml")
LIKE = "like"


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """How much a data set is.

    Attributes:
        examples: In the split that is read.
        tokens: Of one example, prompt and template included.
        trained_tokens: Of one example, that a loss on answers counts.
        assumed: Whether ``examples`` too is a guess.
        origin: Where ``examples`` is from.
    """

    examples: int
    tokens: float
    trained_tokens: float
    assumed: bool = False
    origin: str = ""


def model_config(reference: str) -> dict[str, Any] | None:
    """What the configuration of a published model says of its shape; None where none is recorded.

    >>> model_config("meta-llama/Meta-Llama-3-8B-Instruct")["hidden_size"]
    4096
    """
    found: dict[str, Any] | None = _record()["models"].get(reference)
    if found is not None and LIKE in found:
        return model_config(found[LIKE])
    return found


def model_folder(reference: str) -> Path:
    """A folder of the cache with the recorded configuration and nothing else.

    Raises:
        KeyError: If no model of that name is recorded.
    """
    config = model_config(reference)
    if config is None:
        raise KeyError(reference)
    text = json.dumps(config, sort_keys=True)
    folder = cache_dir() / "recorded" / sha256(text.encode()).hexdigest()[:16]
    memorise(folder / "config.json", config)
    return folder


def data_size(source: str) -> DataSize | None:
    """The recorded size of a data set, by its name in a recipe; None where none is recorded.

    >>> data_size("my.jsonl").assumed
    True
    """
    found = _record()["data"].get(source.partition("#")[0])
    if found is None:
        return None
    values = {"origin" if key == "from" else key: value for key, value in found.items()}
    return DataSize(**values)


def task_tokens(name: str) -> tuple[int, int] | None:
    """Documents of an lm-eval task or group and tokens of one; None where none is recorded."""
    found = _record()["tasks"].get(name)
    return None if found is None else (found["documents"], found["tokens"])


@cache
def _record() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(RECORD.read_text("utf-8"))
    return found
