"""A run that never was: two phases, four arms, items that behave like real ones."""

from dataclasses import replace
from hashlib import sha256

import numpy as np

from retain.report.facts import (
    Answer,
    Corpus,
    Cost,
    Curve,
    DataFacts,
    Made,
    Moving,
    Question,
    Sample,
    TrainFacts,
)
from retain.report.given import Given
from retain.report.results import Arm, Results, Variant
from retain.report.scores import Checkpoint, ItemKey, Items, ScoreRow, TaskKey

PHASES = ("medicine", "hindi")
ARMS = (
    Arm(name="none", description="plain training at 3e-4"),
    Arm(name="low_rate", description="plain training at 1e-4"),
    Arm(
        name="replay",
        methods=("experience_replay",),
        description="experience_replay, share 0.05 of medicine and general English",
    ),
    Arm(name="freeze", methods=("freeze",), description="freeze, first 20 layers and embeddings"),
)
# task: (metric, unit, higher is better, chance, majority, row 0, row 1, row 2 of each arm)
TASKS = {
    "phase:medicine": ("acc", "fraction", True, 0.125, 0.14, 0.17, 0.73, (0.55, 0.69, 0.71, 0.66)),
    "phase:hindi": (
        *("bits_per_byte", "bits_per_byte", False, None, None),
        *(1.75, 1.71, (1.03, 1.06, 1.05, 1.22)),
    ),
    "embedded_boolq": ("acc", "fraction", True, 0.5, 0.62, 0.60, 0.61, (0.55, 0.6, 0.59, 0.58)),
    "embedded_piqa": ("acc", "fraction", True, 0.5, 0.51, 0.68, 0.67, (0.57, 0.66, 0.63, 0.64)),
    "english_bits_per_byte": (
        *("bits_per_byte", "bits_per_byte", False, None, None),
        *(1.08, 1.1, (1.32, 1.17, 1.2, 1.22)),
    ),
}
GROUPS = {"general": ("embedded_boolq", "embedded_piqa", "english_bits_per_byte")}
MOVING = Moving(
    selected="most_changed",
    scored_by="relative weight change, summed over the layer",
    parts=(
        ("attention", (1.0, 0.0, 1.0, 0.0)),
        ("mlp", (1.0, 0.0, 0.5, 0.0)),
        ("norm", (1.0, None, 1.0, 0.0)),
    ),
    scores=(("layer", (0.125, 0.75, 0.25, 1.5)),),
    outside=(("embeddings", 0.0), ("final norm", 1.0), ("head", 0.25)),
)
RECIPE = {
    "name": "quickstart",
    "model": "embedded:smollm2-135m-instruct",
    "phases": [
        {
            "name": "medicine",
            "data": "embedded:medmcqa-subject",
            "train": {"objective": "sft", "learning_rate": 2e-4, "max_steps": 50},
        },
        {
            "name": "hindi",
            "data": "embedded:hindi-prose",
            "train": {"objective": "pretrain", "learning_rate": 3e-4, "max_steps": 40},
        },
    ],
    "evaluate": {"tasks": ["phases", "general"], "num_fewshot": [0], "limit": 400},
    "choose": {"learnt": ">= 0.9 of best", "then": "least change_from_base"},
    "fail_if": [
        {
            "measure": "change_from_base",
            "task": "embedded_piqa",
            "arms": ["replay"],
            "below": -0.2,
        }
    ],
    "seeds": [0],
}


def make_results(*, num_items=400, seeds=(0,), tasks=TASKS, arms=ARMS, phases=PHASES) -> Results:
    """The whole run; ``tasks`` changes what is scored and how well."""
    scores, items = [], {}
    for task, facts in tasks.items():
        rows, its_items = _scored(task, facts, num_items, seeds, arms, phases)
        scores += rows
        items |= its_items
    return Results(
        name="quickstart",
        recipe=RECIPE | {"seeds": list(seeds)},
        run_folder="runs/quickstart",
        variants=(Variant(name="default", model=RECIPE["model"], phases=phases),),
        arms=arms,
        seeds=tuple(seeds),
        groups=GROUPS,
        scores=tuple(scores),
        items=items,
        models={
            Checkpoint("default", arm.name, seed, len(phases)): (
                f"runs/quickstart/models/{arm.name}-seed{seed}-{phases[-1]}"
            )
            for arm in arms
            for seed in seeds
        },
        curves=tuple(_curves(arms, seeds, phases)),
        training=tuple(_training(arms, seeds, phases)),
        samples=tuple(_samples(arms, phases)),
        questions=_questions(items),
        answers=_answers(items),
        given=_given(items),
        corpora=_corpora(),
        lineage=tuple(_lineage(arms, seeds, phases)),
        costs=(Cost("data", 2, 0.4), Cost("train", 5, 312.0), Cost("evaluate", 30, 155.5)),
        data=_data(),
        environment={
            "device": "cpu, 2 threads",
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "transformers": "5.23.0",
        },
        command="retain run quickstart",
        notes=("Row 0 was de-quantised from a Q8_0 file.",),
    )


