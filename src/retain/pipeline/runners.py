"""How each kind of step is carried out: the function of its kind, given what the step builds on.

A fingerprint says *what* a model or a source is, not where it lies; the places are here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from retain.errors import DataError, RecipeError
from retain.methods import from_spec
from retain.methods.base import Method
from retain.pipeline.graph import Graph
from retain.pipeline.kinds import KINDS
from retain.pipeline.resolve import Resolved
from retain.steps.step import Step
from retain.steps.work import Figures, Work
from retain.train.card import CardFacts
from retain.train.checkpoints import folder_of
from retain.train.tracker import tracking

TRACKING = "tracking"
MODEL = "model"
V = TypeVar("V")


class Runners:
    """Carries out any step of one graph; call it with the step's ``Work``.

    It holds no steps, so that it can be sent to another process.
    """

    def __init__(self, resolved: Resolved, graph: Graph) -> None:
        self._name = resolved.recipe.name
        self._tasks = dict(resolved.tasks)
        self._references = {
            identity["sha256"]: place for place, identity in resolved.models.items()
        }
        self._sources = _by_fingerprint(graph.sources)
        self._corpora = _by_fingerprint(graph.corpora)
        self._save_steps = _by_fingerprint(graph.save_steps)
        self._report_to = _by_fingerprint(graph.report_to)
        self._processes = _by_fingerprint(graph.processes)
        self._cards = _by_fingerprint(graph.cards)
        judge = resolved.recipe.evaluate.judge
        self._judged_at_once = 1 if judge is None else judge.at_once

    def __call__(self, work: Work) -> None:
        """Do the step."""
        kind = work.step.kind
        module, _, name = KINDS[kind].runner.partition(":")
        run = getattr(import_module(module), name)
        match kind:
            case "data":
                run(work, sources=self._sources[work.step.fingerprint])
            case "mix":
                from retain.model.auto_class import has_encoder

                base = self._base(work)
                run(work, tokenizer_folder=base, has_encoder=has_encoder(base))
                self._check_length(work)
            case "train":
                with self._tracking(work) as work.on_figures:
                    run(
                        work,
                        base=self._base(work),
                        methods=methods_of(work),
                        save_steps=self._save_steps[work.step.fingerprint],
                        processes=self._processes[work.step.fingerprint],
                        card=self._card(work),
                    )
            case "boundary" | "probe":
                run(work, base=self._base(work))
            case "finish":
                [method] = methods_of(work)
                run(work, base=self._base(work), method=method, card=self._card(work))
            case "trainable" | "remember":
                [method] = methods_of(work)
                run(work, base=self._base(work), method=method)
            case "rehearse":
                methods_of(work)  # of the version that the step was planned with
                corpus = self._corpora[work.step.fingerprint]
                run(work, model_folder=self._model(work), corpus=corpus)
            case "evaluate" | "task_boundary":
                data = work.input("data") if "data" in work.step.inputs else None
                spec = self._tasks[work.step.settings["task"]["name"]]
                run(work, model_folder=self._model(work), data_folder=data, spec=spec)
            case "judge" | "leak" | "sift":
                self._of_tasks(work, run)
            case _:
                raise AssertionError(f"no runner for steps of kind {kind}")

    def _of_tasks(self, work: Work, run: Callable[..., None]) -> None:
        """Steps that read what is scored, without the model that is."""
        if work.step.kind != "judge":
            run(work, self._tasks)
            return
        from retain.model.reference import folder

        settings = work.step.settings
        is_here = "judge" in work.step.files
        run(
            work,
            spec=self._tasks[settings["task"]["name"]],
            judge_folder=folder(settings["model"], None) if is_here else None,
            data_folder=work.input("data") if "data" in work.step.inputs else None,
            at_once=self._judged_at_once,
        )

    def _base(self, work: Work) -> Path:
        """Folder of the base model that the step names; the store's root where it needs none."""
        from retain.model.reference import folder

        digest = work.step.files.get("model")
        return work.store.root if digest is None else folder(*self._references[digest])

    def _tracking(self, work: Work) -> AbstractContextManager[Figures | None]:
        """The tracker of a train step; its files lie beside the store, in the run's folder."""
        folder = work.store.root.parent / self._name / TRACKING
        kind = self._report_to[work.step.fingerprint]

        def lost(message: str) -> None:
            work.event("tracker lost", tracker=kind, message=message)
            work.note(tracker_lost=f"{kind}: {message}")

        return tracking(kind, self._name, work.step, folder, lost)

    def _card(self, work: Work) -> CardFacts:
        card = self._cards[work.step.fingerprint]
        return CardFacts(card.base, tuple(method.entry() for method in card.methods))

    def _check_length(self, work: Work) -> None:
        """Refuse a mix that the model cannot read, before anything is trained on it."""
        import pyarrow.compute as compute
        from pyarrow.parquet import read_table

        from retain.model.facts import describe

        context = describe(*self._references[work.step.files["model"]]).context_tokens
        column = read_table(work.output / "stream.parquet", columns=["input_ids"])[0]
        longest = compute.max(compute.list_value_length(column)).as_py()
        if context and longest > context:
            raise RecipeError(
                f"{work.step.name}: a training sequence has {longest} tokens, the model reads "
                f"{context}; set train.max_length of the phase to that or less"
            )

    def _model(self, work: Work) -> Path:
        """Folder of the model that a step reads: of a former step, or the base model."""
        if "model" not in work.step.inputs:
            return self._base(work)
        place = work.step.settings.get("checkpoint")
        return work.input("model", MODEL if place is None else folder_of(place))


