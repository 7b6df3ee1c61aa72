"""The training loop of one phase, top to bottom."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_

from retain.errors import TrainingError
from retain.methods.given import Memory
from retain.model.memory import is_out_of_memory
from retain.model.repeatable import repeatable
from retain.steps.fingerprint import Json
from retain.steps.memory import give_back_memory
from retain.steps.work import Work
from retain.train import below
from retain.train import snapshot as snapshots
from retain.train.checkpoints import Checkpoints
from retain.train.finite import check_step, check_weights
from retain.train.forward import make_forward
from retain.train.hooks import Gradients, Hooks
from retain.train.objective import Objective, step_weight
from retain.train.optimizer import load_state, make_optimizer, state_tensors
from retain.train.plan import Plan, halved
from retain.train.randomness import global_stream
from retain.train.recompute import recompute_activations
from retain.train.saving import Saver
from retain.train.schedule import learning_rate
from retain.train.settings import Settings
from retain.train.snapshot import Pace, Snapshot
from retain.train.stream import Row, Stream, memory_rows
from retain.train.team import Team

TRIM_STEPS = 8  # between two trims of the heap, which uneven sequences fragment
JOURNAL_SECONDS = 10.0  # between two lines about a training in progress
CHECK_STEPS = 100  # between two looks whether all processes hold the same weights
ALONE = Team()


@dataclass(frozen=True, kw_only=True)
class Point:
    """One optimizer step of the training curve.

    Attributes:
        step: Counted from 1.
        loss: Weighted mean over the step's trained tokens, nats, before the step.
        penalty: What the methods added to it.
        learning_rate: The rate used.
        grad_norm: Norm of the gradient, before clipping.
        tokens: Tokens computed in this step.
        trained_tokens: Tokens of it whose loss counted.
        seconds: What the step took.
    """

    step: int
    loss: float
    penalty: float
    learning_rate: float
    grad_norm: float
    tokens: int
    trained_tokens: int
    seconds: float


def train_phase(  # noqa: C901, PLR0913, PLR0915 - the one long function: reading it explains it
    model: Any,
    stream: Stream,
    settings: Settings,
    hooks: Hooks,
    plan: Plan,
    work: Work,
    checkpoints: Checkpoints | None = None,
    team: Team = ALONE,
) -> list[Point]:
    """Train ``model`` in place on every optimizer step of the stream, and return the curve.

    Goes on from the newest snapshot in ``work.partial``; the end is bit-equal to that of a run
    that was never stopped, on the same machine, threads and versions.

    Args:
        model: Prepared, with ``requires_grad`` on the parameters that move (``optimizer.choose``).
        stream: Checked (``stream.check_stream``).
        settings: Hyper-parameters.
        hooks: The methods that act in this phase.
        plan: Micro-batch and threads, fixed when the phase was first started.
        work: Where snapshots go, who is told, and whether to stop.
        checkpoints: What keeps model folders inside the phase.
        team: The processes that train this phase together, each of which calls this with the same
            model, stream and settings; rank 0 alone saves and is told of the curve.

    Raises:
        TrainingError: If a loss or gradient is not finite (nothing is applied), or a weight
            (nothing is saved); memory is short; or another process of the team is lost.
        StoreError: If a snapshot finds the disk full; the one before it stays.
        Interrupted: If ``work.stop()`` came true; what was done is saved if time allows.
    """
    num_steps = len(stream.steps)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    check_weights(parameters, 0, ())
    forward = make_forward(model, stream.longest_tokens)
    if not forward.packed and not model.config.is_encoder_decoder:
        work.event("one by one", reason="packed sequences give other results with this model")
    if stream.below:
        first = next(row for row in stream.steps[0] if row.num_trained_tokens)
        below.check(forward, stream.below, [first], settings.precision)
        forward = replace(forward, below=stream.below)
    objective = Objective(forward, hooks, settings.precision)
    team.check_same(dict(model.named_parameters()), 0)
    parameters = team.hold(forward, parameters, settings.precision)
    optimizer = make_optimizer(parameters, settings)
    checkpoints = checkpoints or Checkpoints(work, (), write=_nothing)
    curve = _resume(work, parameters, optimizer, checkpoints.first_missing, team)
    report = _Report(work, num_steps)
    recompute_activations(model, enabled=settings.gradient_checkpointing)
    model.train()

    def state() -> Snapshot:
        check_weights(parameters, len(curve), stream.steps[len(curve) - 1])
        return Snapshot(
            step=len(curve),
            weights=team.gathered(dict(parameters)),
            optimizer=team.gathered(state_tensors(optimizer, parameters)),
            state={"curve": [asdict(point) for point in curve]},
        )

    def held() -> dict[str, Tensor]:
        check_weights(parameters, len(curve), stream.steps[max(0, len(curve) - 1)])
        return {**parameters, **state_tensors(optimizer, parameters)}

    team.serve(held)
    checkpoints.boundary(len(curve))
    team.go_on()
    save_steps = num_steps + 1 if team.rank else settings.save_steps  # never but on rank 0
    pace = Pace(save_steps, 3 * sum(p.nbytes for p in parameters.values()))
    with (
        repeatable(model.device, wanted=settings.deterministic),
        Saver(work, state, pace, num_steps=num_steps, aside=not team.is_divided) as saver,
    ):
        for step in range(len(curve), num_steps):
            started = monotonic()
            rows = stream.steps[step]
            groups = team.groups(forward, rows, plan.micro_batch_tokens)
            losses: list[Tensor] = []
            while len(losses) < len(groups):
                try:
                    with global_stream(model.device, settings.seed, "dropout", step, *team.names):
                        for done, group in enumerate(groups):
                            rest = partial(_rest_seconds, curve, groups, done, started, team)
                            saver.leave_unless_it_fits(step, rest)
                            losses.append(_backward(objective, group, step_weight(rows)))
                except _OutOfMemoryError:
                    if team.is_divided or all(len(group) == 1 for group in groups):
                        raise  # ranks compute in step, or no less can be computed
                    optimizer.zero_grad()
                    losses = []
                    plan = halved(team.folder(work.partial), plan)
                    groups = team.groups(forward, rows, plan.micro_batch_tokens)
                    work.event("out of memory", micro_batch_tokens=plan.micro_batch_tokens)

            sums = torch.stack(losses).sum(0) if losses else torch.zeros(2, device=model.device)
            sums = team.sum(parameters, sums)
            if hooks.acting("project"):
                past = partial(_past_gradients, objective, parameters, plan, team)
                with global_stream(model.device, settings.seed, "past", step):
                    _project(parameters, hooks, past)
            _check_moves(parameters)
            norm = team.norm(parameters)
            loss, penalty, grad_norm = torch.cat([sums, norm[None]]).tolist()
            wrong = partial(_wrong_rows, groups, losses, rows, team)
            check_step((loss, penalty, grad_norm), step, rows, wrong, parameters)
            if settings.max_grad_norm:
                clip_grads_with_norm_(parameters.values(), settings.max_grad_norm, norm)
            rate = learning_rate(settings, step, num_steps)
            for param_group in optimizer.param_groups:
                param_group["lr"] = rate
            saver.before_change()
            _apply(optimizer)
            optimizer.zero_grad()
            hooks.after_step(parameters, step + 1)

            point = Point(
                step=step + 1,
                loss=loss,
                penalty=penalty,
                learning_rate=rate,
                grad_norm=grad_norm,
                tokens=sum(row.num_tokens for row in rows),
                trained_tokens=sum(row.num_trained_tokens for row in rows),
                seconds=monotonic() - started,
            )
            curve.append(point)
            report(point)
            if model.device.type == "cpu" and point.step % TRIM_STEPS == 0:
                give_back_memory()
            if point.step % CHECK_STEPS == 0 or point.step == num_steps:
                team.check_same(parameters, point.step)
            if point.step < num_steps:
                if point.step == checkpoints.first_missing:
                    check_weights(parameters, point.step, rows)
                    checkpoints.boundary(point.step)
                saver.boundary(point.step)
                team.go_on()

    check_weights(parameters, num_steps, stream.steps[-1])
    model.eval()
    recompute_activations(model, enabled=False)
    optimizer.state.clear()  # weights alone are asked for from here on
    if team.rank:
        team.go_on()
    return curve


def _nothing(folder: Path, final: Path, step: int) -> None:
    """No checkpoint is kept."""


def _rest_seconds(
    curve: Sequence[Point], groups: Sequence[Sequence[Row]], done: int, started: float, team: Team
) -> float:
    """What the rest of a step will take: at the rate of the last step, else of this one so far."""
    tokens = [sum(row.num_tokens for row in group) for group in groups]
    if curve:
        per_token = team.size * curve[-1].seconds / max(curve[-1].tokens, 1)
    elif done:
        per_token = (monotonic() - started) / sum(tokens[:done])
    else:
        return float("inf")  # nothing is done: there is nothing to lose
    return per_token * sum(tokens[done:])


def _wrong_rows(
    groups: Sequence[Sequence[Row]], losses: Sequence[Tensor], rows: Sequence[Row], team: Team
) -> Sequence[Row]:
    """Sequences of the micro-batches, on any rank, whose loss is not a number."""
    given = zip(groups, losses, strict=True)
    wrong = [row for group, loss in given if not loss.isfinite().all() for row in group]
    return team.union(rows, wrong)


def _backward(objective: Objective, rows: Sequence[Row], weight: float) -> Tensor:
    """Gradients of one micro-batch.

    Raises:
        _OutOfMemoryError: If memory runs out.
    """
    try:
        return objective.backward(rows, weight)
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise _out_of_memory(rows) from error
        raise


def _apply(optimizer: torch.optim.Optimizer) -> None:
    """One step of the optimizer.

    Raises:
        TrainingError: If its state, which is made in the first one, does not fit.
    """
    try:
        optimizer.step()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        number, size = sum(p.numel() for p in weights), 2 * sum(p.nbytes for p in weights) / 1e9
        raise TrainingError(
            f"out of memory in the optimizer: AdamW's two means of {number} weights take "
            f"{size:.1f} GB. Set optimizer: adamw_8bit (a quarter of it), or train an adapter "
            "(tuning: lora or qlora)"
        ) from error


def _check_moves(parameters: Mapping[str, Parameter]) -> None:
    """After the backward pass.

    Raises:
        TrainingError: If there is no gradient: training on would change nothing.
    """
    if all(p.grad is None for p in parameters.values()):
        raise TrainingError(
            f"none of the {len(parameters)} tensors that move (such as '{next(iter(parameters))}') "
            "takes part in the loss, so nothing would be learnt; let others move"
        )


def _project(parameters: Mapping[str, Parameter], hooks: Hooks, past: Any) -> None:
    gradients = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    for name, gradient in hooks.project(gradients, past).items():
        parameters[name].grad = gradient


def _past_gradients(
    objective: Objective,
    parameters: Mapping[str, Parameter],
    plan: Plan,
    team: Team,
    memory: Memory,
) -> Gradients:
    """Gradients of the mean loss on a memory's examples, at the present weights, unpenalised."""
    kept = {name: p.grad for name, p in parameters.items()}
    for p in parameters.values():
        p.grad = None
    rows = memory_rows(memory.examples)
    plain = Objective(objective.forward, Hooks(), objective.precision)
    for group in team.groups(objective.forward, rows, plan.micro_batch_tokens):
        _backward(plain, group, step_weight(rows))
    team.sum(parameters, torch.zeros(0, device=next(iter(parameters.values())).device))
    past = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    for name, p in parameters.items():
        p.grad = kept[name]
    return past


