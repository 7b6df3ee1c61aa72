"""What a plan can know before anything is trained: models, mixes, what moves, this machine."""

import json
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.estimate.choice import foreseen
from retain.pipeline.graph import Graph, Row
from retain.pipeline.resolve import Resolved
from retain.rehearse.corpus import Corpus
from retain.steps.step import Step
from retain.steps.store import Store

if TYPE_CHECKING:
    from retain.model.facts import Facts
    from retain.model.layers import Place
    from retain.train.estimate import Rates

SIFT = "sift"
WRITTEN = (SIFT, "rehearse")
"""Kinds of what a model has yet to write when a plan is made."""


class Known:
    """Looks facts up, each once.

    Args:
        resolved: The recipe with all outside facts.
        graph: Its steps.
        store: What is finished.
        scratch: What was prepared for this plan alone.

    Attributes:
        notes: What a reader must know.
    """

    def __init__(self, resolved: Resolved, graph: Graph, store: Store, scratch: Store) -> None:
        self.resolved, self.graph, self.store, self.scratch = resolved, graph, store, scratch
        self.notes: dict[str, None] = {}
        self._rates: dict[str, Rates] = {}
        self._facts: dict[str, Facts] = {}

    def open(self, step: Step, name: str) -> Path:
        """A file of a step that is finished, or was prepared for this plan."""
        store = self.store if self.store.finished(step) else self.scratch
        return store.open(step, name)

    def facts(self, row: Row) -> "Facts":
        """The base model's facts."""
        from retain.model.facts import describe

        reference, revision = self.model_of(row)
        if reference not in self._facts:
            self._facts[reference] = describe(reference, revision)
        return self._facts[reference]

    def model_of(self, row: Row) -> tuple[str, str | None]:
        """The base model's reference and revision."""
        cell = next(
            cell
            for cell in self.resolved.cells
            if (cell.variant, cell.arm) == (row.variant, row.arm)
        )
        return cell.recipe.model, cell.recipe.revision

    def rate(self, facts: "Facts", precision: Any) -> "Rates":
        """What the machine does, measured once a precision."""
        from retain.train.estimate import measure_rates

        if precision not in self._rates:
            self._rates[precision] = measure_rates(facts, precision)
        return self._rates[precision]

    def mix_facts(self, mix: Step) -> dict[str, Any]:
        """Steps, examples and tokens of a mix; what is not written yet is counted by its share."""
        if self.store.finished(mix):
            found: dict[str, Any] = _read(self.store.open(mix, "facts.json"))
            return found
        plain, factor = without_corpora(mix)
        if mix.settings["budget"] == "same_total_compute" and plain != mix:
            text = f"{mix.name}: its tokens are counted without what writing takes of them."
            self.notes.setdefault(text)
        facts: dict[str, Any] = _read(self.open(plain, "facts.json"))
        for text in too_few(mix, self.graph.corpora, facts, factor):
            self.notes.setdefault(text)
        for key in ("num_examples", "num_tokens", "trained_tokens"):
            facts[key] = int(factor * facts[key])
        return facts

    def adapter_parameters(self, step: Step, row: Row) -> int:
        """Numbers in the adapter that a phase trains; 0 where it trains weights."""
        from retain.model.adapters import num_parameters
        from retain.model.reference import folder
        from retain.train.settings import read_settings

        adapter = read_settings(step.settings).adapter
        return 0 if adapter is None else num_parameters(folder(*self.model_of(row)), adapter)

    def part_below(self, step: Step, row: Row) -> float:
        """The part of a model's blocks that a step's choices of parameters leave as they are."""
        from retain.model.boundary import depth_below

        facts = self.facts(row)
        if facts.has_encoder:  # nothing is kept there, see model.boundary
            return 0.0
        chosen = [self.moving_in(one, facts) for r, one in step.inputs.items() if "trainable" in r]
        depths = [0 if names is None else depth_below(facts.places, names) for names in chosen]
        return min(depths) / facts.num_layers

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


def _is_norm(place: "Place") -> bool:
    return place.part == "final_norm" or place.kind == "norm"


def without_corpora(mix: Step) -> tuple[Step, float]:
    """A mix without what a model has yet to write, and how much larger the whole one is.

    Under ``same_total_compute`` the whole one is smaller by what writing takes: not known yet.
    """
    corpora = {role for role, step in mix.inputs.items() if step.kind in WRITTEN}
    if not corpora:
        return mix, 1.0
    left = [one for one in mix.settings["sources"] if one["role"] not in corpora]
    gone = [one for one in mix.settings["sources"] if one["role"] in corpora]
    of_mix = sum(one["share"] for one in gone if one.get("share_base") == "final_mix")
    of_new = sum(one["share"] for one in gone if one.get("share_base") == "new_data")
    inputs = {role: step for role, step in mix.inputs.items() if role not in corpora}
    settings = {**mix.settings, "sources": left}
    plain = Step("mix", mix.name, mix.version, settings, inputs=inputs, files=mix.files)
    if mix.settings["budget"] != "same_new_data":
        return plain, 1.0  # what is written takes the place of new data
    return plain, (1 + of_new) / (1 - of_mix)


def too_few(
    mix: Step, corpora: Mapping[Step, Corpus], facts: Mapping[str, Any], factor: float
) -> Iterator[str]:
    """What to say of each corpus of a mix that will have fewer documents than its share needs.

    Args:
        mix: With what a model has yet to write.
        corpora: Of each rehearse step.
        facts: Of the mix without that.
        factor: How much larger the whole mix is.
    """
    if mix.settings["budget"] != "same_new_data":
        return
    new = [one for name, one in facts["sources"].items() if name.partition("/")[0] in _parts(mix)]
    num_new = sum(one["examples"] for one in new)
    passes = max(ceil(one["examples"] / one["different_examples"]) for one in new)
    for source in mix.settings["sources"]:
        step = mix.inputs.get(source["role"])
        if step is None or step.kind != SIFT or source.get("share_of") != "examples":
            continue
        found = corpora[step.inputs["written"]].num_documents
        of_new = source["share_base"] == "new_data"
        asked = source["share"] * (num_new if of_new else factor * facts["num_examples"])
        if found is not None and not source.get("allow_fewer") and asked > passes * found + 1:
            yield (
                f"{mix.name}: share {source['share']:g} of {source['role']} needs some "
                f"{asked:.0f} examples, and {found} are to be written, which the run would stop "
                "for: raise num_documents, or set allow_fewer: true."
            )


def _parts(mix: Step) -> set[str]:
    """The roles of a mix's new data."""
    return {part["role"] for part in mix.settings["parts"]}


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
