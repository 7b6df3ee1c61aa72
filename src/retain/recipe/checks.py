"""What concerns several parts of a recipe at once.

Each check is given the parts that are sound by themselves, so that a fault in one part does not
hide a fault between two others.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from retain.errors import RecipeError
from retain.methods.base import Method, option_names, overrides
from retain.methods.given import PlannedPhase
from retain.recipe.acting import PHASE_HOOKS, active, acts_in, plan, planner
from retain.recipe.arm import Arm
from retain.recipe.faults import Fault, translate, unknown
from retain.recipe.handover import handover_faults
from retain.recipe.model import Evaluate, Gate, NamedTask, OwnTest, Phase, called
from retain.recipe.train import OF_ADAPTERS, Train

RESERVED = ("joint", "base", "all", "after_first")  # words that mean something beside phase names
OF_WEIGHTS = ("trainable", "prepare", "finish")
DATA_KEYS = (
    "objective",
    "max_steps",
    "num_train_epochs",
    "batch_size",
    "batch_tokens",
    "batch_trained_tokens",
)  # what a joint phase takes from each phase's own training


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The sound parts of a recipe.

    Attributes:
        phase_names: Every phase's name, as far as it has one, sound or not.
        phases: The phases; None unless all are sound.
        arm_names: Every arm's name, sound or not.
        arms: The sound arms that are run.
        evaluate: None unless sound.
        gates: The sound gates by their place in the list.
        seeds: None unless sound.
    """

    phase_names: tuple[str, ...] = ()
    phases: tuple[Phase, ...] | None = None
    arm_names: tuple[str, ...] = ()
    arms: Mapping[str, Arm] = field(default_factory=dict)
    evaluate: Evaluate | None = None
    gates: Mapping[int, Gate] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None


def cross_faults(parts: Parts) -> list[Fault]:
    """Every fault between the parts."""
    faults = [*_phase_names(parts.phase_names), *_seeds(parts.seeds or ())]
    if parts.phase_names:
        for name, arm in parts.arms.items():
            at = ("arms", name)
            faults += [Fault((*at, *one.loc), one.message) for one in _arm(arm, parts)]
            faults += _handovers(name, arm, parts.phases or ())
    if parts.evaluate is not None:
        faults += _evaluate(parts.evaluate, parts.phase_names)
    for index, gate in parts.gates.items():
        faults += [Fault(("fail_if", index, *one.loc), one.message) for one in _gate(gate, parts)]
    return faults


def _phase_names(names: Sequence[str]) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name in names[:index]:
            first = names.index(name)
            text = f"'{name}' is the name of phase {first + 1} too; names differ"
            yield Fault(("phases", index, "name"), text)
        if name in RESERVED:
            text = f"'{name}' means something else in recipes and tables; choose another name"
            yield Fault(("phases", index, "name"), text)


def _seeds(seeds: Sequence[int]) -> Iterator[Fault]:
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            yield Fault(("seeds", index), f"{seed} is given twice")


# ---------------------------------------------------------------- arms


def _arm(arm: Arm, parts: Parts) -> list[Fault]:
    faults = [*_together(arm.methods), *_shares(arm.methods), *_roles(arm.methods)]
    try:
        places = [acts_in(method, arm, parts.phase_names) for method in arm.methods]
    except RecipeError as error:
        where = _phase_word(arm, parts.phase_names)
        return [*faults, Fault(where, str(error))]
    if arm.from_phase is not None and arm.from_phase not in parts.phase_names:
        return [
            *faults,
            Fault(("from_phase",), unknown("phase", arm.from_phase, parts.phase_names)),
        ]
    faults += _past(arm, places, parts.phase_names)
    faults += _earlier(arm, places, parts.phase_names)
    if parts.phases is not None:
        faults += _pairs(arm, places, parts.phases)
        faults += _training(arm, parts.phases)
    return faults


def _phase_word(arm: Arm, names: Sequence[str]) -> tuple[str | int, ...]:
    """The place of the phase's name that is not known."""
    if arm.from_phase is not None and arm.from_phase not in names:
        return ("from_phase",)
    for index, method in enumerate(arm.methods):
        if not isinstance(method.phases, str) and not set(method.phases) <= set(names):
            return ("methods", index, "phases")
    return ()


