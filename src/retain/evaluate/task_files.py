"""Reading lm-eval task files, and finding them by name, without lm-eval.

lm-eval's own index reads thousands of files, and importing it costs seconds more. What the index
says is remembered in the cache folder, keyed by lm-eval's version; folders of one's own are small
and read each time.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from retain.errors import TaskError

INDEX_FORMAT = 2
OWN = "own"  # what a spec calls the folder a user included
PAIR_METRICS = (
    *("stereotype", "stereotype_age", "stereotype_disability", "stereotype_gender"),
    *("stereotype_nationality", "stereotype_physical_appearance", "stereotype_race_color"),
    *("stereotype_religion", "stereotype_sexual_orientation", "stereotype_socioeconomic"),
)
"""Of CrowS-Pairs: the share of stereotypes, in all and by type of bias."""
REPETITIONS = ("repetition", *(f"repetition_{length}" for length in (4, 8, 12, 16, 20)))
"""Of written answers: the mean over n-grams, and each length by itself."""
UNITS = {
    "acc": "fraction",
    "acc_norm": "fraction",
    "acc_bytes": "fraction",
    "acc_mutual_info": "fraction",
    "exact_match": "fraction",
    "f1": "fraction",
    "mcc": "correlation",
    "rouge_1": "fraction",
    "rouge_l": "fraction",
    "bits_per_byte": "bits_per_byte",
    "byte_perplexity": "perplexity",
    "word_perplexity": "perplexity",
    "perplexity": "perplexity",
    "bleu": "bleu",
    "chrf": "chrf",
    "sari": "sari",
    "ter": "ter",
    "brier_score": "squared error",
    "icat": "points",
    "lms": "points",
    "ss": "points",
    **dict.fromkeys(("followed", "language_kept", *REPETITIONS), "fraction"),
    **{f"ss_{kind}": "points" for kind in ("gender", "profession", "race", "religion")},
    **dict.fromkeys(PAIR_METRICS, "points"),
}
LOWER_IS_BETTER = {
    "bits_per_byte",
    "byte_perplexity",
    "word_perplexity",
    "perplexity",
    "ter",
    "brier_score",
    *REPETITIONS,
    *("ss", "ss_gender", "ss_profession", "ss_race", "ss_religion"),
    *PAIR_METRICS,
}
DEFAULT_METRICS = {  # lm_eval.api.registry.DEFAULT_METRIC_REGISTRY
    "loglikelihood": ["perplexity", "acc"],
    "loglikelihood_rolling": ["word_perplexity", "byte_perplexity", "bits_per_byte"],
    "multiple_choice": ["acc", "acc_norm"],
    "generate_until": ["exact_match"],
}
MAIN_BY_KIND = {"loglikelihood": "acc", "loglikelihood_rolling": "bits_per_byte"}


@dataclass(frozen=True)
class Text:
    """A task file with what it includes.

    Attributes:
        config: Its settings; a function is the string ``!function module.name``.
        sha256: Of the file, the files it includes and the modules of its functions; of a task of
            one's own, of every module beside them, since those may import each other.
        code: Where it has Python run that is neither ours nor lm-eval's; "" if nowhere.
    """

    config: dict[str, Any]
    sha256: str
    code: str = ""

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Facts of its metrics; the first, or the kind's usual one, or ``main_metric``, is main."""
        kind = self.config.get("output_type", "generate_until")
        given = self.config.get("metric_list")
        listed = (
            given if isinstance(given, list) else [{"metric": m} for m in DEFAULT_METRICS[kind]]
        )
        names = [str(metric["metric"]) for metric in listed]
        chosen = (self.config.get("metadata") or {}).get("main_metric", MAIN_BY_KIND.get(kind))
        main = chosen if chosen in names else names[0]
        return [
            metric_facts(name, metric.get("higher_is_better"), is_main=name == main)
            for name, metric in zip(names, listed, strict=True)
        ]


