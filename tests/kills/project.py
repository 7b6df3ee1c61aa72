"""What is killed: a small run with a step of every kind, and one phase trained in eight ways."""

import hashlib
import json
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

from retain import api, methods
from retain.api.prepared import Prepared, prepare
from retain.evaluate import samples
from retain.evaluate import step as evaluate_step
from retain.evaluate.judge import step as judge_step
from retain.execute import carry_out, here, own_run
from retain.methods.generative_replay import GenerativeReplay
from retain.pipeline.runners import Runners
from retain.rehearse import grow
from retain.report import figures, page
from retain.steps import Journal, Step, Store
from retain.train import loop
from tests.methods.toys import Ewc, Ties
from tests.rehearse.growing import NO_FILTERS

WORDS = ["cat", "dog", "sea", "mat", "bones", "heart", "muscle", "nerve", "blood", "drug", "dose"]
TRAIN = {"learning_rate": 1e-3, "precision": "fp32", "max_length": 64, "save_steps": 1}
BATCH_TOKENS = 100
"""Of an evaluation: few, so that it has several batches."""
UNEQUAL = ("MANIFEST.json", "record.json")
"""Files of a step that hold times."""
TIMES = ("seconds", "tokens_per_second")

EVERY_KIND = {
    "name": "every-kind",
    "phases": [
        {"name": "skill", "data": "skill.jsonl", "train": TRAIN | {"max_steps": 3}},
        {
            "name": "text",
            "data": "text.jsonl",
            "train": TRAIN | {"objective": "pretrain", "max_steps": 4, "batch_size": 4},
        },
    ],
    "evaluate": {
        "tasks": ["phases", {"name": "written", "data": "few.jsonl", "metric": "exact_match"}],
        "limit": 12,
        "probes": ["drift"],
        "during_phase": 1,
        "judge": {
            "model": "model",
            "tasks": ["written"],
            "limit": 3,
            "pairwise": False,
            "options": {"max_tokens": 4},
        },
    },
    "arms": {
        "none": [],
        "replay": [{"method": "experience_replay", "share": 0.2}],
        "freeze": {
            "methods": [{"method": "freeze", "select": "first", "num_layers": 1}],
            "from_phase": "skill",
            "train": {"boundary_cache": True},
        },
        "rehearse": [{"method": "toy_rehearse", "num_documents": 4, "max_new_tokens": 6}],
        "ewc": [{"method": "toy_ewc", "num_examples": 2}],
        "ties": [{"method": "toy_ties"}],
    },
}
"""An arm for each kind of step that only some methods have; a new kind needs its line here."""

REPORTED = {
    "name": "reported",
    "phases": [{"name": "few", "data": "few.jsonl", "train": TRAIN | {"max_steps": 1}}],
    "evaluate": {"tasks": ["phases"]},
    "arms": {"none": [], "low_rate": {"train": {"learning_rate": 1e-4}}},
}
"""What a report is written of."""

TUNINGS = {
    "full": {},
    "lora": {"train": {"tuning": "lora", "lora_r": 4, "lora_dropout": 0.1}},
    "qlora": {"train": {"tuning": "qlora", "lora_r": 4}},
    "freeze": {"methods": [{"method": "freeze", "select": "first", "num_layers": 1}]},
}
NUM_EPOCHS, STEPS_AN_EPOCH = 3, 6


@dataclass(frozen=True, kw_only=True)
class Rehearse(GenerativeReplay):
    """Generative replay that takes whatever a random model writes."""

    name = "toy_rehearse"

    allow_fewer: bool = True

    def rehearse(self, past):
        return replace(super().rehearse(past), filters=NO_FILTERS)


def every_tuning() -> dict:
    """A recipe of one phase, three epochs long: an arm for each tuning, packed and not."""
    arms = {}
    for packing in (True, False):
        for name, changes in TUNINGS.items():
            train = changes.get("train", {}) | {"packing": packing}
            arm = {"methods": changes.get("methods", []), "train": train}
            arms[f"{name}-{'packed' if packing else 'unpacked'}"] = arm
    train = TRAIN | {"save_steps": 2, "num_train_epochs": NUM_EPOCHS, "batch_size": 4}
    phase = {"name": "few", "data": "few.jsonl", "train": train, "held_out": {"count": 6}}
    return {
        "name": "every-tuning",
        "phases": [phase],
        "evaluate": {"tasks": ["phases"]},
        "arms": {"none": []} | arms,
    }


def set_stage() -> None:
    """Once in a process: methods that only tests have, and less to compute in a step."""
    methods.REGISTRY |= {toy.name: toy for toy in (Ewc, Ties, Rehearse)}
    methods.known.cache_clear()
    evaluate_step.open_engine = partial(evaluate_step.open_engine, budget_tokens=BATCH_TOKENS)
    samples.MAX_NEW_TOKENS = 4
    judge_step.LEAST_READABLE = 0.0  # a random model judges nobody
    grow.PORTION = 2
    figures.DOTS_PER_INCH = 20
    all_figures = figures._figures
    figures._figures = lambda *given: islice(all_figures(*given), 1)
    page._environment = cache(page._environment)
    here.give_back_memory = loop.give_back_memory = lambda: None  # it touches every page
    os.fsync = lambda descriptor: None  # a kill loses nothing written; only a power cut does