def _resume(
    work: Work,
    parameters: Mapping[str, Parameter],
    optimizer: torch.optim.Optimizer,
    last: int | None,
    team: Team,
) -> list[Point]:
    """Go back to the newest snapshot that verifies; the curve up to it, [] for a fresh start.

    Args:
        work: Where snapshots are.
        parameters: Get the snapshot's values.
        optimizer: Gets its state.
        last: The first checkpoint that is still to be kept; no later snapshot is taken.
        team: Whose rank 0 says which snapshot it is; the others read the same.
    """
    skipped: dict[str, Json] = {}
    found = None
    if team.rank == 0:
        found = snapshots.newest(work.partial, skipped.__setitem__, last=last)
    done = team.of_first(found.step if found else 0)
    if team.rank and done:
        found = snapshots.newest(work.partial, skipped.__setitem__, last=done)
        if found is None or found.step != done:
            raise TrainingError(
                f"the snapshot of step {done} is not the same to every process: {skipped}"
            )
    for name, faults in skipped.items():
        work.event("snapshot skipped", snapshot=name, faults=faults)
    if skipped:
        work.note(skipped_snapshots=skipped)
    if found is None:
        return []
    mine = team.mine(found)
    snapshots.restore(mine, parameters)
    load_state(optimizer, parameters, mine.optimizer)
    work.event("resumed", optimizer_step=found.step)
    return [Point(**point) for point in found.state["curve"]]


