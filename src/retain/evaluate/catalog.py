"""Which tasks are meant by some names, and what identifies each: neither torch nor lm-eval here.

A resolved task is a JSON value: the sha256 of its task file (with what that includes and the
functions it calls) and of its data, its version, its metrics; and the places of the user's files in
keys that start with ``at_``. What ``identity_of`` leaves of it goes into fingerprints. Embedded
tasks are read from our own task files. Others are found through lm-eval's index, which takes
seconds to build and is remembered in the cache folder.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retain.errors import TaskError, did_you_mean
from retain.evaluate.identity import identity_of, own_sha256, task_data
from retain.evaluate.task_files import (
    OWN,
    PAIR_METRICS,
    REPETITIONS,
    TaskFile,
    find,
    find_groups,
    metric_facts,
)

__all__ = [
    "GENERAL",
    "GROUPS",
    "METRICS",
    "Name",
    "Spec",
    "embedded_tasks",
    "groups_of",
    "has_answers",
    "identity_of",
    "main_metric",
    "members",
    "resolve",
    "task_names",
]
GENERAL = (
    *("embedded_boolq", "embedded_piqa", "english_bits_per_byte"),
    "verifiable_instructions",
)
MINIMAL_PAIRS = (
    "minimal_pairs_english_agreement",
    "minimal_pairs_english_case",
    "minimal_pairs_hindi_agreement",
    "minimal_pairs_hindi_case",
    "minimal_pairs_hindi_honorific",
    "minimal_pairs_nepali_agreement",
    "minimal_pairs_nepali_case",
    "minimal_pairs_nepali_honorific",
)
LANGUAGES = tuple(
    {"name": f"{language}_bits_per_byte", "data": f"embedded:udhr-{language}"}
    | {"metric": "bits_per_byte"}
    for language in ("en", "fr", "es", "ru", "ar", "hi", "ne", "bn", "sw", "id", "zh", "ja")
)
"""About 1,000 characters in each of twelve languages; another one is a test of one's own."""
PHASES = "phases"
PHASE = "phase:"
METRICS = (
    *("exact_match", "choice", "chrf", "bleu", "rouge_1", "rouge_l", "sari"),
    "bits_per_byte",
)
STEREOSET = "embedded_stereoset"
CROWS_PAIRS = "embedded_crows_pairs"
INSTRUCTIONS = "verifiable_instructions"
VERSIONS = {
    "lm_eval": 1,
    "phase": 1,
    "own": 2,
    "stereoset": 2,
    "crows_pairs": 1,
    "instructions": 3,
}  # of how we drive each kind; raise by hand
TASK_FILES = Path(__file__).with_name("tasks")

Name = str | Mapping[str, Any]
GROUPS: Mapping[str, Sequence[Name]] = {
    "general": GENERAL,
    "minimal_pairs": MINIMAL_PAIRS,
    "languages": LANGUAGES,
}
Spec = dict[str, Any]
Maker = Callable[[], Spec]


def resolve(
    names: Sequence[Name],
    *,
    groups: Mapping[str, Sequence[Name]] | None = None,
    include_path: Sequence[str | Path] = (),
    phases: Sequence[str] = (),
) -> list[Spec]:
    """The tasks meant, each once, in order of first mention.

    Args:
        names: Task names, groups (``general``, a recipe's own, lm-eval's), ``phases`` for the
            held-out split of every phase, ``phase:NAME`` for one, or a test of one's own as
            ``{name, data, metric}``.
        groups: Groups of the recipe; one called ``general`` replaces the shipped one.
        include_path: Folders with lm-eval task files of one's own.
        phases: Names of the recipe's phases.

    Raises:
        TaskError: If any name is not known, or its file would run Python that nobody allowed;
            names all of them, each with the nearest.
        DataError: If the data of a test of one's own is not there.
    """
    specs: dict[str, Spec] = {}
    unknown: list[str] = []
    for name in _expanded(names, {**GROUPS, **(groups or {})}, phases):
        try:
            for task, make in _found(name, include_path, phases):
                if task not in specs:
                    specs[task] = make()
        except TaskError as error:
            unknown.append(str(error))
    if unknown:
        raise TaskError("\n".join(unknown))
    return list(specs.values())


