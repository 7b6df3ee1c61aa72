"""A plan of what is too large to be tried here, from recorded facts: nothing is downloaded.

Models are counted from their configurations, data from recorded sizes. What it says of memory and
hours is arithmetic about devices that are not here (see ``devices.py``), not a measurement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from retain.data.split import MAX_HELD_OUT
from retain.estimate import at_hand, recorded
from retain.estimate.amounts import amount_of
from retain.estimate.devices import A100, Devices, device_hours, device_memory
from retain.estimate.recorded import DataSize
from retain.evaluate.catalog import GROUPS, Name
from retain.methods.base import overrides
from retain.methods.given import History, Past, Source
from retain.model.adapters import Adapter, num_parameters
from retain.model.facts import Facts
from retain.recipe import Cell, CellPhase, Recipe, Train, expand
from retain.train.estimate import TOKENIZER_BYTES, Phase, scoring_seconds

DEVICES = ("1x24GB", "1x80GB", "8x80GB")
DOCUMENTS, DOCUMENT_TOKENS = 1000, 200  # of a task that is not recorded
SHOT_TOKENS = 100
WRITTEN_AT_A_TIME = 8


@dataclass(frozen=True, kw_only=True)
class PhaseSize:
    """One phase of training, of all arms that share it.

    Attributes:
        variant: The first that trains it.
        arms: Those that do.
        phase: Its name.
        model: The base model.
        seeds: How often it is trained.
        steps: Of the optimizer, in one training; the other counts too.
        tokens: Computed.
        trained_tokens: Whose loss counts.
        trainable_parameters: That move.
        is_bound: Whether fewer move than are counted, because weights decide which.
        memory_bytes: Devices to what each of them holds at most.
        hours: Devices to their hours together, of one training.
        disk_bytes: Of the model folder.
    """

    variant: str
    arms: tuple[str, ...]
    phase: str
    model: str
    seeds: int
    steps: int
    tokens: float
    trained_tokens: float
    trainable_parameters: int
    is_bound: bool
    memory_bytes: Mapping[str, float]
    hours: Mapping[str, float]
    disk_bytes: float


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """What a recipe takes at full size.

    Attributes:
        devices: Label to the memory of each device.
        phases: Each once, however many arms share it.
        checkpoints: Models that are scored, seeds and base models counted.
        scoring_hours: Devices to their hours together, of all scoring.
        writing_hours: Of one device, for corpora that models write.
        download_bytes: Of the models, in 16 bits.
        notes: What a reader must know.
    """

    devices: Mapping[str, float]
    phases: tuple[PhaseSize, ...]
    checkpoints: int
    scoring_hours: float
    writing_hours: float
    download_bytes: float
    notes: tuple[str, ...] = field(default=())

    def hours(self, devices: str) -> float:
        """Device-hours of everything."""
        training = sum(one.seeds * one.hours[devices] for one in self.phases)
        return training + self.scoring_hours + self.writing_hours

    @property
    def disk_bytes(self) -> float:
        """Of all model folders that stay."""
        return sum(one.seeds * one.disk_bytes for one in self.phases)


def full_size(recipe: Recipe, devices: Sequence[str] = DEVICES) -> FullSize:
    """What every phase of every arm takes, each shared one once.

    Args:
        recipe: One of which `is_recorded` holds.
        devices: What to reckon for, such as ``8x80GB``.

    Raises:
        RecipeError: If devices are not understood.
        ModelError: If a configuration is not known to transformers.
    """
    maker = _Maker([Devices.of(text) for text in devices])
    for cell in expand(recipe):
        maker.add(cell)
    return maker.made(len(recipe.seeds))


class _Maker:
    """Walks through the cells and counts what they share once."""

    def __init__(self, devices: Sequence[Devices]) -> None:
        self.devices = devices
        self.phases: dict[str, PhaseSize] = {}
        self.models: dict[str, Facts] = {}
        self.scored: dict[tuple[str, str], float] = {}  # model and variant to seconds a checkpoint
        self.checkpoints: dict[tuple[str, str], set[str]] = {}
        self.written: dict[str, float] = {}
        self.notes: dict[str, None] = {}
        self.sizes: dict[str, DataSize] = {}

    def add(self, cell: Cell) -> None:
        if cell.recipe.model not in self.models:
            self.models[cell.recipe.model] = at_hand.model_facts(cell)
        facts = self.models[cell.recipe.model]
        if not at_hand.has_model(cell):
            self.notes.setdefault(f"{cell.recipe.model}: counted from its recorded configuration.")
        scored = (cell.recipe.model, cell.variant)
        if scored not in self.scored:
            self.scored[scored] = self.scoring_seconds(cell, facts)
            self.checkpoints[scored] = set()
        before: list[CellPhase] = []
        for planned in cell.phases:
            self.write(cell, planned, before, facts)
            before.append(planned)
            key = repr((cell.recipe.model, [_identity(one) for one in before]))
            self.checkpoints[scored].add(key)
            if key not in self.phases:
                self.phases[key] = self.phase(cell, planned, before, facts)
            elif cell.arm not in (arms := self.phases[key].arms):
                self.phases[key] = replace(self.phases[key], arms=(*arms, cell.arm))

    def made(self, num_seeds: int) -> FullSize:
        checkpoints = {one: len(keys) * num_seeds + 1 for one, keys in self.checkpoints.items()}
        return FullSize(
            devices={one.label: one.memory_bytes for one in self.devices},
            phases=tuple(self.phases.values()),
            checkpoints=sum(checkpoints.values()),
            scoring_hours=sum(self.scored[one] * n for one, n in checkpoints.items()) / 3600,
            writing_hours=sum(self.written.values()) * num_seeds / 3600,
            download_bytes=sum(2.0 * facts.num_parameters for facts in self.models.values()),
            notes=tuple(self.notes),
        )

    def phase(
        self, cell: Cell, planned: CellPhase, upto: Sequence[CellPhase], facts: Facts
    ) -> PhaseSize:
        """What one phase takes."""
        train = planned.train
        names = [one.name for one in upto[:-1]]
        amount = amount_of(planned, self.size_of, before=names)
        adapter = _adapter(train)
        adapter_parameters = 0
        moving: set[str] | None = None
        if adapter is not None:
            adapter_parameters = num_parameters(at_hand.model_folder(cell), adapter)
        else:
            moving = _moving(cell, planned, names, facts)
        chosen = any(overrides(method, "trainable") for method in planned.methods)
        size = Phase(
            num_steps=amount.steps,
            tokens=int(amount.tokens),
            trained_tokens=int(amount.trained_tokens),
            sequence_tokens=amount.tokens / max(1.0, amount.examples),
            precision="bf16",
            moving=moving,
            recomputed=train.gradient_checkpointing,
            adapter_parameters=adapter_parameters,
            quantised=train.tuning == "qlora",
            moment_bytes=2.0 if train.optimizer == "adamw_8bit" else 8.0,
        )
        every = facts.places if moving is None else moving
        trainable = adapter_parameters or sum(facts.places[name].size for name in every)
        return PhaseSize(
            variant=cell.variant,
            arms=(cell.arm,),
            phase=planned.name,
            model=cell.recipe.model,
            seeds=len(cell.recipe.seeds),
            steps=amount.steps,
            tokens=amount.tokens,
            trained_tokens=amount.trained_tokens,
            trainable_parameters=trainable,
            is_bound=chosen and moving is None,
            memory_bytes={one.label: device_memory(facts, size, one) for one in self.devices},
            hours={one.label: device_hours(facts, size, one) for one in self.devices},
            disk_bytes=4.0 * (adapter_parameters or facts.num_parameters) + TOKENIZER_BYTES,
        )

    def write(
        self, cell: Cell, planned: CellPhase, before: Sequence[CellPhase], facts: Facts
    ) -> None:
        """Count what is written before a phase: each corpus once."""
        past = Past(phases=tuple(one.name for one in before))
        for method in planned.methods:
            corpus: Any = method.rehearse(past)
            if corpus is None:
                continue
            asked = getattr(method, "max_new_tokens", 0)
            tokens = 2 * (corpus.num_tokens or corpus.full_size * asked)  # half is removed
            per_token = 4 * facts.num_parameters / (A100.bandwidth_gb_per_s * 1e9) + 0.02
            history = () if corpus.writer == "base" else tuple(_identity(one) for one in before)
            key = repr((cell.recipe.model, method.spec_of_corpus(), history))
            self.written[key] = tokens * per_token / WRITTEN_AT_A_TIME

    def scoring_seconds(self, cell: Cell, facts: Facts) -> float:
        """Time of one device to score one checkpoint on every task at every number of shots."""
        evaluate = cell.recipe.evaluate
        num_draws = 1 + len(evaluate.further_shots)
        beside = ("judge", "probes", "during_phase")
        for uncounted in (name for name in beside if getattr(evaluate, name)):
            self.notes.setdefault(f"evaluate.{uncounted}: not in the hours.")
        seconds = 0.0
        if evaluate.recovery:
            told = ", ".join(one.task for one in evaluate.recovery)
            self.notes.setdefault(f"Brief retunes for {told} are not counted.")
        for name, numbers in _shots_by_task(cell.recipe).items():
            documents, tokens = self._task(cell, name)
            documents = min(documents, evaluate.limit or documents)
            read = sum(
                documents * (tokens + SHOT_TOKENS * shots) * (num_draws if shots else 1)
                for shots in numbers
            )
            seconds += scoring_seconds(
                facts, A100, "bf16", tokens=int(read), scored_tokens=int(0.2 * read)
            )
        return seconds

    def _task(self, cell: Cell, name: str) -> tuple[int, float]:
        """Documents of a task and tokens of one."""
        if name.startswith("phase:"):
            size = self.size_of(cell.recipe.phase(name.removeprefix("phase:")).data[0])
            return min(MAX_HELD_OUT, round(0.1 * size.examples) + 1), size.tokens
        found = recorded.task_tokens(name)
        if found is None:
            self.notes.setdefault(
                f"{name}: its size is not recorded; {DOCUMENTS} documents of {DOCUMENT_TOKENS} "
                "tokens are taken."
            )
        return found or (DOCUMENTS, DOCUMENT_TOKENS)

    def size_of(self, source: Source) -> DataSize:
        """How much a source is, looked up once."""
        key = source.model_dump_json()
        if key not in self.sizes:
            self.sizes[key] = self._looked_up(source)
        return self.sizes[key]

    def _looked_up(self, source: Source) -> DataSize:
        found = at_hand.data_size(source)
        if not at_hand.has_data(source):
            about = "assumed" if found.assumed else "recorded"
            self.notes.setdefault(
                f"{source.source}: {found.examples:,} examples {about} ({found.origin}), "
                f"{found.tokens:g} tokens each assumed, {found.trained_tokens:g} of them answers."
            )
        return found


def _identity(planned: CellPhase) -> tuple[Any, ...]:
    """What must agree for two arms to share a phase."""
    parts = [(part.phase.data, part.train) for part in planned.parts]
    return (planned.name, planned.train, parts, [method.spec() for method in planned.methods])


def _adapter(train: Train) -> Adapter | None:
    """What a phase trains beside the weights."""
    if train.tuning == "full":
        return None
    values = train.of_adapter
    target = values["lora_target_modules"]
    return Adapter(
        kind=train.tuning,
        r=values.get("lora_r", 16),
        alpha=values.get("lora_alpha", 32),
        target_modules=target if isinstance(target, str) else tuple(target),
        embeddings=values["train_embeddings"],
        head=values["train_head"],
    )


def _moving(cell: Cell, planned: CellPhase, before: Sequence[str], facts: Facts) -> set[str] | None:
    """Names of the parameters that move; None for all, or where weights decide."""
    from retain.estimate.choice import UNREAD
    from retain.train.layers import arrange

    for method in planned.methods:
        if not overrides(method, "trainable"):
            continue
        history = History(base=UNREAD, checkpoints=dict.fromkeys(before, UNREAD))
        layers = arrange(facts.places, tied=facts.tied)
        try:
            chosen = method.trainable(layers, history, {}, Random(cell.seed))
        except (KeyError, IndexError):
            return None
        return None if chosen is None else set(chosen.names)
    return None


def _shots_by_task(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Every task that is scored, groups written out, own tests by their name; at how many shots."""
    found: dict[str, tuple[int, ...]] = {}
    own = {test.name for test in recipe.evaluate.own_tests}
    for name, shots in recipe.evaluate.shots_by_task(recipe.phase_names).items():
        inside: Sequence[Name] = [name] if name in own else GROUPS.get(name, [name])
        for one in inside:
            found.setdefault(one if isinstance(one, str) else str(one["name"]), shots)
    return found
