"""Phases and tests of one's own: choices, references, texts, shots."""

import json
from math import log

import pytest
import torch

from retain.data.example import Example
from retain.data.render import continuations, prompt_text
from retain.decode.prefix_tree import Answer
from retain.errors import TaskError
from retain.evaluate import catalog
from retain.evaluate.engine import Engine
from retain.evaluate.example_task import own_task, phase_task
from retain.evaluate.run import run
from retain.evaluate.samples import samples
from retain.evaluate.text_metrics import sari

CHOICES = ("the bones", "the heart", "a dog")


def messages(question, answer):
    return ({"role": "user", "content": question}, {"role": "assistant", "content": answer})


def choice(number):
    answer = number % 3
    return Example(
        source="test",
        messages=messages(f"which is number {number}", CHOICES[answer]),
        choices=CHOICES,
        answer=answer,
    )


def reference(number):
    answer = f"the answer is {number} and no"
    return Example(source="test", messages=messages(f"say {number}", answer), reference=answer)


def text(number):
    return Example(source="test", text=f"यह एक किताब है और वह घर जा रहा है {number} " * (number + 1))


def held_out(tmp_path, make, count=24, pool=4):
    roles = ["pool"] * pool + ["select", "report", "report"] * count
    path = tmp_path / "heldout.jsonl"
    rows = [make(n).to_json() | {"role": roles[n]} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def main_row(found, role="all", shots=0):
    rows = [r for r in found.scores if r["is_main"] and r["role"] == role]
    return next(row for row in rows if row["num_fewshot"] == shots)


def test_choices_are_scored_as_training_renders_them(tmp_path, engine, tokenizer):
    task = phase_task("phase:skill", held_out(tmp_path, choice), engine, None)
    found = run([task], engine, [0])
    row = main_row(found)
    assert (row["metric"], row["num_items"], row["chance"]) == ("acc", 20, pytest.approx(1 / 3))
    item, example = task.scored[0]
    prompt = prompt_text(example, tokenizer)
    assert prompt.endswith("<|im_start|>assistant\n")
    expected = []
    for answer in continuations(example, tokenizer):
        context = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        rest = tokenizer(answer, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            scores = engine.model(torch.tensor([context + rest])).logits[0].log_softmax(-1)
        wanted = torch.tensor(rest)[:, None]
        expected.append(float(scores[len(context) - 1 : -1].gather(-1, wanted).sum()))
    (kept,) = [one for one in found.items if one["item"] == item.key]
    assert kept["choice_logprobs"] == pytest.approx(expected, abs=1e-4)
    assert kept["role"] in ("select", "report")
    assert found.items[0]["target"] in CHOICES


def test_the_pool_is_shown_and_never_scored(tmp_path, engine):
    task = phase_task("phase:skill", held_out(tmp_path, choice), engine, None)
    found = run([task], engine, [0, 2, 4])
    pool = {example.id for example in task.pool}
    assert len(pool) == 4
    assert pool.isdisjoint(item["item"] for item in found.items)
    none, two, four = (
        next(i["prompt"] for i in found.items if i["num_fewshot"] == k) for k in (0, 2, 4)
    )
    assert none.count("assistant\n") == 1
    assert two.count("assistant\n") == 3
    start = two[: -len(none)] if two.endswith(none) else two[: two.rindex("<|im_start|>user")]
    assert four.startswith(start)


def test_more_shots_than_held_out_are_refused(tmp_path, engine):
    task = phase_task("phase:skill", held_out(tmp_path, choice), engine, None)
    with pytest.raises(TaskError, match="phase:skill: 5 shots asked, its pool has 4"):
        run([task], engine, [5])


def test_a_reference_is_scored_by_likelihood_and_by_what_is_written(tmp_path, engine):
    task = phase_task("phase:answers", held_out(tmp_path, reference), engine, None)
    task.num_written = 5
    found = run([task], engine, [0])
    counts = {r["metric"]: r["num_items"] for r in found.scores if r["role"] == "all"}
    assert counts == {"bits_per_byte": 20, "chrf": 5, "exact_match": 5}
    assert main_row(found)["metric"] == "bits_per_byte"
    assert sum(bool(item["response"]) for item in found.items) <= 5


def test_texts_are_scored_by_bits_per_byte(tmp_path, engine):
    task = phase_task("phase:hindi", held_out(tmp_path, text, pool=0), engine, None)
    found = run([task], engine, [0, 3])
    assert {item["num_fewshot"] for item in found.items} == {0}
    row = main_row(found)
    nats, size = (sum(item[name] for item in found.items) for name in ("nats", "num_bytes"))
    assert row["value"] == pytest.approx(nats / size / log(2))
    assert size == sum(len(example.text.encode()) for _, example in task.scored)


def test_long_texts_are_scored_in_windows(tmp_path, sharp_llama, tokenizer):
    """The items' nats are those of every token once, whatever the windows."""
    path = held_out(tmp_path, text, pool=0)
    whole = phase_task("phase:hindi", path, Engine(sharp_llama, tokenizer), None)
    short = phase_task("phase:hindi", path, Engine(sharp_llama, tokenizer, max_length=40), None)
    longest = max(len(q.calls) for q in short.questions(0))
    assert longest > 3
    for one, other in zip(whole.questions(0), short.questions(0), strict=True):
        tokens = [sum(len(call.continuation) for call in q.calls) for q in (one, other)]
        assert tokens[0] == tokens[1]


def test_limits_nest_and_one_above_the_data_says_so(tmp_path, engine):
    path = held_out(tmp_path, choice)
    keys = [
        [item.key for item, _ in phase_task("phase:skill", path, engine, limit).scored]
        for limit in (5, 12, 500)
    ]
    assert keys[1][:5] == keys[0]
    assert keys[2][:12] == keys[1]
    note = phase_task("phase:skill", path, engine, 500).notes
    assert note == ["limit 500 is larger than the data: all 20 items are scored"]


def test_nothing_held_out_is_refused(tmp_path, engine):
    with pytest.raises(TaskError, match="phase:skill: its data has no held-out item"):
        phase_task("phase:skill", held_out(tmp_path, choice, count=4), engine, None)


def test_sample_answers(tmp_path, engine):
    from retain.evaluate.ledger import Ledger

    for make, pool in ((choice, 4), (reference, 4), (text, 0)):
        task = phase_task("phase:x", held_out(tmp_path, make, pool=pool), engine, None)
        rows = samples(task, Ledger())
        assert len(rows) == 3
        assert all(row["prompt"] and isinstance(row["response"], str) for row in rows)
        roles = {item.key: item.role for item, _ in task.scored}
        assert {roles[row["item"]] for row in rows} == {"report"}


# ---------------------------------------------------------------- tests of one's own


def own(tmp_path, rows, metric):
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (spec,) = catalog.resolve([{"name": "mine", "data": str(path), "metric": metric}])
    return spec


@pytest.mark.parametrize("metric", ["exact_match", "chrf", "bleu", "rouge_1", "rouge_l", "sari"])
def test_written_answers(tmp_path, engine, metric):
    rows = [{"prompt": f"say {n}", "completion": f" {n} and no"} for n in range(12)]
    task = own_task(own(tmp_path, rows, metric), engine, None)
    row = main_row(run([task], engine, [0, 1]), shots=1)
    assert row["metric"] == metric
    assert row["num_items"] == 11  # one example of twelve is the pool


def test_sari_is_held_against_the_text_not_the_instruction(tmp_path, engine):
    """The unchanged text keeps what it should and adds nothing; the reference has 100."""
    source, simple = "The feline sat upon the mat.", "The cat sat on the mat."
    rows = [
        {"prompt": f"Make it simpler, {n}.\n\n{source}", "completion": simple} for n in range(9)
    ]
    task = own_task(own(tmp_path, rows, "sari"), engine, None)
    questions = task.questions(0)

    def score(answer):
        replies = [[Answer(-1.0, False), answer] for _ in questions]
        return {one.metrics["sari"] for one in task.outcomes(questions, replies)}

    assert score(simple) == {100.0}
    assert score(source) == {sari(source, source, [simple])}
    assert max(score(source)) < 50


def test_own_choices(tmp_path, engine):
    rows = [{"question": f"q {n}", "choices": list(CHOICES), "answer": n % 3} for n in range(10)]
    row = main_row(run([own_task(own(tmp_path, rows, "choice"), engine, None)], engine, [0]))
    assert (row["metric"], row["num_items"]) == ("acc", 9)


def test_own_texts(tmp_path, engine):
    rows = [{"text": f"यह एक किताब है {n}"} for n in range(10)]
    row = main_row(run([own_task(own(tmp_path, rows, "bits_per_byte"), engine, 4)], engine, [0]))
    assert (row["metric"], row["num_items"], row["higher_is_better"]) == ("bits_per_byte", 4, False)


@pytest.mark.parametrize(
    ("rows", "metric", "message"),
    [
        ([{"text": "a"}], "choice", "needs choices and an answer; row 1"),
        ([{"text": "a"}], "chrf", "needs a reference answer; row 1"),
        ([{"question": "q", "choices": ["a", "b"], "answer": 0}], "bits_per_byte", "has choices"),
    ],
)
def test_a_metric_that_does_not_fit_the_data_is_refused(tmp_path, engine, rows, metric, message):
    with pytest.raises(TaskError, match=message):
        own_task(own(tmp_path, rows, metric), engine, None)
