"""``record.json``: what a step was, what it took and what it ran on."""

import json
import platform
from datetime import UTC, datetime
from functools import cache
from importlib import metadata

from retain.steps.work import Work

RECORD = "record.json"
FORMAT = 1
LIBRARIES = (
    *("retain", "torch", "transformers", "tokenizers", "accelerate", "peft", "bitsandbytes"),
    *("lm-eval", "datasets", "pyarrow", "numpy", "safetensors"),
)


def record_text(work: Work, started: datetime, seconds: float) -> str:
    """The record of a step that ends now.

    Args:
        work: The step and the facts it noted.
        started: When its last, successful attempt began.
        seconds: How long that took.
    """
    record = {
        "format": FORMAT,
        "step": work.step.describe(),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "facts": work.facts,
        "versions": installed_versions(),
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


@cache
def installed_versions() -> dict[str, str]:
    """Versions of Python, platform and libraries, read without importing them."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
