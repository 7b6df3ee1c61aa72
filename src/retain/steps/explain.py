"""Why a step is new: which field differs from the nearest step that is finished."""

import json
from collections.abc import Mapping
from typing import Any

from retain.steps.entries import Entry
from retain.steps.fingerprint import Json
from retain.steps.step import NUM_FOLDER_DIGITS, Step
from retain.steps.store import Store

ABSENT = "(absent)"
MAX_TEXT = 80

Description = Mapping[str, Any]
Change = tuple[str, str, str]
"""Field, old value, new value."""


def explain(step: Step | Entry, store: Store) -> list[str]:
    """What makes a step new, one line a differing field: ``settings.learning_rate: 0.1 -> 0.2``.

    It is compared with the finished step of its kind that differs in the fewest fields (at a
    tie: one of the same name, then the latest). A differing input is followed into its own fields,
    so that the value a person changed is named, and each difference is told once.

    Args:
        step: A step that is planned, or an entry of the store (then: what made it new).
        store: The finished steps.
    """
    entries = {entry.fingerprint[:NUM_FOLDER_DIGITS]: entry for entry in store.entries()}
    known = {short: entry.record["step"] for short, entry in entries.items() if entry.record}
    if isinstance(step, Step):
        for each in _closure(step):
            known.setdefault(each.fingerprint[:NUM_FOLDER_DIGITS], each.describe())
        new: Description = step.describe()
        if store.finished(step):
            return [f"{step.folder}: finished, is reused"]
    else:
        new = step.record.get("step", {})
        if not new:
            return [f"{step.folder}: damaged ({'; '.join(step.faults)}), is computed again"]
    rivals = [
        entry
        for entry in entries.values()
        if entry.kind == new["kind"] and entry.record and entry.fingerprint != new["fingerprint"]
    ]
    if not rivals:
        return [f"no other step of kind '{new['kind']}' is finished: there is nothing to compare"]

    def distance(entry: Entry) -> tuple[int, bool, str]:
        changes = _changes(entry.record["step"], new, known)
        same_name = entry.record["step"]["name"] == new["name"]
        return len(changes), not same_name, _descending(str(entry.record.get("finished", "")))

    nearest = min(rivals, key=distance)
    lines = [f"nearest finished step: {nearest.folder}"]
    changes = _changes(nearest.record["step"], new, known)
    return lines + [f"{field}: {old} -> {now}" for field, old, now in changes]


def _changes(old: Description, new: Description, known: Mapping[str, Description]) -> list[Change]:
    """Differing fields of two steps; inputs that differ are opened, each pair once."""
    found: list[Change] = []
    seen: set[tuple[str, str]] = set()
    waiting = [("", old, new)]
    while waiting:
        prefix, before, after = waiting.pop(0)
        for field in ("version", "settings", "files"):
            found += _leaf_changes(f"{prefix}{field}", before[field], after[field])
        roles = dict.fromkeys([*before["inputs"], *after["inputs"]])
        for role in roles:
            place = f"{prefix}inputs.{role}"
            a, b = before["inputs"].get(role), after["inputs"].get(role)
            if a is None or b is None:
                found.append((place, _folder(a), _folder(b)))
                continue
            pair = (a["fingerprint"], b["fingerprint"])
            if pair[0] == pair[1] or pair in seen:
                continue
            seen.add(pair)
            opened = [known.get(fingerprint[:NUM_FOLDER_DIGITS]) for fingerprint in pair]
            if opened[0] is None or opened[1] is None:
                found.append((place, f"{_folder(a)} (its record is gone)", _folder(b)))
            else:
                waiting.append((f"{place}.", opened[0], opened[1]))
    return found


def _leaf_changes(place: str, old: Json, new: Json) -> list[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        parts = [(f"{place}.{key}", old.get(key, _MISSING), new.get(key, _MISSING)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = [(f"{place}[{i}]", *pair) for i, pair in enumerate(zip(old, new, strict=True))]
    else:
        same = type(old) is type(new) and old == new
        return [] if same else [(place, _text(old), _text(new))]
    return [change for part in parts for change in _leaf_changes(*part)]


_MISSING = object()


def _text(value: Json) -> str:
    if value is _MISSING:
        return ABSENT
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _folder(reference: Mapping[str, str] | None) -> str:
    return ABSENT if reference is None else reference["folder"]


def _descending(text: str) -> str:
    """A text that sorts the other way round."""
    return "".join(chr(0x10FFFF - ord(letter)) for letter in text)


def _closure(step: Step) -> list[Step]:
    seen: dict[Step, None] = {}
    waiting = [step]
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen[each] = None
            waiting.extend(each.inputs.values())
    return list(seen)