def poisoned(results: Results, value: float = 1e6) -> Results:
    """The same run with every select item and select score replaced by nonsense."""
    items = {
        key: replace(one, values=np.where(one.roles == "select", value, one.values))
        for key, one in results.items.items()
    }
    scores = tuple(
        replace(row, value=value, stderr=value) if row.role == "select" else row
        for row in results.scores
    )
    return replace(results, items=items, scores=scores)


def set_task(task: str, *, rows=None, **changes):
    """The tasks with one of them changed: ``rows`` are row 0, row 1 and row 2 of each arm."""
    facts = list(TASKS[task])
    if rows:
        facts[5:] = rows
    for name, value in changes.items():
        facts[("metric", "unit", "higher", "chance", "majority").index(name)] = value
    return TASKS | {task: tuple(facts)}


def _scored(task, facts, num_items, seeds, arms, phases):
    metric, unit, higher, chance, majority, *levels = facts
    scores, items = [], {}
    draw = np.random.default_rng(int(sha256(task.encode()).hexdigest()[:8], 16))
    hashes = np.array([sha256(f"{task} {i}".encode()).hexdigest() for i in range(num_items)])
    roles = np.array(["report" if i % 2 else "select" for i in range(num_items)])
    trait = draw.permuted((np.arange(num_items) + 0.5) / num_items)
    size = draw.integers(80, 400, num_items).astype(float)
    for seed in seeds:
        wobble = np.random.default_rng([seed, len(task)])
        for place, arm in enumerate(arms):
            for row in range(len(phases) + 1):
                level = levels[row] if row < 2 else levels[2][place]
                shift = 0.01 * wobble.standard_normal() if seed and row else 0.0
                values, weights = _values(level + shift, unit, trait, size, (place, row))
                one = Items(
                    hashes=hashes, roles=roles, groups=hashes, values=values, weights=weights
                )
                checkpoint = Checkpoint("default", arm.name, seed, row)
                items[ItemKey(checkpoint, TaskKey(task, metric, 0))] = one
                for role in ("select", "report"):
                    part = one.of_role(role)
                    below = part.weights.sum() if weights is not None else len(part.values)
                    value = float(part.values.sum() / below)
                    scores.append(
                        ScoreRow(
                            variant="default",
                            arm=arm.name,
                            seed=seed,
                            phase_index=row,
                            phase=phases[row - 1] if row else "base",
                            task=task,
                            metric=metric,
                            num_fewshot=0,
                            value=value,
                            stderr=float(
                                part.values.std() / len(part.values) ** 0.5 / part_mean(part)
                            ),
                            num_items=len(part.values),
                            higher_is_better=higher,
                            is_main=True,
                            role=role,
                            unit=unit,
                            chance=chance,
                            majority=majority,
                        )
                    )
    return scores, items


def part_mean(part: Items) -> float:
    """Mean of what is below the line of a score."""
    return 1.0 if part.weights is None else float(part.weights.mean())


def _values(level, unit, trait, size, place):
    """Items that stay alike from checkpoint to checkpoint, with some that flip."""
    stream = 0 if place[1] == 0 else place[1] if place[1] == 1 else 10 + place[0]
    noise = np.random.default_rng(stream).standard_normal(len(trait))
    if unit == "bits_per_byte":
        hardness = 1 + 0.3 * (trait - 0.5)
        return level * hardness * size * (1 + 0.03 * noise), size
    felt = trait + 0.12 * noise
    return (felt <= np.quantile(felt, level)).astype(float), None


def _curves(arms, seeds, phases):
    for seed in seeds:
        for place, arm in enumerate(arms):
            for index, phase in enumerate(phases, start=1):
                stream = np.random.default_rng([seed, 0 if index == 1 else place, index])
                steps = np.arange(50 if index == 1 else 40)
                floor = 0.8 if index == 1 else 2.0 + 0.12 * place
                losses = floor + 2 * np.exp(-steps / 9) + 0.08 * stream.standard_normal(len(steps))
                yield Curve(
                    checkpoint=Checkpoint("default", arm.name, seed, index),
                    phase=phase,
                    steps=steps.tolist(),
                    losses=losses.tolist(),
                )


PASSES = {"replay": 131_000, "freeze": None}
"""Token passes of the second phase; of one nothing is known."""