def _together(methods: Sequence[Method]) -> Iterator[Fault]:
    """Methods that contradict each other."""
    choosing = [index for index, one in enumerate(methods) if one.chooses_trainable]
    planning = [index for index, one in enumerate(methods) if overrides(one, "plan")]
    finishing = [index for index, one in enumerate(methods) if overrides(one, "finish")]
    for found, what in (
        (choosing, "which parameters move"),
        (planning, "which phases there are"),
        (finishing, "the weights that leave a phase"),
    ):
        for index in found[1:]:
            text = f"{methods[found[0]].name} chooses {what} already; an arm takes one such method"
            yield Fault(("methods", index), text)
    for index, method in enumerate(methods):
        if method.name == "none" and len(methods) > 1:
            yield Fault(("methods", index), "none is plain training and stands alone in an arm")
        elif method in methods[:index]:
            yield Fault(("methods", index), f"{method.name} is listed twice with the same values")


def _shares(methods: Sequence[Method]) -> Iterator[Fault]:
    """Shares of the one final mix leave room for the new data."""
    shares = [
        float(getattr(one, "share", 0.0))
        for one in methods
        if getattr(one, "share_base", "") == "final_mix"
    ]
    if len(shares) > 1 and sum(shares) >= 1:
        text = f"shares of the final mix add up to {sum(shares):g}; below 1 leaves room for the new"
        yield Fault(("methods",), text)


def _roles(methods: Sequence[Method]) -> Iterator[Fault]:
    """Outside data of one name is one data set."""
    seen: dict[str, object] = {}
    for index, method in enumerate(methods):
        for role, sources in method.data().items():
            if seen.setdefault(role, sources) != sources:
                text = f"another method of this arm has other data under the name '{role[6:]}'; "
                yield Fault(("methods", index, "past", "name"), f"{text}give one of them a name")


def _past(arm: Arm, places: Sequence[frozenset[int]], names: Sequence[str]) -> Iterator[Fault]:
    """Methods that need a past have one wherever they act."""
    joined = planner(arm) is not None
    for index, (method, acting) in enumerate(zip(arm.methods, places, strict=True)):
        if not method.needs_past or method.has_own_past:
            continue
        if joined:
            text = f"{method.name} needs a past, and all phases are one in this arm"
        elif 0 in acting:
            text = f"{method.name} needs a past, and acts in the first phase, '{names[0]}'"
        else:
            continue
        advice = []
        if "past" in option_names(type(method)):
            advice.append("give it data that stands for the past (past: {data: SOURCE})")
        if len(names) > 1 and not joined:
            advice.append(f"let it act later (phases: [{names[1]}])")
        told = ", or ".join(advice) or "leave it out of this arm"
        yield Fault(("methods", index), f"{text}, which has none; {told}")


def _earlier(arm: Arm, places: Sequence[frozenset[int]], names: Sequence[str]) -> Iterator[Fault]:
    """Phases that a method looks back at lie before all phases in which it acts."""
    for index, (method, acting) in enumerate(zip(arm.methods, places, strict=True)):
        for wanted in method.earlier_phases:
            first = min(acting, default=0)
            if wanted not in names[:first]:
                known = ", ".join(names[:first]) or "none"
                text = f"{method.name} looks back at phase '{wanted}', which is not before "
                text += f"'{names[first]}', where it acts first; earlier phases: {known}"
                yield Fault(("methods", index), text)


def _pairs(arm: Arm, places: Sequence[frozenset[int]], phases: Sequence[Phase]) -> Iterator[Fault]:
    """A method that reads the other side of pairs has them wherever it acts."""
    for index, (method, acting) in enumerate(zip(arm.methods, places, strict=True)):
        if not method.needs_pairs:
            continue
        if planner(arm) is not None:
            text = f"{method.name} replays one phase's pairs, and all phases are one in this arm"
            yield Fault(("methods", index), text)
            continue
        for place in sorted(acting):
            if not any(source.parallel for source in phases[place].data):
                text = f"{method.name} with select: parallel acts in phase '{phases[place].name}', "
                text += "whose data names no pairs; give its source parallel: COLUMN, or let it "
                text += "act elsewhere (phases: [NAME])"
                yield Fault(("methods", index), text)


