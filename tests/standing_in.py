"""A shipped recipe with tiny models and a few rows of nonsense in place of what it names."""

import json
import random
import re
from pathlib import Path

from retain.recipe import load_recipe
from tests.test_end_to_end import WORDS

NUM_ROWS = 60
COLUMN = re.compile(r"\{([^{}]*)\}")
SHORT = {"max_steps": 2, "batch_size": 4, "max_length": 128, "precision": "fp32"}
PAID_STEPS = 8  # what the model writes is paid for out of the training
DROPPED = ("num_train_epochs", "batch_tokens", "warmup_steps", "save_steps")


def stand_in(name, model, *, arms=None, variants=None, encoder_model=None):
    """The values of a shipped recipe, shortened; its data is written into the current folder.

    Args:
        name: Of the recipe.
        model: A tiny model's folder.
        arms: Those to keep; None keeps all.
        variants: Those to keep; None keeps all.
        encoder_model: A tiny model with an encoder, in place of mT0.
    """
    values = load_recipe(name).resolved()
    values["model"] = str(model)
    tests = [one for one in values["evaluate"]["tasks"] if isinstance(one, dict) and "data" in one]
    values["evaluate"] |= {
        "tasks": [f"phase:{values['phases'][-1]['name']}", *(_own(test) for test in tests)],
        "groups": {},
        "num_fewshot": [0],
        "limit": 6,
        "compat": None,
        "probes": [],
        "judge": None,
        "recovery": [],
        "fewshot_control": False,
        "fewshot_draws": 1,
    }
    for phase in values["phases"]:
        _shorten(phase)
    kept = (
        values["variants"]
        if variants is None
        else {one: values["variants"][one] for one in variants}
    )
    values["variants"] = {
        one: _variant(changes, model, encoder_model) for one, changes in kept.items()
    }
    for changes in values["variants"].values():
        if arms is not None and "arms" in changes:
            changes["arms"] = [one for one in changes["arms"] if one in arms]
    values["arms"] = {
        one: _arm(arm) for one, arm in values["arms"].items() if arms is None or one in arms
    }
    values["sweep"] = {}
    return values


def _shorten(phase):
    train = phase["train"]
    phase["held_out"] = {"count": 12}
    phase["data"] = [_rows(one, train["objective"]) for one in phase["data"]]
    for key in DROPPED:
        train.pop(key, None)
    train |= SHORT
    if train["tuning"] != "full":
        train |= {"tuning": "lora", "lora_r": 2}
    train["optimizer"] = None


def _variant(changes, model, encoder_model):
    made = {}
    for key, value in changes.items():
        if key == "model":
            made[key] = str(encoder_model if "mt0" in value and encoder_model else model)
        elif key.endswith(".data"):
            sources = value if isinstance(value, list) else [value]
            sources = [{"source": one} if isinstance(one, str) else one for one in sources]
            objective = changes.get(key.replace(".data", ".train.objective"), "sft")
            made[key] = [_rows(one, objective) for one in sources]
        elif not key.endswith("held_out.count"):
            made[key] = value
    return made


def _arm(arm):
    train = {key: value for key, value in arm["train"].items() if key != "max_steps"}
    if "lora_r" in train:
        train["lora_r"] = 2
    if arm["budget"] == "same_total_compute":
        train["max_steps"] = PAID_STEPS
    return arm | {"train": train, "methods": [_method(one) for one in arm["methods"]]}


def _method(method):
    made = dict(method)
    if made.get("share"):
        made["share"] = 0.25  # a tenth of eight examples is none
    for key in ("past", "general"):
        if made.get(key):
            made[key] = {"data": [_rows(one, "sft") for one in made[key]["data"]], "name": "old"}
    if made["method"] == "generative_replay":
        made |= {"num_documents": 4, "max_new_tokens": 8, "allow_fewer": True}
        if made["prompts"] not in ("new", "past", "parallel"):
            made["prompts"] = _rows({"source": made["prompts"]}, "sft")["source"]
    if made["method"] == "tree_generation":
        made |= {"num_tokens": 64, "question_tokens": 8, "answer_tokens": [8], "allow_fewer": True}
    if made["method"] == "instruction_mixing":
        made["num_examples"] = 3
    return made


def _own(test):
    choice = test["metric"] == "choice"
    columns = ("question", "choices", "answer") if choice else ("text",)
    return test | {"data": _written(f"own-{test['name']}", columns)}


def _rows(source, objective):
    """The source with a file of nonsense that has the columns which it must have."""
    template = source.get("template") or {}
    texts = [
        text
        for value in template.values()
        for text in ([value] if isinstance(value, str) else value)
    ]
    columns = tuple(dict.fromkeys(name for text in texts for name in COLUMN.findall(text)))
    columns = columns or tuple((source.get("columns") or {}).values())
    columns = columns or (("text",) if objective == "pretrain" else ("prompt", "completion"))
    kept = {key: value for key, value in source.items() if key not in ("sample", "split")}
    stem = re.sub(r"\W+", "-", source["source"] + (source.get("split") or ""))
    return kept | {"source": _written(stem, columns)}


def _written(stem, columns):
    path = Path(f"{stem}-{len(columns)}.jsonl")
    draw = random.Random(str(path))
    rows = []
    for number in range(NUM_ROWS):
        row = {name: f"{name} {' '.join(draw.choices(WORDS, k=3))} {number}" for name in columns}
        if "choices" in columns:
            row |= {"choices": [f"yes {number}", f"no {number}"], "answer": number % 2}
        if "label" in columns:
            row["label"] = number % 4
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
