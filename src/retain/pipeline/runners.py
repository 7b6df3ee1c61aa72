"""How each kind of step is carried out: the function of its kind, given what the step builds on.

A fingerprint says *what* a model or a source is, not where it lies; the places are here.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from retain.methods import from_spec
from retain.methods.base import Method
from retain.pipeline.graph import Graph
from retain.pipeline.kinds import KINDS
from retain.pipeline.resolve import Resolved
from retain.steps.work import Work


class Runners:
    """Carries out any step of one graph; call it with the step's ``Work``."""

    def __init__(self, resolved: Resolved, graph: Graph) -> None:
        self._resolved = resolved
        self._graph = graph
        self._references = {
            identity["sha256"]: place for place, identity in resolved.models.items()
        }

    def __call__(self, work: Work) -> None:
        """Do the step."""
        kind = work.step.kind
        module, _, name = KINDS[kind].runner.partition(":")
        run = getattr(import_module(module), name)
        match kind:
            case "data":
                run(work, sources=self._graph.sources[work.step])
            case "mix":
                run(work, tokenizer_folder=self._base(work))
            case "train":
                run(
                    work,
                    base=self._base(work),
                    methods=methods_of(work),
                    save_steps=self._graph.save_steps[work.step],
                    base_name=self._graph.names[work.step],
                )
            case "finish":
                [method] = methods_of(work)
                name = self._graph.names[work.step]
                run(work, base=self._base(work), method=method, base_name=name)
            case "trainable" | "remember":
                [method] = methods_of(work)
                run(work, base=self._base(work), method=method)
            case "evaluate":
                data = work.input("data") if "data" in work.step.inputs else None
                run(work, model_folder=self._model(work), data_folder=data)
            case _:
                run(work)

    def _base(self, work: Work) -> Path:
        """Folder of the base model that the step names; the store's root where it needs none."""
        from retain.model.reference import folder

        digest = work.step.files.get("model")
        return work.store.root if digest is None else folder(*self._references[digest])

    def _model(self, work: Work) -> Path:
        return work.input("model", "model") if "model" in work.step.inputs else self._base(work)


def methods_of(work: Work) -> Sequence[Method]:
    """The methods that a step's settings spell out."""
    return tuple(from_spec(spec) for spec in work.step.settings["methods"])


def check_leak(work: Work) -> None:
    """Stop the run if a training example is also an evaluated item (a step of kind ``leak``).

    Every phase's held-out examples and every task's documents are looked for among all training
    examples, with white space and case made equal.

    Raises:
        DataError: If any is found in data that does not allow it; names where.
    """
    from retain.data.leak import find, refuse
    from retain.evaluate.documents import document_texts

    roles = list(work.step.inputs)
    scored = [text for role in roles for text in _texts(work.input(role, "heldout.jsonl"))]
    for spec in work.step.settings["tasks"]:
        work.check_stop()
        scored += document_texts(spec)
    for role in roles:
        overlaps = find(_texts(work.input(role, "train.jsonl")), scored)
        if role in work.step.settings["allow"]:
            work.event("overlap allowed", data=role, texts=len(overlaps))
        else:
            may_be = role.startswith("phase:")
            refuse(overlaps, work.step.inputs[role].name, may_be_allowed=may_be)
    work.note(training_sets=len(roles), evaluated_texts=len(scored))


def _texts(path: Path) -> list[tuple[str, str]]:
    """Where and what of every text in a file of examples that would give it away."""
    from retain.data.example import Example
    from retain.data.leak import texts

    with path.open(encoding="utf-8") as file:
        examples = [Example.from_json(json.loads(line)) for line in file]
    return [(f"{one.source} {one.id}", text) for one in examples for text in texts(one)]