def _training(arm: Arm, phases: Sequence[Phase]) -> Iterator[Fault]:
    """The arm's training values fit every phase, and its plan can be made."""
    lead = planner(arm)
    if lead is not None:
        for key in DATA_KEYS:
            if key in arm.train:
                text = f"{lead.name} trains on each phase's own examples; leave it to the phases"
                yield Fault(("train", key), text)
    try:
        planned = plan(arm, phases)
    except RecipeError as error:
        yield Fault(("methods",), str(error))
    except ValidationError as error:
        keys = tuple(Train.model_fields)
        for fault in translate(error, lambda _: keys):
            yield Fault(("train", *fault.loc), fault.message)
    else:
        yield from _idle(arm, [phase.name for phase in planned])
        yield from _beside_adapters(arm, planned)


def _beside_adapters(arm: Arm, planned: Sequence[PlannedPhase]) -> Iterator[Fault]:
    """Methods that choose, add or change weights do not know which are an adapter's."""
    for position, phase in enumerate(planned):
        tuning = Train.model_validate(phase.train).tuning
        if tuning == "full":
            continue
        for index, method in enumerate(arm.methods):
            changes = any(overrides(method, hook) for hook in OF_WEIGHTS)
            if changes and active(method, arm, planned, position):
                text = f"{method.name} says which weights move or change, and so does tuning: "
                text += f"{tuning} in phase '{phase.name}'; give the arm train: {{tuning: full}}"
                yield Fault(("methods", index), text)


def _handovers(name: str, arm: Arm, phases: Sequence[Phase]) -> Iterator[Fault]:
    """Each phase can go on from the adapter that the one before it leaves."""
    try:
        planned = plan(arm, phases) if phases else ()
    except (RecipeError, ValidationError):  # said elsewhere
        return
    says = {"tuning", "handover", *OF_ADAPTERS} & set(arm.train)
    for position, text in handover_faults(planned):
        of_arm: tuple[str | int, ...] = ("arms", name, "train")
        at = of_arm if says else ("phases", position, "train")
        yield Fault(at, f"phase '{planned[position].name}': {text}" if says else text)


def _idle(arm: Arm, names: Sequence[str]) -> Iterator[Fault]:
    """Every method with a hook acts somewhere."""
    for index, method in enumerate(arm.methods):
        if not any(overrides(method, hook) for hook in PHASE_HOOKS):
            continue
        if not isinstance(method.phases, str) and not set(method.phases) & set(names):
            known = ", ".join(names)
            text = f"{method.name} acts in no phase of this arm; its phases: {known}"
            yield Fault(("methods", index, "phases"), text)


# ---------------------------------------------------------------- what is scored


def _evaluate(evaluate: Evaluate, phases: Sequence[str]) -> Iterator[Fault]:
    own = [test.name for test in evaluate.own_tests]
    scored = evaluate.task_names(tuple(phases))
    for index, task in enumerate(evaluate.tasks):
        name, before = called(task), evaluate.tasks[:index]
        taken = [*evaluate.groups, "phases", "general"]
        if isinstance(task, OwnTest) and (name in taken or own.count(name) > 1):
            text = f"'{name}' is the name of a group or of another test; choose another"
            yield Fault(("evaluate", "tasks", index, "name"), text)
        elif name in [called(one) for one in before if not isinstance(one, OwnTest)]:
            yield Fault(("evaluate", "tasks", index), f"'{name}' is listed twice")
        else:
            yield from _own_shots(index, evaluate, tuple(phases))
        yield from _phase_task(("evaluate", "tasks", index), name, phases)
    for group, members in evaluate.groups.items():
        at = ("evaluate", "groups", group)
        if group == "phases":
            yield Fault(at, "'phases' is every phase's held-out split; choose another name")
        for index, member in enumerate(members):
            yield from _member((*at, index), group, member, evaluate)
            yield from _phase_task((*at, index), member, phases)
            if member not in scored and member not in ("phases", *evaluate.groups):
                text = f"'{member}' is not scored; list the group '{group}' in evaluate.tasks"
                yield Fault((*at, index), text)
    yield from _beside_scores(evaluate, phases, scored)
    yield from _twice(("evaluate", "num_fewshot"), evaluate.num_fewshot)