def _training(arms, seeds, phases):
    for seed in seeds:
        for place, arm in enumerate(arms):
            for index, phase in enumerate(phases, start=1):
                later = index > 1
                yield TrainFacts(
                    checkpoint=Checkpoint("default", arm.name, seed, index),
                    phase=phase,
                    new_tokens=40_960 if later else 3_600,
                    old_tokens=2_156 if later and arm.name == "replay" else 0,
                    generated_tokens=0,
                    steps=40 if later else 50,
                    learning_rate=(1e-4 if arm.name == "low_rate" else 3e-4) if later else 2e-4,
                    trainable_parameters=35_000_000
                    if later and arm.name == "freeze"
                    else 134_515_008,
                    total_parameters=134_515_008,
                    seconds=61.5 + 3 * place if later else 48.2,
                    device="cpu",
                    precision="bf16",
                    moving=MOVING if later and arm.name == "freeze" else None,
                    token_passes=PASSES.get(arm.name, 124_000) if later else 114_000,
                )


def _samples(arms, phases):
    prompt = "Which subject is this question from?\nThe deltoid muscle is supplied by which nerve?"
    answers = {0: "The deltoid muscle is a muscle of the shoulder.", 1: "Anatomy"}
    last = {"none": "शरीर", "low_rate": "Anatomy", "replay": "Anatomy", "freeze": "Surgery"}
    text = {0: "I am sorry, I do not speak", 1: "Anatomy Anatomy"}
    for arm in arms:
        for row in range(len(phases) + 1):
            checkpoint = Checkpoint("default", arm.name, 0, row)
            yield Sample(
                checkpoint=checkpoint,
                task="phase:medicine",
                prompt=prompt,
                reference="Anatomy",
                response=answers.get(row, last.get(arm.name, "Anatomy")),
            )
            yield Sample(
                checkpoint=checkpoint,
                task="phase:hindi",
                prompt="मेरा जन्म उस समय हुआ",
                reference=" जब मेरे पिता घर पर नहीं थे।",
                response=text.get(row, " जब मैं अपने घर में था और वह मेरे साथ थी।"),
            )


def _questions(items):
    return {
        key.task: {
            item: Question(f"Question {item[:6]} of {key.task.task}?", f"right {item[:4]}")
            for item in one.of_role("report").hashes.tolist()
        }
        for key, one in items.items()
        if key.task.metric == "acc"
    }


def _answers(items):
    """A margin of the sign that the item's value asks for."""
    found = {}
    for key, one in items.items():
        report = one.of_role("report")
        if key.task.metric == "acc":
            found[key] = {
                item: Answer(
                    f"right {item[:4]}" if value else f"wrong {item[4:8]}",
                    (int(item[8:12], 16) / 65536 + 0.01) * (1 if value else -3),
                )
                for item, value in zip(report.hashes.tolist(), report.values, strict=True)
            }
    return found


NAMES = {
    "phase:medicine": tuple(f"subject {n}" for n in range(8)),
    "embedded_boolq": ("no", "yes"),
}
"""Answers that all items of a task have; others have two choices of their own."""


def _given(items):
    """The right answer where the item's value asks for it, else the one beside it."""
    found = {}
    for key, one in items.items():
        report = one.of_role("report")
        if key.task.metric == "acc":
            names = NAMES.get(key.task.task, ())
            num = len(names) or 2
            right = np.array([int(item[:4], 16) % num for item in report.hashes])
            is_right = report.values > 0
            found[key] = Given(
                names=names,
                taken=np.where(is_right, right, (right + 1) % num),
                right=right,
                nats=np.where(is_right, -2.0, -9.0),
                num_bytes=4.0 + right,
            )
    return found


def _corpora():
    return (
        Corpus(
            name="tree-hindi",
            step="rehearse/tree-hindi-0123456789abcdef",
            num_documents=61,
            num_tokens=20_112,
            tokens_written=31_007,
            removed=(("assistant", "repeats itself", 12), ("document", "leak", 1)),
            diversity=(("distinct-1: different words of all", 0.31), ("self-BLEU", 0.12)),
            samples=("user: What is a nerve?\nassistant: A bundle of fibres.",),
            removed_samples=(("repeats itself", "the the the the"),),
        ),
    )


def _lineage(arms, seeds, phases):
    for seed in seeds:
        for place, arm in enumerate(arms):
            for index, phase in enumerate(phases, start=1):
                yield Made(
                    variant="default",
                    arm=arm.name,
                    seed=seed,
                    phase_index=index,
                    phase=phase,
                    model=f"train/{phase}-{seed}{index}{place if index > 1 else 0}fffffffffffff",
                    start=f"train/{phases[0]}-{seed}10fffffffffffff" if index > 1 else "",
                    data=(f"data/{phase}-00000000000000{index:02d}",),
                )


def _data():
    return (
        DataFacts(
            role="phase medicine",
            source="embedded:medmcqa-subject",
            licence="Apache-2.0",
            num_train=1_200,
            num_held_out=400,
            languages="en",
            sha256="5f" * 32,
        ),
        DataFacts(
            role="phase hindi",
            source="embedded:hindi-prose",
            licence="public domain",
            num_train=812,
            num_held_out=400,
            languages="hi",
            sha256="a0" * 32,
            notes=("A novel of 1936; the model may have seen it.",),
        ),
    )