def members(
    groups: Mapping[str, Sequence[Name]],
    *,
    include_path: Sequence[str | Path] = (),
    phases: Sequence[str] = (),
) -> dict[str, list[str]]:
    """The names of the tasks in each group; the shipped groups are there too."""
    return {
        group: task_names(inside, groups=groups, include_path=include_path, phases=phases)
        for group, inside in {**GROUPS, **groups}.items()
    }


def task_names(
    names: Sequence[Name],
    *,
    groups: Mapping[str, Sequence[Name]],
    include_path: Sequence[str | Path] = (),
    phases: Sequence[str] = (),
) -> list[str]:
    """The names of the tasks that ``resolve`` gives, without reading them."""
    return list(
        dict.fromkeys(
            task
            for name in _expanded(names, {**GROUPS, **groups}, phases)
            for task, _ in _found(name, include_path, phases)
        )
    )


def groups_of(
    names: Sequence[Name],
    *,
    groups: Mapping[str, Sequence[Name]] | None = None,
    include_path: Sequence[str | Path] = (),
) -> list[dict[str, Any]]:
    """lm-eval's groups among the names, and those inside them; see ``find_groups``."""
    folders = [Path(folder) for folder in include_path]
    found: dict[str, dict[str, Any]] = {}
    shipped = embedded_tasks()
    for name in _expanded(names, {**GROUPS, **(groups or {})}, ()):
        if isinstance(name, str) and name not in shipped:
            found |= {group["name"]: group for group in find_groups(name, folders)}
    return list(found.values())


def embedded_tasks() -> list[str]:
    """Names of the tasks that are shipped, their data embedded or written here."""
    return sorted([*MADE_HERE, *(path.stem for path in TASK_FILES.glob("*.yaml"))])


