"""What the steps of a run were computed with, and where they differ in it."""

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN_VERSIONS = ("python", "retain", "torch", "transformers", "lm-eval", "numpy")
"""What the page shows of the versions in the records of steps."""

SAME_VERSIONS = ("torch", "transformers")
"""Libraries whose versions change figures: a run whose steps had several is warned of."""

Record = Mapping[str, Any]


def environment(records: Sequence[Record]) -> dict[str, str]:
    """What the steps of a run ran on, as their records say: not what is installed today."""
    found = {name: _told(records, name) for name in ("device", "precision", "threads")}
    packed = dict.fromkeys(r["facts"]["packed"] for r in records if "packed" in r["facts"])
    found["sequences"] = ["packed" if one else "one by one" for one in packed]
    found |= {name: _versions(records, name) for name in SHOWN_VERSIONS}
    return {name: ", ".join(values) for name, values in found.items() if values}


def unlike(records: Sequence[Record]) -> list[str]:
    """Warnings where steps of one run ran on unlike devices, threads or libraries."""
    found = {"device": _told(records, "device"), "number of threads": _told(records, "threads")}
    found["number of processes of a train step"] = _told(records, "processes")
    found |= {f"version of {name}": _versions(records, name) for name in SAME_VERSIONS}
    return [
        f"The steps of this run had more than one {name}: {', '.join(values)}. Figures may differ "
        "for that reason alone."
        for name, values in found.items()
        if len(values) > 1
    ]


def _told(records: Sequence[Record], name: str) -> list[str]:
    """Every value of a fact, in the order of steps.

    Training calls its threads num_threads; a device is told by its type, as training writes it.
    """
    names = ("num_threads", name) if name == "threads" else (name,)
    facts = [record["facts"] for record in records]
    values = [str(one[key]) for one in facts for key in names if key in one]
    return list(dict.fromkeys(v.partition(":")[0] if name == "device" else v for v in values))


def _versions(records: Sequence[Record], name: str) -> list[str]:
    versions = [record["versions"] for record in records]
    return list(dict.fromkeys(str(one[name]) for one in versions if name in one))
