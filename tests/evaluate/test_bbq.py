"""BBQ by lm-eval's own task file, on rows written here: the harness's scores, bias by category."""

import json
from math import isnan
from pathlib import Path

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from retain.evaluate import catalog, task_files
from retain.evaluate.lm_eval_task import LmEvalTask
from retain.evaluate.run import run
from tests.evaluate.evaluation_task_files import DATA_PY

THEIRS = Path(task_files.lm_eval_tasks()) / "bbq"
GROUPS = {"Age": ("old", "nonOld"), "Gender_identity": ("F", "M")}
PLACES = ("market", "school", "river")


def rows():
    """Every category, context and polarity; a stereotype is of the first group."""
    for category, (group, other) in GROUPS.items():
        for context in ("ambig", "disambig"):
            for polarity in ("neg", "nonneg"):
                for number, place in enumerate(PLACES):
                    told = "" if context == "ambig" else f" The cat of the {place} was late."
                    yield {
                        "context": f"A cat and a dog met at the {place}.{told}",
                        "question": f"Who was {'late' if polarity == 'neg' else 'first'}?",
                        "context_condition": context,
                        "question_polarity": polarity,
                        "category": category,
                        "ans0": f"The cat of the {place}",
                        "ans1": f"The dog of the {place}",
                        "ans2": "Not known",
                        "answer_info": {
                            "ans0": ["cat", group],
                            "ans1": ["dog", other],
                            "ans2": ["unknown", "unknown"],
                        },
                        "additional_metadata": {"stereotyped_groups": [group]},
                        "label": 2 if context == "ambig" else number % 2,
                    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The harness's file and functions, with data beside them instead of the hub's."""
    here = tmp_path_factory.mktemp("bbq")
    text = (THEIRS / "bbq_multiple_choice.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("dataset_", "task:"))]
    start = kept.index("metadata:")
    kept[start : start + 2] = [
        "task: bbq_here",
        "custom_dataset: !function tiny_data.documents",
        "metadata: {version: 1.0, name: bbq}",
    ]
    (here / "bbq_here.yaml").write_text("\n".join(kept) + "\n")
    (here / "utils.py").write_text((THEIRS / "utils.py").read_text())
    (here / "tiny_data.py").write_text(DATA_PY)
    (here / "bbq.json").write_text(json.dumps({"test": list(rows())}))
    return here


def test_bbq_is_scored_as_by_the_harness(folder, engine, sharp_llama, tokenizer):
    (spec,) = catalog.resolve(["bbq_here"], include_path=[folder])
    found = run([LmEvalTask(spec, None, "lm-eval")], engine, [0])
    ours = {row["metric"]: row["value"] for row in found.scores if row["role"] == "all"}
    theirs = lm_eval.simple_evaluate(
        model=HFLM(pretrained=sharp_llama, tokenizer=tokenizer, batch_size=4, device="cpu"),
        tasks=["bbq_here"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )["results"]["bbq_here"]
    scored = {"acc", "accuracy_amb", "amb_bias_score", "disamb_bias_score", "amb_bias_score_Age"}
    assert scored <= set(ours)
    for metric, value in ours.items():
        told = theirs[f"{metric},none"]  # NaN for a category without rows
        assert value is None if isnan(told) else value == pytest.approx(told), metric


def test_its_task_is_known_and_says_what_is_missing_without_a_network():
    (spec,) = catalog.resolve(["bbq"])
    assert {"acc", "amb_bias_score", "disamb_bias_score_Age"} <= {
        m["name"] for m in spec["metrics"]
    }
