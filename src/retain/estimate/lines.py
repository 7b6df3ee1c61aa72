"""What each step of a plan will take."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.estimate.known import Known
from retain.estimate.plan import Line
from retain.estimate.task_tokens import SAMPLE_TOKENS, TaskTokens
from retain.execute.processes import visible_gpus
from retain.methods import from_spec
from retain.methods.given import Past
from retain.pipeline.graph import Row
from retain.pipeline.score_steps import takes_shots
from retain.recipe.train import HANDOVER, Train
from retain.steps.step import Step

if TYPE_CHECKING:
    from retain.model.facts import Facts
    from retain.train.estimate import Cost, Phase, Rates

OVERHEAD_SECONDS = {"evaluate": 2.0, "train": 4.0, "leak": 15.0, "sift": 15.0, "probe": 10.0}
"""Beside the arithmetic: opening a model, saving it, loading lm-eval."""
NUM_WRITTEN, SECONDS_OF_VERDICT = 64, 2.0
"""Answers to judge where their number is not known; what one verdict takes, roughly."""
ANSWER_TOKENS, AT_A_TIME = 128, 8
"""Tokens of a rehearsed answer; how much faster many answers are written than one."""

HANDED_OVER = {
    "continue_adapter": "goes on with the adapter of the phase before (continue_adapter).",
    "new_adapter": "a new adapter, that of the phase before stays beside it (new_adapter).",
    "merge_then_new": "the adapter of the phase before is merged first (merge_then_new).",
}


class Lines:
    """Counts and times the steps of one graph.

    Args:
        known: Facts of models, mixes and the machine.

    Attributes:
        snapshot_bytes: The most that snapshots of one running step take besides.
        copy_bytes: The most memory that a copy takes while a snapshot is written.
    """

    def __init__(self, known: Known) -> None:
        self.known = known
        self.tasks = TaskTokens(known)
        self.snapshot_bytes = self.copy_bytes = 0

    def line(self, step: Step, row: Row | None) -> Line:
        """What a step that is not finished will take."""
        of_kind = {
            "train": self.train,
            "boundary": self.boundary,
            "rehearse": self.rehearse,
            "evaluate": self.evaluate,
            "task_boundary": self.task_boundary,
        }
        if row is not None and step.kind in of_kind:
            return of_kind[step.kind](step, row)
        if row is not None and step.kind in ("remember", "finish"):
            facts = self.known.facts(row)
            disk = 4 * facts.num_parameters
            return Line(step=step, is_cached=False, seconds=10.0, disk_bytes=disk)
        if step.kind == "judge":
            return self.judge(step)
        size = _size(self.known.scratch.path(step)) if self.known.scratch.finished(step) else 0
        seconds = OVERHEAD_SECONDS.get(step.kind, 1.0)
        return Line(step=step, is_cached=False, seconds=seconds, disk_bytes=size)

    def train(self, step: Step, row: Row) -> Line:
        """A phase: from its mix, the parameters that move, and the probe."""
        from retain.train.estimate import training_cost

        assert row.mix is not None
        assert row.planned is not None
        for note in _notes(step, row.planned.train):
            self.known.notes.setdefault(f"{step.name}: {note}")
        facts, precision = self.known.facts(row), step.settings["precision"]
        phase = self.phase(step, row, self.known.mix_facts(row.mix))
        cost: Cost = training_cost(facts, phase, self.known.rate(facts, precision))
        self.snapshot_bytes = max(self.snapshot_bytes, cost.snapshot_bytes)
        self.copy_bytes = max(self.copy_bytes, cost.copy_bytes)
        names = facts.places if phase.moving is None else phase.moving
        return Line(
            step=step,
            is_cached=False,
            tokens=phase.tokens,
            trained_tokens=phase.trained_tokens,
            trainable_parameters=phase.adapter_parameters
            or sum(facts.places[name].size for name in names),
            seconds=cost.seconds + OVERHEAD_SECONDS["train"],
            memory_bytes=memory_of_all(cost.memory_bytes, row.planned.train),
            disk_bytes=cost.disk_bytes * (1 + step.settings.get("during_phase", 0)),
        )

    def phase(self, step: Step, row: Row, mix: Mapping[str, Any]) -> "Phase":
        """The size of a phase.

        Args:
            step: A train step.
            row: Where it stands.
            mix: Facts of its mix.
        """
        from retain.train.estimate import Phase
        from retain.train.plan import LARGEST_TOKENS

        assert row.planned is not None
        train = row.planned.train
        facts = self.known.facts(row)
        adapter_parameters = self.known.adapter_parameters(step, row)
        return Phase(
            num_steps=mix["num_steps"],
            tokens=mix["num_tokens"],
            trained_tokens=mix["trained_tokens"],
            sequence_tokens=mix["num_tokens"] / max(1, mix["num_examples"]),
            precision=step.settings["precision"],
            moving=self.known.moving(step, facts) if not adapter_parameters else set(),
            recomputed=step.settings["gradient_checkpointing"],
            micro_batch_tokens=max(LARGEST_TOKENS["cpu"], train.max_length),
            adapter_parameters=adapter_parameters,
            quantised=step.settings["tuning"] == "qlora",
            moment_bytes=2.0 if step.settings.get("optimizer") == "adamw_8bit" else 8.0,
            kept_blocks=self.known.kept_blocks(step, row),
            shares=train.processes if train.shard else 1,
        )

    def boundary(self, step: Step, row: Row) -> Line:
        """What frozen blocks make of a mix, each distinct sequence once."""
        assert row.planned is not None
        mix = self.known.mix_facts(step.inputs["mix"])
        epochs = max(1.0, row.planned.train.num_train_epochs or 1.0)
        return self.states(
            step, row, int(mix["num_tokens"] / epochs), self.known.part_below(step, row)
        )

    def states(self, step: Step, row: Row, tokens: int, part: float) -> Line:
        """States of so many tokens, made by a part of the model's blocks and kept on disk."""
        from retain.model.states_file import size_bytes
        from retain.train.estimate import scoring_seconds

        facts, stored = self.known.facts(row), step.settings["stored"]
        if not part:
            self.known.notes.setdefault(f"{step.name}: nothing is kept, its lowest block moves.")
        rates = self.known.rate(facts, stored)
        computed = int(part * tokens)
        seconds = scoring_seconds(facts, rates, stored, tokens=computed, scored_tokens=0)
        return Line(
            step=step,
            is_cached=False,
            tokens=tokens if part else 0,
            seconds=seconds + OVERHEAD_SECONDS["evaluate"],
            memory_bytes=reading_bytes(facts),
            disk_bytes=size_bytes(tokens, facts.hidden_size, stored) if part else 0,
        )

    def rehearse(self, step: Step, row: Row) -> Line:
        """A corpus: what it shall have, and as much again that filters remove."""
        facts, precision = self.known.facts(row), step.settings["precision"]
        corpus = from_spec(step.settings["methods"][0]).rehearse(Past())
        assert corpus is not None
        kept = corpus.num_tokens or corpus.full_size * ANSWER_TOKENS
        rates = self.known.rate(facts, precision)
        per_token = _seconds_per_token(facts, rates)
        return Line(
            step=step,
            is_cached=False,
            tokens=2 * kept,
            seconds=2 * kept * per_token / AT_A_TIME + OVERHEAD_SECONDS["evaluate"],
            memory_bytes=reading_bytes(facts),
            disk_bytes=10 * kept,
        )

    def evaluate(self, step: Step, row: Row) -> Line:
        """A task on a checkpoint: tokens read, tokens scored, answers written."""
        from retain.train.estimate import scoring_seconds

        facts, precision = self.known.facts(row), step.settings["precision"]
        tokens, scored, generated = self.tasks.of(step)
        tokens *= _times_asked(step)
        part = 1 - self.known.part_below(step, row) if "boundary" in step.inputs else 1.0
        rates = self.known.rate(facts, precision)
        seconds = scoring_seconds(
            facts, rates, precision, tokens=int(part * tokens), scored_tokens=scored
        )
        at_a_time = AT_A_TIME if generated > SAMPLE_TOKENS else 1  # samples are a batch of three
        seconds += generated * _seconds_per_token(facts, rates) / at_a_time
        return Line(
            step=step,
            is_cached=False,
            tokens=tokens,
            seconds=seconds + OVERHEAD_SECONDS["evaluate"],
            memory_bytes=reading_bytes(facts),
        )

    def judge(self, step: Step) -> Line:
        """What a judge is asked, at most: every item once, in pairs twice."""
        judge = self.known.resolved.recipe.evaluate.judge
        assert judge is not None
        task = step.settings["task"]["name"]
        known = self.tasks.num_items.get(task, NUM_WRITTEN)
        num_asked = min(step.settings["limit"] or known, known)
        num_asked *= 2 if step.settings["mode"] == "pairwise" else 1
        if judge.address is not None:
            self.known.notes.setdefault(
                f"Questions and written answers of {', '.join(judge.tasks)} are sent to "
                f"{judge.address}, where '{judge.model}' judges them; {judge.at_once} at a time."
            )
        at_once = 1 if judge.address is None else judge.at_once
        return Line(
            step=step, is_cached=False, seconds=num_asked * SECONDS_OF_VERDICT / at_once + 1
        )

    def task_boundary(self, step: Step, row: Row) -> Line:
        """What frozen blocks make of a task: their forward pass, and the states on disk."""
        tokens = self.tasks.of(step).read * _times_asked(step)
        return self.states(step, row, tokens, self.known.part_below(step, row))