def main_metric(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Name, direction and unit of the metric that stands for a resolved task."""
    found: dict[str, Any] = next(metric for metric in spec["metrics"] if metric["is_main"])
    return found


def has_answers(spec: Mapping[str, Any]) -> bool:
    """Whether a model writes answers to a resolved task; of a phase only its data can tell."""
    match spec["kind"]:
        case "own":
            return spec["metric"] not in ("choice", "bits_per_byte")
        case "lm_eval":
            return bool(spec["output_type"] == "generate_until")
        case kind:
            return kind in ("phase", "instructions")


def _expanded(
    names: Iterable[Name], groups: Mapping[str, Sequence[Name]], phases: Sequence[str]
) -> list[Name]:
    """Groups and ``phases`` replaced by what is in them."""
    flat: list[Name] = []
    for name in names:
        if name == PHASES:
            flat += [PHASE + phase for phase in phases]
        elif isinstance(name, str) and name in groups:
            flat += _expanded(groups[name], {k: v for k, v in groups.items() if k != name}, phases)
        else:
            flat.append(name)
    return flat


def _found(
    name: Name, include_path: Sequence[str | Path], phases: Sequence[str]
) -> list[tuple[str, Maker]]:
    """The tasks of a name, each with what makes its spec, so that names alone cost no hashing."""
    if not isinstance(name, str):
        return [(str(name.get("name")), partial(_own, name))]
    if name.startswith(PHASE):
        return [(name, partial(_phase, name, phases))]
    if name in MADE_HERE:
        return [(name, MADE_HERE[name])]
    shipped = TASK_FILES / f"{name}.yaml"
    if shipped.is_file():
        return [(name, partial(_of_file, TaskFile(name, "retain", shipped.name)))]
    found = find(name, [Path(folder) for folder in include_path])
    if isinstance(found, list):
        return [(file.name, partial(_of_file, file)) for file in found]
    close = get_close_matches(name, [*embedded_tasks(), *GROUPS, *found.names], n=3, cutoff=0.6)
    guess = f" Did you mean {' or '.join(repr(one) for one in close)}?" if close else ""
    raise TaskError(
        f"unknown task '{name}'.{guess} Shipped: {', '.join((*embedded_tasks(), *GROUPS))}; "
        f"and lm-eval's {len(found.names)} names (`lm-eval ls tasks`)."
    )


def _phase(name: str, phases: Sequence[str]) -> Spec:
    if name.removeprefix(PHASE) not in phases:
        raise TaskError(did_you_mean("phase", name.removeprefix(PHASE), list(phases)))
    return {
        "name": name,
        "kind": "phase",
        "version": VERSIONS["phase"],
        "metrics": [
            metric_facts(metric, is_main=metric in ("acc", "bits_per_byte"))
            for metric in ("acc", "bits_per_byte", "chrf", "exact_match")
        ],
    }


def _stereoset() -> Spec:
    from retain.embedded import identity

    names = ("icat", "lms", "ss", "ss_gender", "ss_profession", "ss_race", "ss_religion")
    return {
        "name": STEREOSET,
        "kind": "stereoset",
        "version": VERSIONS["stereoset"],
        "metrics": [metric_facts(name, is_main=name == names[0]) for name in names],
        "data": "embedded:stereoset",
        "data_sha256": identity("stereoset"),
    }


def _crows_pairs() -> Spec:
    from retain.embedded import identity

    return {
        "name": CROWS_PAIRS,
        "kind": "crows_pairs",
        "version": VERSIONS["crows_pairs"],
        "metrics": [metric_facts(name, is_main=name == PAIR_METRICS[0]) for name in PAIR_METRICS],
        "data": "embedded:crows-pairs",
        "data_sha256": identity("crows-pairs"),
    }


def _instructions() -> Spec:
    from retain.evaluate.instructions import identity

    names = ("followed", "language_kept", *REPETITIONS)
    return {
        "name": INSTRUCTIONS,
        "kind": "instructions",
        "version": VERSIONS["instructions"],
        "output_type": "generate_until",
        "metrics": [metric_facts(name, is_main=name == names[0]) for name in names],
        "data_sha256": identity(),
    }


MADE_HERE: Mapping[str, Maker] = {
    STEREOSET: _stereoset,
    CROWS_PAIRS: _crows_pairs,
    INSTRUCTIONS: _instructions,
}
"""Shipped tasks that no file of lm-eval's describes."""


def _own(given: Mapping[str, Any]) -> Spec:
    wanted = {"name", "data", "metric"}
    if set(given) != wanted or not all(isinstance(value, str) for value in given.values()):
        got = ", ".join(f"{key}: {value!r}" for key, value in given.items())
        raise TaskError(f"a test of one's own has name, data and metric, each a string; got {got}")
    if given["metric"] not in METRICS:
        what = f"metric of the test '{given['name']}':"
        raise TaskError(did_you_mean(what, given["metric"], list(METRICS)))
    metric = {"choice": "acc"}.get(given["metric"], given["metric"])
    spec = {
        "name": given["name"],
        "metric": given["metric"],
        "kind": "own",
        "version": VERSIONS["own"],
        "data_sha256": own_sha256(given["data"]),
        "metrics": [metric_facts(metric, is_main=True)],
        "at_data": given["data"],
    }
    return spec | ({"data": given["data"]} if given["data"].startswith("embedded:") else {})


def _of_file(file: TaskFile) -> Spec:
    """The task in a file, without importing lm-eval."""
    text = file.read()
    file.check_trusted(text)
    metadata = text.config.get("metadata") or {}
    spec = {
        "name": file.name,
        "kind": "lm_eval",
        "version": VERSIONS["lm_eval"],
        "task_version": str(metadata.get("version", "")),
        "lm_eval": version("lm_eval"),
        "file": {"root": file.root, "path": file.path, "overrides": dict(file.overrides)},
        "sha256": text.sha256,
        "output_type": text.config.get("output_type", "generate_until"),
        "metrics": text.metrics,
    }
    if file.is_own:
        spec["file"] = {"root": OWN, "overrides": dict(file.overrides)}
        spec["at_file"] = str(file.location.absolute())
    data = metadata.get("data") if file.root == "retain" else None
    if data is None:
        return spec | task_data(file, text.config)
    from retain.embedded import identity

    return spec | {"data": f"embedded:{data}", "data_sha256": identity(data)}
