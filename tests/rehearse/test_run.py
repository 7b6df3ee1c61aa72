"""A whole run in which the model rehearses: what is mixed, and what a second run does again."""

import json

import pytest
from pyarrow.parquet import read_table

from retain import api
from retain.api.prepared import prepare
from retain.estimate import make_plan
from retain.report.made import corpora
from retain.report.text import count

pytestmark = pytest.mark.slow  # whole runs

ANSWERS = {
    "method": "generative_replay", "share": 0.2, "num_documents": 16, "max_new_tokens": 12,
    "temperature": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_model_folder):
    """Two phases of text on the tiny model."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("first", "second"):
        rows = [
            {"text": f"{name} {number} and {number * 7} more words of it"} for number in range(60)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = {
        "objective": "pretrain", "learning_rate": 1e-3, "max_steps": 2, "batch_size": 8,
        "max_length": 32, "precision": "fp32",
    }  # fmt: skip
    phases = [
        {"name": name, "data": str(folder / f"{name}.jsonl"), "train": train}
        for name in ("first", "second")
    ]
    both = [
        ANSWERS,
        {"method": "experience_replay", "share": 0.1},
        {"method": "freeze", "num_layers": 1},
    ]
    noise = {"method": "tree_generation", "shape": "random_text", "share": 0.2}
    noise |= {"num_tokens": 500, "answer_tokens": [12], "question_tokens": 4}
    arms = {"none": [], "answers": [ANSWERS], "both": both, "noise": [noise]}
    few = ANSWERS | {"num_documents": 8, "share": 0.1}
    arms["paid"] = {"methods": [few], "budget": "same_total_compute"}
    return {
        "name": "toy", "model": str(tiny_model_folder), "phases": phases, "arms": arms,
        "evaluate": {"tasks": ["phases"], "limit": 2},
    }  # fmt: skip


@pytest.fixture(scope="module")
def ran(recipe, tmp_path_factory):
    """The runs folder after one run, and the steps by kind and arm."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAIN_CACHE", str(runs / "cache"))
        made = prepare(recipe, (), runs, None)
        plan = make_plan(made.resolved, made.graph, made.store)
        outcome = api.run(recipe, runs=runs)
        made = prepare(recipe, (), runs, None)
    return made, outcome, plan


def stream(made, arm):
    [found] = [row for row in made.graph.rows if row.arm == arm and row.phase_index == 2]
    return read_table(made.store.open(found.mix, "stream.parquet")).to_pylist()


def corpus_of(made, method):
    """The step that wrote it; of two, the larger: the arm that pays has one of its own."""
    found = [
        step
        for step in made.graph.steps
        if step.kind == "rehearse" and step.settings["methods"][0]["method"] == method
    ]
    return max(found, key=lambda step: step.settings["methods"][0].get("num_documents", 0))


def test_noise_of_the_same_budget_is_mixed_in_too(ran):
    made, _, _ = ran
    facts = json.loads(
        made.store.open(corpus_of(made, "tree_generation"), "facts.json").read_text()
    )
    assert 480 <= facts["num_tokens"] <= 500
    sources = {row["source"] for row in stream(made, "noise")}
    assert sources == {"new", "rehearsed:tree_generation"}


@pytest.mark.parametrize("arm", ["answers", "both"])
def test_every_new_example_is_there_and_the_share_is_exact_to_one(ran, arm):
    made, _, _ = ran
    new = sorted(row["example_id"] for row in stream(made, "none"))
    rows = stream(made, arm)
    assert sorted(row["example_id"] for row in rows if row["source"] == "new") == new
    written = [row for row in rows if row["source"] == "rehearsed:generative_replay"]
    assert abs(len(written) - 0.2 * len(rows)) <= 0.5 + 1e-9
    assert {row["source"] for row in rows} == {"new", "rehearsed:generative_replay"} | (
        {"past:first"} if arm == "both" else set()
    )


def test_what_is_trained_on_is_what_was_written(ran):
    made, _, _ = ran
    corpus = corpus_of(made, "generative_replay")
    lines = made.store.open(corpus, "corpus.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 16
    assert all(json.loads(line)["text"].startswith("second") for line in lines)


def test_one_corpus_is_written_for_both_arms_and_never_again(ran, recipe):
    made, outcome, _ = ran
    assert sum(step.kind == "rehearse" for step in made.graph.steps) == 3  # the noise, the paid
    again = api.run(recipe, runs=made.runs)
    assert again.num_done == 0
    assert again.num_reused == outcome.num_done


def test_the_plan_counts_what_is_not_written_yet(ran):
    made, _, plan = ran
    corpus = corpus_of(made, "generative_replay")
    [line] = [line for line in plan.lines if line.step == corpus]
    assert line.tokens
    assert line.seconds > 0
    planned = {line.step: line.tokens for line in plan.lines if line.step.kind == "train"}
    [row] = [row for row in made.graph.rows if row.arm == "answers" and row.phase_index == 2]
    facts = json.loads(made.store.open(row.mix, "facts.json").read_text())
    assert planned[row.train] == pytest.approx(facts["num_tokens"], rel=0.3)


def test_the_report_shows_what_was_written_and_what_was_removed(ran):
    made, outcome, _ = ran
    found = {corpus.step: corpus for corpus in corpora(made.graph, made.store)}
    step = corpus_of(made, "generative_replay")
    facts = json.loads(made.store.open(step, "facts.json").read_text())
    corpus = found[step.folder]
    assert (corpus.num_tokens, corpus.tokens_written) == (
        facts["num_tokens"],
        facts["tokens_written"],
    )
    assert 0 < corpus.num_documents <= facts["num_documents"]
    assert len(corpus.samples) == min(3, facts["num_documents"])
    likeness = {phase: (like, halves) for phase, like, halves in corpus.likeness}
    assert set(likeness) == {"first", "second"}
    assert likeness["first"][0] < likeness["second"][0] < 1  # it goes on from texts of the second
    assert all(halves > 0.9 for _, halves in likeness.values())
    page = (outcome.folder / "report.html").read_text("utf-8")
    assert "What models wrote to be trained on" in page
    assert "How like the phases" in page
    assert step.name in page


def test_an_arm_that_pays_for_its_writing_computes_no_more_than_plain_training(ran):
    made, outcome, _ = ran
    tokens = {arm: [len(one["input_ids"]) for one in stream(made, arm)] for arm in ("none", "paid")}
    [row] = [row for row in made.graph.rows if row.arm == "paid" and row.phase_index == 2]
    [written] = [step for step in row.mix.inputs.values() if step.kind == "rehearse"]
    passes = json.loads(made.store.open(written, "facts.json").read_text())["token_passes"]
    assert passes > 0
    left = 3 * sum(tokens["none"]) - passes - 3 * sum(tokens["paid"])
    assert 0 <= left <= 3 * 2 * max(tokens["none"])
    page = (outcome.folder / "report.html").read_text("utf-8")
    assert count(3 * sum(tokens["paid"]) + passes) in page