def _times_asked(step: Step) -> int:
    """How often a task's items are asked: once for each number of shots, if it takes any."""
    return len(step.settings["num_fewshot"]) if takes_shots(step.settings["task"]) else 1


def _notes(step: Step, train: Train) -> Iterator[str]:
    """What becomes of an adapter of the phase before, and of a wish that cannot be met."""
    before = step.inputs.get("model")
    if before is not None and before.settings.get("tuning", "full") != "full":
        yield HANDED_OVER[train.handover or HANDOVER]
    if train.boundary_cache and "boundary" not in step.inputs:
        why = "nothing freezes its lowest blocks" if train.tuning == "full" else "an adapter moves"
        yield f"boundary_cache keeps nothing, {why}."
    if train.processes > 1:
        memory = "each has a GPU, and that memory" if visible_gpus() else "the memory is of all"
        yield f"{train.processes} processes train it together; {memory}, the time that of one."


def memory_of_all(num_bytes: int, train: Train) -> int:
    """What the processes of a step take of one memory: each has its own where there are GPUs."""
    return num_bytes if visible_gpus() else num_bytes * train.processes


def reading_bytes(facts: "Facts") -> int:
    """Memory of a step that reads a model and does not train it."""
    return 4 * facts.num_parameters + 10**9


def _seconds_per_token(facts: "Facts", rates: "Rates") -> float:
    """Of one answer that is written alone: every weight is read once a token."""
    return 4 * facts.num_parameters / (rates.bandwidth_gb_per_s * 1e9) + 0.02


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