def _by_fingerprint(found: Mapping[Step, V]) -> dict[str, V]:
    return {step.fingerprint: value for step, value in found.items()}


def methods_of(work: Work) -> Sequence[Method]:
    """The methods that a step's settings spell out."""
    return tuple(from_spec(spec) for spec in work.step.settings["methods"])


def check_leak(work: Work, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Stop the run if a training example is also an evaluated item (a step of kind ``leak``).

    Every phase's held-out examples and every task's documents are looked for among all training
    examples, with white space and case made equal.

    Args:
        work: The running step.
        tasks: Every scored task by name, with where its data lies.

    Raises:
        DataError: If any is found in data that does not allow it; names where.
    """
    from retain.data.leak import find, refuse

    roles = list(work.step.inputs)
    scored = _scored(work, roles, tasks)
    for role in roles:
        overlaps = find(_texts(work.input(role, "train.jsonl"), both_sides=True), scored)
        if role in work.step.settings["allow"]:
            work.event("overlap allowed", data=role, texts=len(overlaps))
        else:
            may_be = role.startswith("phase:")
            refuse(overlaps, work.step.inputs[role].name, may_be_allowed=may_be)
    work.note(training_sets=len(roles), evaluated_texts=len(scored))


def sift(work: Work, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Take out of a written corpus what gives an evaluated item away (a step of kind ``sift``).

    Looked at is what the model wrote; what it was given is data that the step ``leak`` checks.

    Args:
        work: Input ``written`` is the corpus; the others are the phases' data.
        tasks: Every scored task by name, with where its data lies.

    Raises:
        DataError: If nothing is left.
    """
    from retain.data.example import Example, dumps
    from retain.rehearse.leaks import Leaks
    from retain.rehearse.written import written_of

    phases = [role for role in work.step.inputs if role != "written"]
    leaks = Leaks(text for _, text in _scored(work, phases, tasks))
    kept, num_leaks = [], 0
    with work.input("written", "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if leaks.in_text(written_of(row)):
                num_leaks += 1
            else:
                kept.append(Example.from_json({**row, "source": work.step.name}))
    if not kept:
        raise DataError(
            f"{work.step.name}: all {num_leaks} written texts give an evaluated item away; "
            "take other prompts, or let it write more"
        )
    with (work.output / "train.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(dumps(example.to_json()) + "\n" for example in kept)
    facts = {"num_documents": len(kept), "removed": {"leak": num_leaks}}
    (work.output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    work.note(documents=len(kept), leaks=num_leaks)


def _scored(
    work: Work, phases: Sequence[str], tasks: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Where and what of every text that would give an evaluated item away.

    Args:
        work: Its setting ``tasks`` names the tasks.
        phases: The inputs whose held-out examples are scored.
        tasks: Every scored task by name, with where its data lies.
    """
    from retain.evaluate.documents import document_texts

    scored = [text for role in phases for text in _texts(work.input(role, "heldout.jsonl"))]
    for spec in work.step.settings["tasks"]:
        work.check_stop()
        scored += document_texts(tasks[spec["name"]])
    return scored


def _texts(path: Path, *, both_sides: bool = False) -> list[tuple[str, str]]:
    """Where and what of every text in a file of examples that would give it away.

    Args:
        path: The file.
        both_sides: Of a pair, the other side too: it may be replayed, but is never scored.
    """
    from retain.data.example import Example
    from retain.data.leak import texts

    with path.open(encoding="utf-8") as file:
        examples = [Example.from_json(json.loads(line)) for line in file]
    if both_sides:
        examples += [one.parallel for one in examples if one.parallel is not None]
    return [(f"{one.source} {one.id}", text) for one in examples for text in texts(one)]
