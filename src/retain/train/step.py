"""Steps of kind ``train``: one phase, from the model it starts with to the model it leaves.

Inputs: ``mix`` (stream.parquet); ``model`` (the train or finish step before, absent in a first
phase); ``boundary`` where what frozen blocks make is kept; ``trainable`` and ``memory:<...>`` where
methods ask for them.
Output: ``model/``, ``curve.jsonl``, ``facts.json``; where the setting ``during_phase`` asks for
them, ``checkpoints/<place>/``: model folders of inside the phase.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from retain.methods.base import Method
from retain.model import adapters, cache
from retain.model.adapters import has_magnitudes, is_adapted
from retain.model.auto_class import auto_class, by_peft
from retain.model.load import Loaded, load_model
from retain.model.save import save, save_adapter
from retain.model.threads import threads
from retain.steps.work import Work
from retain.train.below import read_below
from retain.train.card import CardFacts, Opening, model_card
from retain.train.checkpoints import Checkpoints, steps_inside
from retain.train.hooks import Hooks
from retain.train.loop import Point, train_phase
from retain.train.memory import read_memories
from retain.train.optimizer import choose
from retain.train.plan import Plan, activation_bytes, fixed_plan, make_plan
from retain.train.processes import Processes
from retain.train.randomness import global_stream
from retain.train.ranks import together
from retain.train.rounded import Rounded, first_loss, will_round
from retain.train.settings import Settings, read_settings
from retain.train.shards import Shards, put_into
from retain.train.stream import Stream, check_stream, read_stream
from retain.train.team import Team
from retain.train.tuning import HANDOVERS, Tuned, settled, tune

VERSION = 1
ALONE = Processes()
MODEL = "model"


@dataclass(frozen=True)
class Prepared:
    """A phase that can begin.

    Attributes:
        settings: Hyper-parameters.
        stream: What is learnt.
        hooks: The methods that act.
        tuned: The model as it was tuned.
        loaded: The same, with the structural changes of methods.
        moving: Number of weights that move.
        plan: How it is computed here.
        rounded: What it cost that weights got or lost their 4 bits.
    """

    settings: Settings
    stream: Stream
    hooks: Hooks
    tuned: Tuned
    loaded: Loaded
    moving: int
    plan: Plan
    rounded: Rounded | None = None


def run(  # noqa: PLR0913 - each by its name
    work: Work,
    *,
    base: Path,
    methods: Sequence[Method] = (),
    device: str = "auto",
    save_steps: int | None = None,
    processes: Processes = ALONE,
    card: CardFacts | None = None,
) -> None:
    """Train one phase and write its model, its curve and its facts.

    Args:
        work: The running step.
        base: Folder of the base model, where the phase starts if there is no input ``model``.
        methods: The methods that act inside this step, in the order of the arm.
        device: ``auto``, or a device of torch.
        save_steps: Optimizer steps between snapshots; None: as often as costs under 5 % of time.
        processes: That train the phase together, each on its part of every optimizer step.
        card: What the model's card says besides the figures.

    Raises:
        TrainingError: If there is nothing to train or to train on, a number is not finite, or
            another process is lost.
        ModelError: If the model does not open.
        Interrupted: On a signal; the same step goes on later.
    """
    start = together(work, processes=processes, device=device, base=base, methods=methods)
    with start as all_of_them:
        ready = prepared(work, base, methods, device, all_of_them.team, save_steps)
        shown = card or CardFacts(base.name, tuple(method.entry() for method in methods))
        all_of_them.join()
        _train(work, ready, all_of_them.team, shown, device)


def prepared(
    work: Work,
    base: Path,
    methods: Sequence[Method],
    device: str,
    team: Team,
    save_steps: int | None = None,
) -> Prepared:
    """All that comes before the first optimizer step; the same on every rank.

    Raises:
        TrainingError: If there is nothing to train or to train on.
        ModelError: If the model does not open.
    """
    settings = read_settings({"save_steps": save_steps, **work.step.settings})
    stream = read_stream(work.input("mix", "stream.parquet"))
    start = start_folder(work, base)
    loaded = cache.take(start, precision=settings.precision, device=device)
    check_stream(stream, loaded.vocab_size, loaded.context_tokens)
    stream = replace(stream, below=read_below(work, loaded.device))

    hooks = Hooks(
        methods=tuple(methods),
        memories=read_memories(work),
        seed=settings.seed,
        phase=str(work.step.settings.get("phase", "")),
    )
    final = work.store.path(work.step) / MODEL
    tells = team.rank == 0 and will_round(loaded, settings, first="model" not in work.step.inputs)
    left = first_loss(loaded, stream, settings) if tells else None
    with global_stream(loaded.device, settings.seed, hooks.phase, "prepare"):
        tuned = tune(loaded, settings.adapter, settings.handover, work.output / MODEL, final)
        rounded = None
        if left is not None:
            started = first_loss(tuned.loaded, stream, settings)
            rounded = Rounded(left, started, sum(row.num_trained_tokens for row in stream.steps[0]))
        loaded = replace(tuned.loaded, model=hooks.prepare(tuned.loaded.model))
    names = tuned.moving or _trainable_names(work) or _unfrozen(loaded.model)
    moving = choose(loaded.model, names)
    made = make_plan(settings, activation_bytes(loaded.model), loaded.device, team.size)
    return Prepared(
        settings=settings,
        stream=stream,
        hooks=hooks,
        tuned=tuned,
        loaded=loaded,
        moving=sum(p.numel() for p in moving.values()),
        plan=fixed_plan(team.folder(work.partial), made),
        rounded=rounded,
    )


def _train(work: Work, ready: Prepared, team: Team, shown: CardFacts, device: str) -> None:
    """Train what is ready, and write all that the step leaves."""
    settings, stream, tuned, loaded = ready.settings, ready.stream, ready.tuned, ready.loaded
    final = work.store.path(work.step) / MODEL
    whole = partial(_whole, team, loaded)
    checkpoints = Checkpoints(
        work=work,
        steps=steps_inside(settings.during_phase, len(stream.steps)),
        write=partial(_write_checkpoint, work, replace(tuned, loaded=loaded), whole, shown),
    )
    total = sum(p.numel() for p in loaded.model.parameters())
    started = monotonic()
    with threads(ready.plan.num_threads):
        curve = train_phase(
            loaded.model, stream, settings, ready.hooks, ready.plan, work, checkpoints, team
        )

    facts: dict[str, Any] = {
        "steps": len(curve),
        "tokens": stream.num_tokens,
        "trained_tokens": stream.num_trained_tokens,
        "trainable_parameters": ready.moving,
        "total_parameters": total,
        "seconds": sum(point.seconds for point in curve),
        "precision": settings.precision,
        "device": loaded.device.type,
    }
    if ready.rounded:
        facts["rounded"] = asdict(ready.rounded)
    if settings.during_phase:
        facts["checkpoints"] = checkpoints.finish()
    loaded = settled(replace(tuned, loaded=whole()), work.output / MODEL, final)
    team.go_on()
    _write(work, loaded, curve, facts, _card(work, facts, shown, loaded))
    seconds = monotonic() - started
    work.note(**facts, **asdict(ready.plan), processes=team.size, seconds_of_this_run=seconds)
    loaded.model.requires_grad_(False)
    loaded.model.zero_grad(set_to_none=True)
    if tuned.joins or team.is_divided:  # what is in memory is not what was saved, or not its place
        cache.clear()
        return
    base_of_next = loaded.base if is_adapted(loaded.model) else final
    loaded = replace(loaded, folder=final, base=base_of_next)
    cache.put(final, loaded, precision=settings.precision, device=device)


def start_folder(work: Work, base: Path) -> Path:
    """The model folder a step starts from: its input ``model``, or the base model."""
    return work.input("model", MODEL) if "model" in work.step.inputs else base


def _trainable_names(work: Work) -> list[str] | None:
    if "trainable" not in work.step.inputs:
        return None
    chosen = json.loads(work.input("trainable", "trainable.json").read_text("utf-8"))
    names: list[str] = chosen["names"]
    return names


def _unfrozen(model: torch.nn.Module) -> list[str]:
    """What a method's ``prepare`` left to move: everything, or an adapter it added."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def _card(work: Work, facts: Mapping[str, Any], card: CardFacts, loaded: Loaded) -> str:
    settings = work.step.settings
    shown = {key: facts[key] for key in ("steps", "trained_tokens", "trainable_parameters")}
    shown["learning_rate"] = settings["learning_rate"]
    if is_adapted(loaded.model):
        shown["tuning"] = settings["tuning"]
        if "model" in work.step.inputs:
            shown["handover"] = settings.get("handover", HANDOVERS[0])
    return model_card(work.step.name, card.base, shown, card.methods, _opening(loaded))


