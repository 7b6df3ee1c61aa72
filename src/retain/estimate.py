"""What a run would do and cost, before anything is trained or scored: ``retain plan``.

Data is read and mixed for real, in a folder that is thrown away, because only that tells how many
tokens a phase has and whether its shares can be. Weights are counted from the model's
configuration. Times follow from these and a short probe of the machine; a step that was finished
before is not in them.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from retain.errors import RecipeError, RetainError
from retain.evaluate.items import NUM_ROLE_PARTS
from retain.execute import carry_out
from retain.measure.statistics import planned_visible_change
from retain.methods import from_spec
from retain.methods.base import History, Past
from retain.pipeline.graph import Graph, Row
from retain.pipeline.resolve import Resolved
from retain.pipeline.runners import Runners
from retain.steps.journal import Journal
from retain.steps.step import Step
from retain.steps.store import Store

if TYPE_CHECKING:
    from retain.model.facts import Facts
    from retain.model.layers import Place
    from retain.train.estimate import Cost, Rates

OVERHEAD_SECONDS = {"evaluate": 2.0, "train": 4.0, "leak": 15.0, "sift": 15.0, "probe": 10.0}
"""Beside the arithmetic: opening a model, saving it, loading lm-eval."""
UNKNOWN_ITEMS, UNKNOWN_TOKENS = 500, 150
"""Items of a task whose data is not at hand, and tokens of one."""
CHARACTERS_PER_TOKEN = 4.0
ASKED = ("passage", "context", "question", "prompt")
GENERATED = (64, 64)
"""Items whose answers are written out, and tokens of an answer."""
ROLLING = (100, 1000)
"""Texts of english_bits_per_byte, and characters of one."""
WRITTEN_HERE = {"verifiable_instructions": (4000, 0, 8000), "minimal_pairs_": (3000, 2000, 0)}
"""How the names of tasks written here begin, to tokens that are read, scored and written."""
SAMPLE_TOKENS = 3 * 48
ANSWER_TOKENS, AT_A_TIME = 128, 8
"""Tokens of a rehearsed answer; how much faster many answers are written than one."""
SIFT = "sift"
NUM_MEASURED = 100
"""Held-out examples whose tokens are counted."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One step of a plan.

    Attributes:
        step: The step.
        is_cached: Whether it is finished and will be reused.
        tokens: Computed in it; None where that is not what it does.
        trained_tokens: Whose loss counts.
        trainable_parameters: That move in it.
        seconds: Expected; 0 for a cached step.
        memory_bytes: Expected at most.
        disk_bytes: That stay.
    """

    step: Step
    is_cached: bool
    tokens: int | None = None
    trained_tokens: int | None = None
    trainable_parameters: int | None = None
    seconds: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0


class Visible(NamedTuple):
    """What a task's items can show, before any is scored.

    Attributes:
        num_items: `report` items.
        change: The smallest true change of an accuracy that they show with power 80 %, if a fifth
            of them comes out otherwise; see `retain.measure.statistics.planned_visible_change`.
    """

    num_items: int
    change: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        lines: A line for each step, in the order they would be done.
        snapshot_bytes: The most that snapshots of one running step take besides.
        copy_bytes: Memory besides, while a snapshot is written in the background; not taken
            where it is more than half of the free or a sixteenth of all memory.
        notes: What a reader must know: rough counts, what happens in an arm.
        visible: Task to the smallest change of an accuracy that its items will show (`Visible`).
    """

    lines: tuple[Line, ...]
    snapshot_bytes: int
    copy_bytes: int = 0
    notes: tuple[str, ...] = field(default=())
    visible: Mapping[str, "Visible"] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of all new steps."""
        return sum(line.seconds for line in self.lines)

    @property
    def memory_bytes(self) -> int:
        """The most that one step takes."""
        return max((line.memory_bytes for line in self.lines), default=0)

    @property
    def final_disk_bytes(self) -> int:
        """That new steps leave behind."""
        return sum(line.disk_bytes for line in self.lines)

    @property
    def peak_disk_bytes(self) -> int:
        """That new steps take at most while they run."""
        return self.final_disk_bytes + self.snapshot_bytes


def make_plan(resolved: Resolved, graph: Graph, store: Store) -> Plan:
    """The plan of a graph; trains and scores nothing.

    Raises:
        RetainError: If data is broken, shares cannot be, or a model is not there.
    """
    with tempfile.TemporaryDirectory(prefix="retain-plan-") as folder:
        scratch = Store(Path(folder) / "steps")
        return _Estimator(resolved, graph, store, scratch, Path(folder)).plan()


class _Estimator:
    """Counts and times the steps of one graph."""

    def __init__(
        self, resolved: Resolved, graph: Graph, store: Store, scratch: Store, folder: Path
    ) -> None:
        self.resolved, self.graph, self.store, self.scratch = resolved, graph, store, scratch
        self.folder = folder
        self.notes: dict[str, None] = {}
        self.snapshot_bytes = self.copy_bytes = 0
        self.rates: dict[str, Rates] = {}
        self.known_facts: dict[str, Facts] = {}
        self.num_items: dict[str, int] = {}

    def plan(self) -> Plan:
        new = [step for step in self.graph.steps if not self.store.finished(step)]
        wanted = [_without_corpora(step)[0] for step in new if step.kind in ("data", "mix")]
        if wanted:
            journal = Journal(self.folder / "journal.jsonl")
            runners = Runners(self.resolved, self.graph)
            carry_out(wanted, self.scratch, run=runners, journal=journal)
        row_of = {step: row for row in self.graph.rows for step in _steps_of(row)}
        lines = [
            Line(step=step, is_cached=True)
            if self.store.finished(step)
            else self.line(step, row_of.get(step))
            for step in self.graph.steps
        ]
        for row in self.graph.rows:
            for note in row.planned.notes if row.planned else ():
                self.notes.setdefault(note)
        return Plan(
            lines=tuple(lines),
            snapshot_bytes=self.snapshot_bytes,
            copy_bytes=self.copy_bytes,
            notes=tuple(self.notes),
            visible={
                task: Visible(num_items, planned_visible_change(num_items))
                for task, num_items in self.num_items.items()
                if num_items
            },
        )

    def line(self, step: Step, row: Row | None) -> Line:
        """What a step that is not finished will take."""
        if row is not None and step.kind == "train":
            return self.train(step, row)
        if row is not None and step.kind in ("evaluate", "boundary", "task_boundary"):
            made: Line = getattr(self, step.kind)(step, row)
            return made
        if row is not None and step.kind == "rehearse":
            return self.rehearse(step, row)
        if row is not None and step.kind in ("remember", "finish"):
            facts = self.facts(row)
            disk = 4 * facts.num_parameters
            return Line(step=step, is_cached=False, seconds=10.0, disk_bytes=disk)
        size = _size(self.scratch.path(step)) if self.scratch.finished(step) else 0
        seconds = OVERHEAD_SECONDS.get(step.kind, 1.0)
        return Line(step=step, is_cached=False, seconds=seconds, disk_bytes=size)

    def train(self, step: Step, row: Row) -> Line:
        """A phase: from its mix, the parameters that move, and the probe."""
        from retain.train.estimate import Phase, training_cost

        assert row.mix is not None
        assert row.planned is not None
        mix = self.mix_facts(row.mix)
        facts, precision = self.facts(row), step.settings["precision"]
        adapter_parameters = self.adapter_parameters(step, row)
        moving = self.moving(step, facts) if not adapter_parameters else set()
        phase = Phase(
            num_steps=mix["num_steps"],
            tokens=mix["num_tokens"],
            trained_tokens=mix["trained_tokens"],
            sequence_tokens=mix["num_tokens"] / max(1, mix["num_examples"]),
            precision=precision,
            moving=moving,
            recomputed=step.settings["gradient_checkpointing"],
            micro_batch_tokens=max(512, row.planned.train.max_length),
            adapter_parameters=adapter_parameters,
            quantised=step.settings["tuning"] == "qlora",
            moment_bytes=2.0 if step.settings.get("optimizer") == "adamw_8bit" else 8.0,
            kept_blocks=self.kept_blocks(step, row),
        )
        cost: Cost = training_cost(facts, phase, self.rate(facts, precision))
        self.snapshot_bytes = max(self.snapshot_bytes, cost.snapshot_bytes)
        self.copy_bytes = max(self.copy_bytes, cost.copy_bytes)
        names = facts.places if moving is None else moving
        return Line(
            step=step,
            is_cached=False,
            tokens=phase.tokens,
            trained_tokens=phase.trained_tokens,
            trainable_parameters=adapter_parameters
            or sum(facts.places[name].size for name in names),
            seconds=cost.seconds + OVERHEAD_SECONDS["train"],
            memory_bytes=cost.memory_bytes,
            disk_bytes=cost.disk_bytes * (1 + step.settings.get("during_phase", 0)),
        )

    def boundary(self, step: Step, row: Row) -> Line:
        """What frozen blocks make of a mix, each distinct sequence once."""
        assert row.planned is not None
        mix = self.mix_facts(step.inputs["mix"])
        epochs = max(1.0, row.planned.train.num_train_epochs or 1.0)
        return self.states(step, row, int(mix["num_tokens"] / epochs), self.part_below(step, row))

    def states(self, step: Step, row: Row, tokens: int, part: float) -> Line:
        """States of so many tokens, made by a part of the model's blocks and kept on disk."""
        from retain.model.states_file import size_bytes
        from retain.train.estimate import scoring_seconds

        facts, stored = self.facts(row), step.settings["stored"]
        if not part:
            self.notes.setdefault(f"{step.name}: nothing is kept, its lowest block moves.")
        rates = self.rate(facts, stored)
        computed = int(part * tokens)
        seconds = scoring_seconds(facts, rates, stored, tokens=computed, scored_tokens=0)
        return Line(
            step=step,
            is_cached=False,
            tokens=tokens if part else 0,
            seconds=seconds + OVERHEAD_SECONDS["evaluate"],
            memory_bytes=4 * facts.num_parameters + 10**9,
            disk_bytes=size_bytes(tokens, facts.hidden_size, stored) if part else 0,
        )

    def mix_facts(self, mix: Step) -> dict[str, Any]:
        """Steps, examples and tokens of a mix; what is not written yet is counted by its share."""
        if self.store.finished(mix):
            found: dict[str, Any] = _read(self.store.open(mix, "facts.json"))
            return found
        plain, factor = _without_corpora(mix)
        facts: dict[str, Any] = _read(self.open(plain, "facts.json"))
        for key in ("num_examples", "num_tokens", "trained_tokens"):
            facts[key] = int(factor * facts[key])
        return facts

    def rehearse(self, step: Step, row: Row) -> Line:
        """A corpus: what it shall have, and as much again that filters remove."""
        facts, precision = self.facts(row), step.settings["precision"]
        corpus = from_spec(step.settings["methods"][0]).rehearse(Past())
        assert corpus is not None
        kept = corpus.num_tokens or corpus.full_size * ANSWER_TOKENS
        rates = self.rate(facts, precision)
        per_token = seconds_per_token(facts, rates)
        return Line(
            step=step,
            is_cached=False,
            tokens=2 * kept,
            seconds=2 * kept * per_token / AT_A_TIME + OVERHEAD_SECONDS["evaluate"],
            memory_bytes=4 * facts.num_parameters + 10**9,
            disk_bytes=10 * kept,
        )

    def evaluate(self, step: Step, row: Row) -> Line:
        """A task on a checkpoint: tokens read, tokens scored, answers written."""
        from retain.train.estimate import scoring_seconds

        facts, precision = self.facts(row), step.settings["precision"]
        tokens, scored, generated = self.task_tokens(step)
        tokens *= len(step.settings["num_fewshot"])
        part = 1 - self.part_below(step, row) if "boundary" in step.inputs else 1.0
        rates = self.rate(facts, precision)
        seconds = scoring_seconds(
            facts, rates, precision, tokens=int(part * tokens), scored_tokens=scored
        )
        at_a_time = AT_A_TIME if generated > SAMPLE_TOKENS else 1  # samples are a batch of three
        seconds += generated * seconds_per_token(facts, rates) / at_a_time
        return Line(
            step=step,
            is_cached=False,
            tokens=tokens,
            seconds=seconds + OVERHEAD_SECONDS["evaluate"],
            memory_bytes=4 * facts.num_parameters + 10**9,
        )

    def task_boundary(self, step: Step, row: Row) -> Line:
        """What frozen blocks make of a task: their forward pass, and the states on disk."""
        tokens = self.task_tokens(step)[0] * len(step.settings["num_fewshot"])
        return self.states(step, row, tokens, self.part_below(step, row))

    def part_below(self, step: Step, row: Row) -> float:
        """The part of a model's blocks that a step's choices of parameters leave as they are."""
        from retain.model.boundary import depth_below

        facts = self.facts(row)
        if facts.has_encoder:  # nothing is kept there, see model.boundary
            return 0.0
        chosen = [self.moving_in(one, facts) for r, one in step.inputs.items() if "trainable" in r]
        depths = [0 if names is None else depth_below(facts.places, names) for names in chosen]
        return min(depths) / facts.num_layers

    def task_tokens(self, step: Step) -> tuple[int, int, int]:
        """Tokens that a task reads, scores and has written, at 0 shots."""
        spec, limit = step.settings["task"], step.settings["limit"]
        if spec["kind"] == "phase":
            return self.phase_tokens(step, limit)
        if spec["kind"] == "own":
            return _own_tokens(self.resolved.tasks[spec["name"]], limit)
        if shipped := next(
            (v for k, v in WRITTEN_HERE.items() if spec["name"].startswith(k)), None
        ):
            return shipped
        if "data" in spec:
            return self.embedded_tokens(spec, limit)
        self.notes.setdefault(f"{spec['name']}: a rough guess, its data is not at hand.")
        items = min(limit or UNKNOWN_ITEMS, UNKNOWN_ITEMS)
        return items * UNKNOWN_TOKENS, items * 10, 0

    def phase_tokens(self, step: Step, limit: int | None) -> tuple[int, int, int]:
        """Of a phase's own task: its held-out examples, counted with the model's tokenizer."""
        lines = self.open(step.inputs["data"], "heldout.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        rows = [row for row in rows if row["role"] != "pool"][:limit]
        if all(row.get("choices") or row.get("reference") for row in rows):
            name = step.settings["task"]["name"]
            self.num_items[name] = sum(row["role"] == "report" for row in rows)
        measured = rows[:NUM_MEASURED]
        if not measured:
            return 0, 0, 0
        tokenizer = self.tokenizer(step)
        read = scored = 0
        for row in measured:
            texts = [m["content"] for m in row.get("messages") or ()] or [row["text"]]
            choices = sum(len(tokenizer(one).input_ids) for one in row.get("choices") or ())
            own = sum(len(tokenizer(text).input_ids) for text in texts)
            read += own + choices + 20
            scored += choices or (own if row.get("text") else len(tokenizer(texts[-1]).input_ids))
        scale = len(rows) / len(measured)
        written = any(r.get("reference") and not r.get("choices") for r in measured)
        generated = GENERATED[0] * GENERATED[1] if written else 0
        return int(read * scale), int(scored * scale), generated + SAMPLE_TOKENS

    def embedded_tokens(self, spec: Mapping[str, Any], limit: int | None) -> tuple[int, int, int]:
        """Of a shipped task, by the characters of its data."""
        from retain.data.embedded import load_embedded

        try:
            rows = load_embedded(spec["data"].removeprefix("embedded:"))
        except RetainError:
            return UNKNOWN_ITEMS * UNKNOWN_TOKENS, UNKNOWN_ITEMS * 10, 0
        if spec.get("output_type") == "loglikelihood_rolling":
            texts, characters = ROLLING
            tokens = int(min(limit or texts, texts) * characters / CHARACTERS_PER_TOKEN)
            return tokens, tokens, 0
        rows = [row for row in rows if row.get("split") != "train"][:limit]
        self.num_items[spec["name"]] = round(len(rows) * (1 - 1 / NUM_ROLE_PARTS))
        asked = sum(len(str(row.get(key, ""))) for row in rows for key in ASKED)
        choices = sum(len(choice) for row in rows for choice in row.get("choices", ()))
        return (
            int((asked + choices) / CHARACTERS_PER_TOKEN) + 10 * len(rows),
            int(choices / CHARACTERS_PER_TOKEN),
            0,
        )

    # ------------------------------------------------------------ what is known

    def open(self, step: Step, name: str) -> Path:
        """A file of a step that is finished, or was prepared for this plan."""
        store = self.store if self.store.finished(step) else self.scratch
        return store.open(step, name)

    def facts(self, row: Row) -> "Facts":
        """The base model's facts."""
        from retain.model.facts import describe

        reference, revision = self.model_of(row)
        if reference not in self.known_facts:
            self.known_facts[reference] = describe(reference, revision)
        return self.known_facts[reference]

    def model_of(self, row: Row) -> tuple[str, str | None]:
        """The base model's reference and revision."""
        cell = next(
            cell
            for cell in self.resolved.cells
            if (cell.variant, cell.arm) == (row.variant, row.arm)
        )
        return cell.recipe.model, cell.recipe.revision

    def tokenizer(self, step: Step) -> Any:
        """The tokenizer of the recipe's model."""
        from transformers import AutoTokenizer

        from retain.model.reference import folder

        recipe = self.resolved.recipe
        return AutoTokenizer.from_pretrained(folder(recipe.model, recipe.revision))

    def rate(self, facts: "Facts", precision: Any) -> "Rates":
        """What the machine does, measured once a precision."""
        from retain.train.estimate import measure_rates

        if precision not in self.rates:
            self.rates[precision] = measure_rates(facts, precision)
        return self.rates[precision]

    def adapter_parameters(self, step: Step, row: Row) -> int:
        """Numbers in the adapter that a phase trains; 0 where it trains weights."""
        from retain.model.adapters import num_parameters
        from retain.model.reference import folder
        from retain.train.settings import read_settings

        adapter = read_settings(step.settings).adapter
        return 0 if adapter is None else num_parameters(folder(*self.model_of(row)), adapter)

    def kept_blocks(self, step: Step, row: Row) -> int:
        """Lowest blocks that a phase need not compute."""
        if "boundary" not in step.inputs:
            return 0
        return round(self.part_below(step.inputs["boundary"], row) * self.facts(row).num_layers)

    def moving(self, step: Step, facts: "Facts") -> set[str] | None:
        """Names of the parameters that will move; None for all, or where weights decide."""
        choice = step.inputs.get("trainable")
        return None if choice is None else self.moving_in(choice, facts)

    def moving_in(self, choice: Step, facts: "Facts") -> set[str] | None:
        """Names of the parameters that a choice lets move; None where weights decide."""
        if self.store.finished(choice):
            return set(_read(self.store.open(choice, "trainable.json"))["names"])
        found = foreseen(choice, facts, self.graph.rows)
        if found is None:
            self.notes.setdefault(f"{choice.name}: its choice needs weights yet to be trained.")
        elif all(_is_norm(facts.places[name]) for name in found):
            self.notes.setdefault(f"{choice.name}: nothing but norms moves.")
        return found


def seconds_per_token(facts: "Facts", rates: "Rates") -> float:
    """Of one answer that is written alone: every weight is read once a token."""
    return 4 * facts.num_parameters / (rates.bandwidth_gb_per_s * 1e9) + 0.02


def foreseen(choice: Step, facts: "Facts", rows: Sequence[Row]) -> set[str] | None:
    """The parameters that a ``trainable`` step will choose; None where only weights can tell.

    Args:
        choice: The step.
        facts: Of the model.
        rows: Of the graph; a fault names the arms among them that would use the choice.

    Raises:
        RecipeError: If the choice matches nothing in this model, or leaves nothing to train.
    """
    from retain.train.layers import arrange
    from retain.train.randomness import stream

    method = from_spec(choice.settings["methods"][0])
    layers = arrange(facts.places, tied=facts.tied)
    settings = choice.settings
    rng = stream(int(settings["seed"]), str(settings.get("phase", "")), method.name, "trainable")
    unread = _Unread()
    weights = History(base=unread, checkpoints=dict.fromkeys(settings.get("history", ()), unread))
    try:
        chosen = method.trainable(layers, weights, {}, rng)
    except (KeyError, IndexError):
        return None
    except RecipeError as error:
        trained = [row for row in rows if row.train and choice in row.train.inputs.values()]
        arms = ", ".join(dict.fromkeys(f"arms.{row.arm}" for row in trained))
        raise RecipeError(f"{arms or choice.name}: {error}") from error
    return None if chosen is None else set(chosen.names)


def _is_norm(place: "Place") -> bool:
    return place.part == "final_norm" or place.kind == "norm"


class _Unread(Mapping[str, Any]):
    """Weights that a plan does not open: every name may be there, none has numbers yet."""

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _steps_of(row: Row) -> Iterator[Step]:
    corpora = [one for one in row.mix.inputs.values() if one.kind == SIFT] if row.mix else []
    written = [one.inputs["written"] for one in corpora]
    inside = [step for one in row.inside for step in one.values()]
    for step in (row.train, row.model, *written, *row.evaluations.values(), *inside):
        if step is not None:
            yield step
        if step is not None and "boundary" in step.inputs:
            yield step.inputs["boundary"]


def _without_corpora(mix: Step) -> tuple[Step, float]:
    """A mix without what a model has yet to write, and how much larger the whole one is."""
    corpora = {role for role, step in mix.inputs.items() if step.kind == SIFT}
    if not corpora:
        return mix, 1.0
    left = [one for one in mix.settings["sources"] if one["role"] not in corpora]
    gone = [one for one in mix.settings["sources"] if one["role"] in corpora]
    of_mix = sum(one["share"] for one in gone if one.get("share_base") == "final_mix")
    of_new = sum(one["share"] for one in gone if one.get("share_base") == "new_data")
    inputs = {role: step for role, step in mix.inputs.items() if role not in corpora}
    settings = {**mix.settings, "sources": left}
    plain = Step("mix", mix.name, mix.version, settings, inputs=inputs, files=mix.files)
    return plain, (1 + of_new) / (1 - of_mix)


def _own_tokens(spec: Mapping[str, Any], limit: int | None) -> tuple[int, int, int]:
    """Of a test of one's own, by the characters of its rows."""
    from retain.data.sources import load

    try:
        examples = load(spec["at_data"]).examples[:limit]
    except RetainError:
        if "data" not in spec:  # embedded data may not be fetched yet; a file is at hand
            raise
        return UNKNOWN_ITEMS * UNKNOWN_TOKENS, UNKNOWN_ITEMS * 10, GENERATED[0] * GENERATED[1]
    texts = [example.contents for example in examples]
    read = int(sum(len("".join(one)) for one in texts) / CHARACTERS_PER_TOKEN) + 10 * len(texts)
    if spec["metric"] == "bits_per_byte":
        return read, read, 0
    choices = sum(len(choice) for example in examples for choice in example.choices or ())
    scored = int(choices / CHARACTERS_PER_TOKEN)
    return read + scored, scored, 0 if choices else len(texts) * GENERATED[1]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