class _Report:
    """Tells the progress bar of every step, and the journal now and then."""

    def __init__(self, work: Work, num_steps: int) -> None:
        self._work = work
        self._num_steps = num_steps
        self._last = float("-inf")

    def __call__(self, point: Point) -> None:
        self._work.progress(point.step, self._num_steps, f"loss {point.loss:.3f}", "steps")
        self._work.figures(point.step, asdict(point))
        now = monotonic()
        if now - self._last >= JOURNAL_SECONDS or point.step == self._num_steps:
            self._last = now
            rate = point.tokens / max(point.seconds, 1e-9)
            figures = asdict(point)
            done = {"optimizer_step": figures.pop("step"), "of": self._num_steps}
            self._work.event("training", **done, **figures, tokens_per_second=round(rate, 1))


class _OutOfMemoryError(TrainingError):
    """Memory ran out; fewer tokens at once may fit."""


def _out_of_memory(rows: Sequence[Row]) -> _OutOfMemoryError:
    tokens = sum(row.num_tokens for row in rows)
    longest = max(row.num_tokens for row in rows)
    return _OutOfMemoryError(
        f"out of memory on {tokens} tokens at once (longest sequence {longest}). Set "
        "gradient_checkpointing: true, lower max_length, or train an adapter (tuning: lora or "
        "qlora); snapshots are kept"
    )