def _opening(loaded: Loaded) -> Opening:
    dtype = {"fp32": "float32", "bf16": "bfloat16"}[loaded.precision]
    by = auto_class(loaded.folder)
    if is_adapted(loaded.model) and has_magnitudes(loaded.model):
        by = by_peft(by)
    return Opening(by, dtype if loaded.quantisation else "")


def _whole(team: Team, loaded: Loaded) -> Loaded:
    """The trained model, to be saved: where ranks divide it, a copy that is put together."""
    if not isinstance(team, Shards):
        return loaded
    names = [name for name, p in loaded.model.named_parameters() if p.requires_grad]
    model = load_model(loaded.folder)
    put_into(team, model, names)
    return replace(loaded, model=model)


def _write_checkpoint(  # noqa: PLR0913 - the first four are given beforehand
    work: Work,
    tuned: Tuned,
    whole: Callable[[], Loaded],
    card: CardFacts,
    folder: Path,
    final: Path,
    step: int,
) -> None:
    """A model folder of inside the phase; training goes on with the model as it was."""
    ends = work.store.path(work.step) / MODEL
    loaded = settled(replace(tuned, loaded=whole(), joins=False), work.output / MODEL, ends)
    facts = {"steps": step, "learning_rate": work.step.settings["learning_rate"]}
    name = f"{work.step.name}, step {step}"
    text = model_card(name, card.base, facts, card.methods, _opening(loaded))
    with adapters.joined(loaded.model) if tuned.joins else nullcontext():
        _save(loaded, folder, final, text)


def _save(loaded: Loaded, output: Path, final: Path, card: str) -> None:
    if is_adapted(loaded.model):
        save_adapter(loaded.model, loaded, output, final, card)
    else:
        save(loaded.model, loaded.folder, output, card)


def _write(
    work: Work, loaded: Loaded, curve: Sequence[Point], facts: Mapping[str, Any], card: str
) -> None:
    _save(loaded, work.output / MODEL, work.store.path(work.step) / MODEL, card)
    lines = [json.dumps(asdict(point)) + "\n" for point in curve]
    (work.output / "curve.jsonl").write_text("".join(lines), "utf-8")
    (work.output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