@dataclass(frozen=True)
class TaskFile:
    """Where a task is written down.

    Attributes:
        name: The task.
        root: ``retain``, ``lm_eval``, or the folder the user included.
        path: Relative to the root.
        overrides: What the group it was found in changes, such as shots.
    """

    name: str
    root: str
    path: str
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "TaskFile":
        """The file of a resolved task; one of the user's is at the spec's ``at_file``."""
        file = spec["file"]
        if file["root"] != OWN:
            return cls(spec["name"], file["root"], file["path"], file["overrides"])
        assert "at_file" in spec, "a task of one's own needs its place: pass the whole spec"
        place = Path(spec["at_file"])
        return cls(spec["name"], str(place.parent), place.name, file["overrides"])

    @property
    def is_own(self) -> bool:
        """Whether it is the user's, not shipped with us or lm-eval."""
        return self.root not in ("retain", "lm_eval")

    @property
    def location(self) -> Path:
        """The file on this machine."""
        roots = {"retain": Path(__file__).with_name("tasks"), "lm_eval": lm_eval_tasks()}
        return roots.get(self.root, Path(self.root)) / self.path

    def read(self) -> Text:
        """Its settings and hash.

        Raises:
            TaskError: If it is gone or cannot be read.
        """
        try:
            reading = _Reading()
            config = _load(self.location, reading)
            if self.is_own and reading.code:
                reading.add_modules_beside()
        except (OSError, yaml.YAMLError) as error:
            raise TaskError(f"task '{self.name}': {self.location}: {error}") from error
        config |= self.overrides
        overrides = json.dumps(dict(self.overrides), sort_keys=True, default=str)
        reading.digest.update(overrides.encode())
        code = (reading.code or self._foreign_metric(config)) if self.is_own else ""
        return Text(config, reading.digest.hexdigest(), code)

    def check_trusted(self, text: Text) -> None:
        """Refuse a task that has Python run, unless the command line allowed it.

        Raises:
            TaskError: Names the file and the option.
        """
        from retain.model.reference import trust

        if text.code and not trust.remote_code:
            raise TaskError(
                f"task '{self.name}': {text.code}: that runs Python. Read it first; "
                "--trust-remote-code allows it"
            )

    def _foreign_metric(self, config: Mapping[str, Any]) -> str:
        """Where a metric is a script that the library evaluate would fetch and run."""
        listed = config.get("metric_list")
        for metric in listed if isinstance(listed, list) else []:
            if isinstance(metric, Mapping) and metric.get("hf_evaluate"):
                return f"{self.location}: metric {metric.get('metric')} has hf_evaluate"
        return ""


@dataclass
class _Reading:
    """What was met while a task file was read."""

    digest: Any = field(default_factory=sha256)
    seen: set[Path] = field(default_factory=set)
    functions: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def code(self) -> str:
        """The first file that calls Python not of lm-eval, and what it calls; "" if none does."""
        installed = lm_eval_tasks().resolve()
        foreign = (
            f"{path}: !function {named}"
            for path, named in self.functions
            if not path.resolve().is_relative_to(installed)
        )
        return next(foreign, "")

    def add_modules_beside(self) -> None:
        """Every module in the folders that were read from goes into the digest."""
        for folder in sorted({path.parent for path in self.seen}):
            for module in sorted({*folder.glob("*.py")} - self.seen):
                self.digest.update(json.dumps(module.name).encode() + module.read_bytes())


@dataclass(frozen=True)
class NotFound:
    """The names that are known instead."""

    names: list[str]


def metric_facts(
    name: str, higher_is_better: bool | None = None, *, is_main: bool
) -> dict[str, Any]:
    """Name, direction, unit and standing of a metric, as far as they are known without lm-eval."""
    better = name not in LOWER_IS_BETTER if higher_is_better is None else higher_is_better
    unit = UNITS.get(name, "")
    return {"name": name, "higher_is_better": better, "unit": unit, "is_main": is_main}


def lm_eval_tasks() -> Path:
    """The folder of lm-eval's task files, found without importing it."""
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise TaskError("lm-eval is not installed: pip install 'lm-eval>=0.4.13,<0.5'")
    return Path(spec.origin).parent / "tasks"


def find(name: str, include_path: Sequence[Path]) -> list[TaskFile] | NotFound:
    """The task of that name, or all tasks of the group or tag of that name.

    Folders of one's own come before lm-eval's, so that a task can be replaced.
    """
    index = _index(name, include_path)
    if name not in index:
        return NotFound(sorted(index))
    return _leaves(name, index, {})


def find_groups(name: str, include_path: Sequence[Path]) -> list[dict[str, Any]]:
    """The group of that name and those inside it, where their files say how scores are averaged.

    Each with ``name``, ``metrics`` (its ``aggregate_metric_list``), ``version`` and ``tasks``.
    """
    index = _index(name, include_path)
    found, left = [], [name]
    while left:
        entry = index.get(one := left.pop(0), {})
        inside = [m if isinstance(m, str) else m.get("task") for m in entry.get("members", [])]
        left += [member for member in inside if member not in left]
        if "metrics" in entry:
            tasks = list(dict.fromkeys(file.name for file in _leaves(one, index, {})))
            facts = {key: entry[key] for key in ("metrics", "version")}
            found.append({"name": one, "tasks": tasks} | facts)
    return found


def _index(name: str, include_path: Sequence[Path]) -> dict[str, Any]:
    index: dict[str, Any] = {}
    for folder in reversed(include_path):
        if not folder.is_dir():
            raise TaskError(f"include_path {folder}: no such folder")
        index |= _scan(folder, str(folder.absolute()))
    if not _knows(index, name):
        index = _lm_eval_index() | index
    return index


