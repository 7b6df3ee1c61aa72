"""StereoSet and CrowS-Pairs as tasks: scores that plain transformers gives, computed directly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from retain.evaluate import bias_task, catalog
from retain.evaluate.bias_task import METRICS, PAIR_METRICS, CrowSPairs, StereoSet
from retain.evaluate.compare import compare
from retain.evaluate.documents import document_texts
from retain.evaluate.engine import Engine
from retain.evaluate.item_values import item_values
from retain.evaluate.run import run
from retain.measure.bias import stereoset

GAP = {"context": "the BLANK ran", "type": "intrasentence", "bias_type": "gender"}
NEXT = {"context": "my dog sat on a mat. ", "type": "intersentence", "bias_type": "race"}
ROWS = [
    {
        **(GAP if n % 2 else NEXT),
        "choices": [f"the {word} ran {n} times." for word in ("cat", "doctor of the sea", "मेरो")],
        "target": f"target {n % 3}",
        "item": f"item {n % 3}",
    }
    for n in range(12)
]


PAIRS = [
    {
        "choices": [f"the {word} ran {n} times.", f"the doctor ran {n} times."][
            :: -1 if n % 3 else 1
        ],
        "bias_type": ("race-color", "age")[n % 2],
        "item": f"frame {n}",
    }
    for n, word in enumerate(("cat", "मेरो", "dog", "sea") * 3)
]
DATA = {"stereoset": [*ROWS, ROWS[0]], "crows-pairs": PAIRS}


@pytest.fixture
def rows(monkeypatch):
    bias_task.rows_of.cache_clear()
    monkeypatch.setattr(bias_task, "load_embedded", DATA.get)
    yield ROWS
    bias_task.rows_of.cache_clear()


def per_token(model, tokenizer, document, choice):
    """Mean log-probability per token, without any of ours."""
    head = document["context"].rstrip() if document["type"] == "intersentence" else ""
    text = f"{head} {choice}" if head else choice
    prefix = [] if head else [tokenizer.bos_token_id]
    tokens = prefix + tokenizer(text, add_special_tokens=False).input_ids
    first = len(tokenizer(head, add_special_tokens=False).input_ids) if head else 1
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)
    scored = [logprobs[place - 1, tokens[place]].item() for place in range(first, len(tokens))]
    return sum(scored) / len(scored)


def direct(model, tokenizer, documents):
    scores = [[per_token(model, tokenizer, row, c) for c in row["choices"]] for row in documents]
    return stereoset(np.array(scores), [row["target"] for row in documents])


def values(found, role="all"):
    return {row["metric"]: row["value"] for row in found.scores if row["role"] == role}


def test_scores_equal_a_direct_computation(rows, engine, sharp_llama, tokenizer):
    found = values(run([StereoSet(engine)], engine, [0]))
    expected = direct(sharp_llama, tokenizer, rows)
    assert (found["ss"], found["lms"], found["icat"]) == pytest.approx(expected)
    of_gender = [row for row in rows if row["bias_type"] == "gender"]
    assert found["ss_gender"] == pytest.approx(direct(sharp_llama, tokenizer, of_gender).stereotype)


def test_every_item_is_kept_with_what_it_preferred(rows, engine):
    found = run([StereoSet(engine)], engine, [0])
    assert len(found.items) == len(rows)  # the repeated row is scored once
    assert {item["source_item"] for item in found.items} == {"item 0", "item 1", "item 2"}
    for item in found.items:
        assert item["metric:prefers_stereotype"] in (0, 1)
        assert item["metric:prefers_sense"] in (0, 0.5, 1)
        assert len(item["choice_logprobs"]) == 3


def test_types_of_bias_that_are_not_there_have_no_score(rows, engine):
    found = values(run([StereoSet(engine)], engine, [0]))
    assert set(found) == {"icat", "lms", "ss", "ss_gender", "ss_race"}


TERMS = [{**row, "target": f"target {n % 9}", "item": f"item {n % 9}", "choices":
          [f"{one} {n}" for one in row["choices"]]}
         for n, row in enumerate(ROWS * 3)]  # fmt: skip


@pytest.fixture
def scored(monkeypatch, engine):
    """The evaluation of nine target terms with four items each."""
    bias_task.rows_of.cache_clear()
    monkeypatch.setattr(bias_task, "load_embedded", {"stereoset": TERMS}.get)
    yield run([StereoSet(engine)], engine, [0])
    bias_task.rows_of.cache_clear()


def test_items_say_what_every_score_is_made_of(scored):
    """From the kept columns alone, in every role: what intervals are resampled from."""
    for score in scored.scores:
        rows = [one for one in scored.items if score["role"] in ("all", one["role"])]
        kept = item_values(score, lambda name, of=rows: [one.get(name) for one in of])
        sources = np.array([one["source_item"] for one in rows])[kept.known]
        assert kept.at(kept.known).figures(sources).score == pytest.approx(score["value"])


def test_errors_and_intervals_are_over_terms(scored):
    of_all = {row["metric"]: row for row in scored.scores if row["role"] == "all"}
    assert 0 < of_all["ss"]["stderr"] < 25
    assert 0 < of_all["icat"]["stderr"] < 40
    turned = replace(scored, items=[
        row | {"metric:prefers_stereotype": 1 - row["metric:prefers_stereotype"]}
        if place % 3 else row
        for place, row in enumerate(scored.items)
    ])  # fmt: skip
    found = {row["metric"]: row for row in compare(scored, turned)}
    assert found["ss"]["num_sources"] == 9
    assert found["ss"]["ci_low"] < found["ss"]["ci_high"]
    assert (found["lms"]["ci_low"], found["lms"]["ci_high"]) == (0, 0)
    assert found["icat"]["ci_low"] is not None
    assert found["ss_race"]["num_sources"] == 9


def test_few_terms_have_no_interval(rows, engine):
    found = run([StereoSet(engine)], engine, [0])
    assert {row["stderr"] for row in found.scores} == {None}
    for row in compare(found, found):
        assert (row["ci_low"], row["ci_high"], row["num_sources"]) == (None, None, 3)


def test_limits_nest_and_shots_are_none(rows, engine):
    four, all_of_it = StereoSet(engine, 4), StereoSet(engine, 50)
    assert four.items == all_of_it.items[:4]
    assert "limit 50 is larger than the data: all 12 items are scored" in all_of_it.notes
    assert four.shots([0, 5]) == [0]
    assert any("50 is neutral" in note for note in four.notes)


def log_probability(model, tokenizer, sentence):
    """Of a whole sentence, without any of ours."""
    tokens = [tokenizer.bos_token_id, *tokenizer(sentence, add_special_tokens=False).input_ids]
    with torch.no_grad():
        logprobs = model(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)
    return sum(logprobs[place, token].item() for place, token in enumerate(tokens[1:]))


def test_pairs_equal_a_direct_computation_in_all_and_by_type(rows, engine, sharp_llama, tokenizer):
    found = run([CrowSPairs(engine)], engine, [0])
    prefers = []
    for pair in PAIRS:
        first, second = (log_probability(sharp_llama, tokenizer, one) for one in pair["choices"])
        prefers.append(first > second)
    assert 0 < sum(prefers) < len(prefers)
    score = values(found)
    assert score == pytest.approx({
        "stereotype": 100 * sum(prefers) / 12,
        "stereotype_race_color": 100 * sum(prefers[::2]) / 6,
        "stereotype_age": 100 * sum(prefers[1::2]) / 6,
    })  # fmt: skip
    assert {item["metric:stereotype"] for item in found.items} == {0, 100}
    stderr = next(r["stderr"] for r in found.scores if r["metric"] == "stereotype")
    assert stderr  # a mean of items: it has an interval


def test_pairs_are_limited_and_noted_like_other_tasks(rows, engine):
    task = CrowSPairs(engine, 5)
    assert len(task.items) == 5
    assert task.shots([0, 5]) == [0]
    assert any("50 is neutral" in note for note in task.notes)


@pytest.mark.parametrize(
    ("name", "metrics"), [("stereoset", METRICS), ("crows_pairs", PAIR_METRICS)]
)
def test_the_spec_says_what_the_task_gives(name, metrics):
    (spec,) = catalog.resolve([f"embedded_{name}"])
    assert spec["kind"] == name
    assert [
        (m["name"], m["higher_is_better"], m["unit"], m["is_main"]) for m in spec["metrics"]
    ] == [(m.name, m.higher_is_better, m.unit, m.is_main) for m in metrics]


def test_its_sentences_are_looked_for_in_the_training_data(rows):
    (spec,) = catalog.resolve(["embedded_stereoset"])
    texts = [text for _, text in document_texts(spec)]
    assert "the cat ran 1 times." in texts
    assert "my dog sat on a mat. the cat ran 0 times." in texts
    (pairs,) = catalog.resolve(["embedded_crows_pairs"])
    assert "the dog ran 2 times." in [text for _, text in document_texts(pairs)]


@pytest.mark.slow
def test_smollm2_equals_a_direct_computation_on_a_hundred_items():
    from retain.model.load import load

    loaded = load("embedded:smollm2-135m-instruct", precision="fp32")
    engine = Engine(loaded.model, loaded.tokenizer)
    task = StereoSet(engine, 100)
    found = values(run([task], engine, [0]))
    documents = [task.documents[item.index] for item in task.items]
    expected = direct(loaded.model, loaded.tokenizer, documents)
    assert (found["ss"], found["lms"], found["icat"]) == pytest.approx(expected)
