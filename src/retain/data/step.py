"""The step of kind ``data``: sources become training examples and held-out examples with roles."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from retain.data.check import NUM_LANGUAGE_SAMPLES, languages
from retain.data.example import Example, dumps
from retain.data.sources import Loaded, Source, embedded_notes, identity, load
from retain.data.split import HeldOut, Split, labels_of, order, split
from retain.errors import DataError
from retain.steps.work import Work

TRAIN, HELD_OUT, FACTS = "train.jsonl", "heldout.jsonl", "facts.json"
MAX_LABELS = 100  # more are not classes that a person reads


class Named(Protocol):
    """What a recipe says of a source; only the place is read, the rest is in the settings."""

    @property
    def source(self) -> str:
        """``embedded:NAME``, a path or a hub id."""


def run(work: Work, sources: Sequence[str | Named] | None = None) -> None:
    """Read the sources, part them, and write ``train.jsonl``, ``heldout.jsonl``, ``facts.json``.

    Args:
        work: Settings ``sources`` (each with ``split``, ``format``, ``sample``, ``share``,
            ``loss_weight`` as given), ``held_out`` (None holds nothing out) and ``max_items``.
        sources: Where each source lies, in the order of the settings, which name its content only.
            None where the settings say it (``source``).

    Raises:
        DataError: If a source is missing, broken, too small, or not what the step was made for.
    """
    settings = work.step.settings
    held_out = settings.get("held_out")
    specs = _sources(settings, sources)
    loaded: list[Loaded] = []
    for number, spec in enumerate(specs):
        work.check_stop()
        work.progress(number, len(specs), spec.name, "sources")
        _check_identity(spec, work.step.files)
        loaded.append(load(spec))
    names = _names(specs)
    examples, num_repeated = _union(names, loaded)
    if max_items := settings.get("max_items"):
        kept = {example.id for example in order(examples)[:max_items]}
        examples = [example for example in examples if example.id in kept]
    parted = Split(examples, []) if held_out is None else split(examples, HeldOut.of(held_out))
    if not parted.train:
        raise DataError(f"{', '.join(names)}: nothing is left to train on")
    _write(work.output / TRAIN, (example.to_json() for example in parted.train))
    role_of = {example.id: role for role, example in parted.held_out}
    ordered = order(example for _, example in parted.held_out)
    _write(work.output / HELD_OUT, (one.to_json() | {"role": role_of[one.id]} for one in ordered))
    facts = _facts(parted, dict(zip(names, zip(specs, loaded, strict=True), strict=True)))
    facts["counts"]["repeated_across_sources"] = num_repeated
    facts["notes"] += _held_out_note(held_out, parted)
    if marked := _canary_notes(names, parted.train):
        facts["notes"] += marked
        work.note(notes=marked)  # printed with the run's results
    (work.output / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1))
    work.progress(len(specs), len(specs), "", "sources")
    work.note(examples=len(parted.train), held_out=len(parted.held_out))


def read_examples(path: Path) -> list[Example]:
    """The examples of ``train.jsonl`` or ``heldout.jsonl``, in order."""
    with path.open(encoding="utf-8") as stream:
        return [Example.from_json(json.loads(line)) for line in stream]


def _sources(settings: Mapping[str, Any], places: Sequence[str | Named] | None) -> list[Source]:
    item_column = (settings.get("held_out") or {}).get("group_by") or "item"
    specs = [dict(spec) for spec in settings["sources"]]
    for spec, place in zip(specs, places or [], strict=places is not None):
        spec["source"] = place if isinstance(place, str) else place.source
    return [Source.of(spec, item_column) for spec in specs]


def _check_identity(source: Source, files: Mapping[str, str]) -> None:
    """What is read must be what the fingerprint says."""
    if files and (moved := set(identity(source).values()) - set(files.values())):
        raise DataError(
            f"{source.name}: changed since the run was planned ({len(moved)} of its files have "
            "another content); start the run again"
        )


def _names(sources: Sequence[Source]) -> list[str]:
    """What examples call each source: its label, numbered where two are the same."""
    labels = [source.label for source in sources]
    seen: Counter[str] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return names


def _union(names: Sequence[str], loaded: Sequence[Loaded]) -> tuple[list[Example], int]:
    """All examples under their source's name, each content once, and how many were left out."""
    examples: dict[str, Example] = {}
    num_read = 0
    for name, one in zip(names, loaded, strict=True):
        num_read += len(one.examples)
        for example in one.examples:
            named = example if example.source == name else replace(example, source=name)
            examples.setdefault(example.id, named)
    return list(examples.values()), num_read - len(examples)


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(dumps(row) + "\n")