def _knows(index: Mapping[str, Any], name: str) -> bool:
    """Whether a name and, for a group, every member of it is in the index."""
    entry = index.get(name)
    if entry is None:
        return False
    inside = [one if isinstance(one, str) else one.get("task") for one in entry.get("members", [])]
    return all(not isinstance(one, str) or _knows(index, one) for one in inside)


def _leaves(name: str, index: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[TaskFile]:
    entry = index[name]
    if "members" not in entry:
        return [TaskFile(name, entry["root"], entry["path"], overrides)]
    found: list[TaskFile] = []
    for one in entry["members"]:
        extra = {} if isinstance(one, str) else {k: v for k, v in one.items() if k != "task"}
        inside = one if isinstance(one, str) else one.get("task")
        if not isinstance(inside, str) or inside not in index:
            raise TaskError(
                f"group '{name}': its member {inside!r} is written inside the group; "
                "give it a task file of its own, or name the other members"
            )
        changes = {**entry.get("overrides", {}), **overrides, **extra}
        found += _leaves(inside, index, changes)
    return found


def _lm_eval_index() -> dict[str, Any]:
    """lm-eval's names, remembered by its version; built once, in seconds."""
    from retain.embedded import cache_dir

    memo = cache_dir() / "lm_eval" / f"index-{INDEX_FORMAT}-{version('lm_eval')}.json"
    try:
        remembered: dict[str, Any] = json.loads(memo.read_text("utf-8"))
    except (OSError, ValueError):
        remembered = _scan(lm_eval_tasks(), "lm_eval")
        memo.parent.mkdir(parents=True, exist_ok=True)
        temporary = memo.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(remembered), "utf-8")
        temporary.replace(memo)
    return remembered


def _scan(root: Path, label: str) -> dict[str, Any]:
    """Tasks, groups and tags of a folder, by lm-eval's rules (``TaskIndex.build``)."""
    index: dict[str, Any] = {}
    tags: dict[str, list[str]] = {}
    paths = [path for path in root.rglob("*.yaml") if "__pycache__" not in path.parts]
    for path in sorted(paths, key=lambda path: path.as_posix()):
        try:
            config = _load(path, _Reading())
        except (OSError, yaml.YAMLError, TypeError):
            continue  # not a task file, as lm-eval sees it too
        entry, names = _entry(config, label, path.relative_to(root).as_posix())
        name = config.get("group") or config.get("task")
        if entry is not None and isinstance(name, str) and name not in index:
            index[name] = entry
            for tag in names:
                tags.setdefault(tag, []).append(name)
    return {**{tag: {"members": sorted(inside)} for tag, inside in tags.items()}, **index}


def _entry(
    config: Mapping[str, Any], label: str, path: str
) -> tuple[dict[str, Any] | None, list[str]]:
    """The index entry of one file, and its tags."""
    tag = config.get("tag") or []
    tags = tag if isinstance(tag, list) else [tag]
    inside = config.get("task")
    if "group" in config and "class" not in config and isinstance(inside, list):
        known = {"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag"}
        changes = {key: value for key, value in config.items() if key not in known}
        entry = {"members": inside, "overrides": changes}
        listed = config.get("aggregate_metric_list")
        metrics = [listed] if isinstance(listed, Mapping) else listed
        version = str((config.get("metadata") or {}).get("version", "N/A"))
        return entry | ({"metrics": metrics, "version": version} if metrics else {}), []
    if isinstance(inside, str):
        return {"root": label, "path": path}, [str(one) for one in tags]
    return None, []


def _load(path: Path, reading: _Reading) -> dict[str, Any]:
    """A task file with its includes merged; every file read goes into the digest."""
    content = path.read_bytes()
    reading.digest.update(content)
    reading.seen.add(path)
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc,valid-type]
        pass

    def function(loader: Any, node: Any) -> str:
        named = str(loader.construct_scalar(node))
        module = path.parent / f"{named.rpartition('.')[0].replace('.', '/')}.py"
        if module.is_file() and module not in reading.seen:
            reading.seen.add(module)
            reading.digest.update(module.read_bytes())
        reading.functions.append((path, named))
        return f"!function {named}"

    Loader.add_constructor("!function", function)
    config = yaml.load(content, Loader=Loader)  # a safe loader with one more tag
    if not isinstance(config, dict):
        raise yaml.YAMLError("not a mapping")
    merged: dict[str, Any] = {}
    included = config.pop("include", [])
    for name in included if isinstance(included, list) else [included]:
        inner = path.parent / str(name)
        if inner not in reading.seen:
            merged |= _load(inner, reading)
    return merged | config