def write_data(folder: Path) -> None:
    """A skill with choices, running text, and few examples of one's own."""
    draw = random.Random(0)
    skill = [
        {
            "question": f"which has {' '.join(draw.choices(WORDS, k=4))} {i}?",
            "choices": ["Anatomy", "Surgery"],
            "answer": i % 2,
        }
        for i in range(80)
    ]
    text = [{"text": f"{' '.join(draw.choices(WORDS, k=40))} {i}"} for i in range(60)]
    few = [
        {"prompt": f"say {i}", "completion": " ".join(draw.choices(WORDS, k=2 + i % 9))}
        for i in range(4 * STEPS_AN_EPOCH + 6)
    ]
    for name, rows in {"skill": skill, "text": text, "few": few}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


class Bench:
    """One recipe, done once in ``whole``; its steps can be done again elsewhere.

    Args:
        values: The recipe, without the place of its model and data.
        folder: Where these are.
        whole: The runs folder of the run that nobody disturbs.
    """

    def __init__(self, values: dict, folder: Path, whole: Path) -> None:
        phases = [one | {"data": str(folder / one["data"])} for one in values["phases"]]
        recipe = values | {"model": str(folder / "model"), "phases": phases}
        recipe["evaluate"] = _in_folder(values["evaluate"], folder)
        self.prepared: Prepared = prepare(recipe, (), whole, None)
        self.whole = self.prepared.store
        self.name = values["name"]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps of the recipe."""
        return tuple(self.prepared.graph.steps)

    def needed(self) -> list[Step]:
        """What is done once, before anything is disturbed."""
        if self.name == "reported":
            return list(self.steps)
        kinds = self.one_of_each_kind()
        if self.name == "every-tuning":
            kinds = ("mix", "trainable", "boundary")
            given = [step for step in self.steps if step.kind in kinds]
            return [*given, self.training("lora-packed")]  # which loads what adapters need
        last = ("evaluate", "leak", "judge")
        return [step for step in self.steps if step.kind not in last] + [kinds[one] for one in last]

    def training(self, arm: str) -> Step:
        """The train step of an arm of a recipe with one phase."""
        [row] = [row for row in self.prepared.graph.rows if row.arm == arm and row.train]
        assert row.train is not None
        return row.train

    def one_of_each_kind(self) -> dict[str, Step]:
        """The step of every kind that builds on the most others."""
        found: dict[str, Step] = {}
        for step in self.steps:
            if step.kind not in found or len(step.inputs) > len(found[step.kind].inputs):
                found[step.kind] = step
        return found

    def do(self, runs: Path, targets: Iterable[Step] | None = None, listener=None) -> None:
        """What a user's command does, without the report: own the run, carry out its steps."""
        run_dir = runs / self.name
        with own_run(run_dir):
            carry_out(
                self.steps,
                Store(runs / api.STEPS),
                run=Runners(self.prepared.resolved, self.prepared.graph),
                journal=Journal(run_dir / "journal.jsonl"),
                targets=None if targets is None else list(targets),
                listener=listener,
            )

    def report(self, runs: Path) -> None:
        """What ``retain report`` does, on steps that are done."""
        at = replace(self.prepared, store=Store(runs / api.STEPS), runs=runs)
        run_dir = runs / self.name
        with own_run(run_dir), at.store.in_use():
            api.write_reports(at, run_dir, {}, show=False)

    def give(self, runs: Path, steps: Iterable[Step]) -> None:
        """Put finished steps into another runs folder, as hard links: they are only ever read."""
        for step in dict.fromkeys(steps):
            source = self.whole.path(step)
            for path in source.rglob("*"):
                target = runs / api.STEPS / step.folder / path.relative_to(source)
                if path.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.link(path, target)


def _in_folder(evaluate: dict, folder: Path) -> dict:
    """What is scored, with the places of the user's own test and of a judge."""
    tasks = [
        one if isinstance(one, str) else one | {"data": str(folder / one["data"])}
        for one in evaluate["tasks"]
    ]
    judge = evaluate.get("judge")
    here = {} if judge is None else {"judge": judge | {"model": str(folder / judge["model"])}}
    return evaluate | {"tasks": tasks} | here


def content(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a folder, times left out; of links, where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file() and path.name not in UNEQUAL:
            found[name] = hashlib.sha256(_timeless(path)).hexdigest()
    return found


def report_content(run_dir: Path) -> dict[str, str]:
    """Of a run folder: everything but the journal and the lock."""
    found = content(run_dir)
    return {name: value for name, value in found.items() if name not in ("journal.jsonl", ".lock")}


def _timeless(path: Path) -> bytes:
    if path.suffix not in (".json", ".jsonl") or "model" in path.parts:
        return path.read_bytes()
    lines = [path.read_text("utf-8")]
    if path.suffix == ".jsonl":
        lines = lines[0].splitlines()
    return json.dumps([_without_times(json.loads(line)) for line in lines]).encode()


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value