def _own_shots(index: int, evaluate: Evaluate, phases: tuple[str, ...]) -> Iterator[Fault]:
    """An entry's own numbers of shots are those of some task."""
    task = evaluate.tasks[index]
    if isinstance(task, str) or task.num_fewshot is None:
        return
    at = ("evaluate", "tasks", index, "num_fewshot")
    yield from _twice(at, task.num_fewshot)
    before = {name for one in evaluate.tasks[:index] for name in evaluate.members(one, phases)}
    if isinstance(task, NamedTask) and before.issuperset(evaluate.members(task, phases)):
        yield Fault(at, f"earlier entries name all of '{task.name}', and the first counts")


def _twice(at: tuple[str | int, ...], values: Sequence[int]) -> Iterator[Fault]:
    for value, count in Counter(values).items():
        if count > 1:
            yield Fault(at, f"{value} is given twice")


def _beside_scores(
    evaluate: Evaluate, phases: Sequence[str], scored: Sequence[str]
) -> Iterator[Fault]:
    """What is measured beside scores: a judge, brief retunes, other draws of examples."""
    for index, name in enumerate(evaluate.judge.tasks if evaluate.judge else ()):
        if name not in scored:
            text = f"{unknown('task', name, scored)}; a judge reads what is scored"
            yield Fault(("evaluate", "judge", "tasks", index), text)
    yield from _recovery(evaluate, phases, scored)
    for key in ("fewshot_draws", "fewshot_control"):
        if getattr(evaluate, key) != Evaluate.model_fields[key].default:
            yield from _further_shots(key, evaluate)


def _further_shots(key: str, evaluate: Evaluate) -> Iterator[Fault]:
    """Other draws of examples need examples, and a pool of our own."""
    if not any(map(any, map(evaluate.shots_of, evaluate.tasks))):
        text = "needs examples in the prompt; give num_fewshot a number above 0, as [0, 1, 3]"
        yield Fault(("evaluate", key), text)
    if evaluate.compat is not None:
        text = f"compat {evaluate.compat} takes the harness's own draws; leave out one of the two"
        yield Fault(("evaluate", key), text)


def _recovery(evaluate: Evaluate, phases: Sequence[str], scored: Sequence[str]) -> Iterator[Fault]:
    """Tasks that can have lost something, each with data to retune on."""
    for index, one in enumerate(evaluate.recovery):
        at = ("evaluate", "recovery", index)
        taught = one.task.removeprefix("phase:") if one.task.startswith("phase:") else None
        if one.task not in scored:
            yield Fault((*at, "task"), f"{unknown('task', one.task, scored)}; it must be scored")
        elif one.task in [other.task for other in evaluate.recovery[:index]]:
            yield Fault((*at, "task"), f"'{one.task}' is listed twice")
        elif taught is not None and taught == phases[-1]:
            text = f"'{taught}' is the last phase: nothing after it can have taken anything away"
            yield Fault((*at, "task"), text)
        elif taught is None and one.data is None:
            text = f"is missing: '{one.task}' is no phase of the recipe; name other examples of it"
            yield Fault((*at, "data"), text)


def _member(
    loc: tuple[str | int, ...], group: str, member: str, evaluate: Evaluate
) -> Iterator[Fault]:
    if member in evaluate.groups or member == "phases":
        yield Fault(loc, f"'{member}' is a group itself; '{group}' lists tasks")


def _phase_task(loc: tuple[str | int, ...], name: str, phases: Sequence[str]) -> Iterator[Fault]:
    if name.startswith("phase:") and name.removeprefix("phase:") not in phases:
        yield Fault(loc, unknown("task", name, [f"phase:{phase}" for phase in phases]))


def _gate(gate: Gate, parts: Parts) -> Iterator[Fault]:
    for index, arm in enumerate(gate.arms or ()):
        if arm not in parts.arm_names:
            yield Fault(("arms", index), unknown("arm", arm, parts.arm_names))
    if parts.evaluate is None:
        return
    groups = (*parts.evaluate.groups, "phases")
    tasks = parts.evaluate.task_names(parts.phase_names)
    if gate.group is not None and gate.group not in groups:
        yield Fault(("group",), unknown("group", gate.group, groups))
    if gate.task is not None and gate.task not in tasks:
        yield Fault(("task",), unknown("task", gate.task, tasks))