def _facts(parted: Split, sources: Mapping[str, tuple[Source, Loaded]]) -> dict[str, Any]:
    """What a plan or a report says of the data."""
    held_out = [example for _, example in parted.held_out]
    roles = Counter(role for role, _ in parted.held_out)
    sample = order([*parted.train, *held_out])[:NUM_LANGUAGE_SAMPLES]
    return {
        "counts": {
            "train": len(parted.train),
            "held_out": len(held_out),
            **{role: roles[role] for role in ("pool", "select", "report")},
            "items": len({example.item for example in (*parted.train, *held_out)}),
        },
        "sources": {
            name: {
                "rows": loaded.num_read,
                "examples": len(loaded.examples),
                "duplicates": loaded.num_duplicates,
                "split": loaded.split,
                "splits": loaded.splits,
                "licences": loaded.licences,
                "share": source.share,
                "loss_weight": source.loss_weight,
            }
            for name, (source, loaded) in sources.items()
        },
        "licences": sorted({one for _, loaded in sources.values() for one in loaded.licences}),
        "languages": languages([" ".join(example.contents)[:1000] for example in sample]),
        "label_counts": {"train": _label_counts(parted.train), "held_out": _label_counts(held_out)},
        "bytes": {"train": _num_bytes(parted.train), "held_out": _num_bytes(held_out)},
        "kinds": dict(Counter(_kind(example) for example in (*parted.train, *held_out))),
        "notes": [
            note for name, (spec, found) in sources.items() for note in _notes(spec, name, found)
        ],
    }


def _notes(source: Source, name: str, loaded: Loaded) -> list[str]:
    notes = embedded_notes(source)
    if loaded.num_duplicates:
        notes.append(f"{name}: {loaded.num_duplicates} rows repeat an earlier one and are left out")
    others = [split for split in loaded.splits if split and split != loaded.split]
    if loaded.split and others:
        notes.append(f"{name}: split {loaded.split} is used, not {', '.join(sorted(others))}")
    return notes


def _held_out_note(held_out: Mapping[str, Any] | None, parted: Split) -> list[str]:
    asked = (held_out or {}).get("count")
    if asked is None or asked == len(parted.held_out):
        return []
    return [f"{asked} examples were to be held out; whole items give {len(parted.held_out)}"]


def _canary_notes(names: Sequence[str], train: Iterable[Example]) -> list[str]:
    """What is to be known before a benchmark's text is trained on."""
    marked = {example.source for example in train if example.canary}
    return [
        f"{name}: is of a benchmark that asks to be in no training corpus. Its canary stays in the "
        "files made of it; scores of that benchmark mean nothing for the trained model"
        for name in names
        if name in marked
    ]


def _label_counts(examples: Sequence[Example]) -> dict[str, int]:
    counts = Counter(label for label in labels_of(examples) if label)
    return dict(counts.most_common()) if len(counts) <= MAX_LABELS else {}


def _num_bytes(examples: Iterable[Example]) -> int:
    return sum(len(text.encode()) for example in examples for text in example.contents)


def _kind(example: Example) -> str:
    if example.messages is None:
        return "text"
    return "choices" if example.choices else "dialogue"
