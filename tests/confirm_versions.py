"""Confirm that every VERSION is right for the source as it is.

``python -m tests.confirm_versions`` writes ``tests/golden/versions.json``, which
``test_versions.py`` compares with. Review the difference with the change that made it.
"""

import json
import sys
from pathlib import Path

from retain.methods import REGISTRY
from retain.pipeline.kinds import KINDS
from retain.steps.source_hash import STOPS, sources_sha256

GOLDEN = Path(__file__).parent / "golden" / "versions.json"
VERIFIED = ("fetch", "cache", "table", "terms", "debian")
"""Modules of ``retain.embedded`` that deliver bytes whose sha256 is in the fingerprint anyway."""


def current():
    """Version and hash of the sources of every kind of step and every method."""
    methods = {name: method.__module__ for name, method in REGISTRY.items()}
    stops = [*STOPS, *methods.values(), *(f"retain.embedded.{name}" for name in VERIFIED)]
    kinds = {
        name: {
            "version": kind.version,
            "sources_sha256": sources_sha256(kind.runner, stops=stops),
        }
        for name, kind in KINDS.items()
    }
    return kinds | {
        f"method {name}": {
            "version": REGISTRY[name].VERSION,
            "sources_sha256": sources_sha256(module),
        }
        for name, module in methods.items()
    }


def main():
    kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    now = current()
    for name in sorted({*kept, *now}):
        old, new = kept.get(name, {}), now.get(name, {})
        if old != new:
            versions = f"{old.get('version', '-')} -> {new.get('version', '-')}"
            sys.stdout.write(f"{name}: VERSION {versions}, source confirmed\n")
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
