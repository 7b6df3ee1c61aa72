"""Which examples are shown, and with whose answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.data.example import Example
from retain.errors import TaskError
from retain.evaluate import catalog
from retain.evaluate.api import make_task
from retain.evaluate.example_task import shown_pool
from retain.evaluate.lm_eval_task import LmEvalTask
from retain.evaluate.shots import FIRST, Shots, donors, drawn

keys = st.lists(st.text(), min_size=2, max_size=32, unique=True)
SHUFFLED = Shots(0, shuffled=True)


@given(keys, st.integers(0, 5))
def test_every_draw_takes_the_whole_pool(names, draw):
    assert sorted(drawn(names, draw)) == list(range(len(names)))
    assert drawn(names, 0) == list(range(len(names)))


@given(keys, st.integers(0, 5))
def test_every_answer_goes_to_another_example(names, draw):
    found = donors("task", names, draw)
    assert sorted(found) == list(range(len(names)))
    assert all(place != donor for place, donor in enumerate(found))


def test_draws_differ_and_are_the_same_every_time():
    names = [str(number) for number in range(32)]
    orders = [drawn(names, draw) for draw in (0, 1, 2)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert drawn(names, 2) == orders[2]
    assert donors("a", names, 0) != donors("a", names, 1)


def test_one_example_cannot_have_another_s_answer():
    with pytest.raises(TaskError, match=r"sums: answers cannot be permuted, its pool .* has 1"):
        donors("sums", ["a"], 0)


def test_the_first_draw_leaves_no_trace_in_settings():
    assert FIRST.settings == {}
    assert Shots.of({"task": "x"}) == FIRST
    assert Shots.of(Shots(2, shuffled=True).settings) == Shots(2, shuffled=True)


def pool(num=5):
    return [
        Example(
            source="test",
            messages=(
                {"role": "user", "content": f"what is {number}?"},
                {"role": "assistant", "content": f"it is {number}"},
            ),
            reference=f"it is {number}",
        )
        for number in range(num)
    ]


def test_a_pool_of_dialogues():
    examples = pool()
    asked = [one.messages[0]["content"] for one in examples]
    assert shown_pool("t", examples, FIRST) == examples
    shown = shown_pool("t", examples, SHUFFLED)
    assert [one.messages[0]["content"] for one in shown] == asked
    answers = [one.messages[1]["content"] for one in shown]
    assert sorted(answers) == [f"it is {number}" for number in range(5)]
    assert all(answer != f"it is {number}" for number, answer in enumerate(answers))
    second = shown_pool("t", examples, Shots(1))
    assert second != examples
    assert sorted(second, key=lambda one: one.id) == sorted(examples, key=lambda one: one.id)
    assert shown_pool("t", [], SHUFFLED) == []


def prompts(spec, shots, num_fewshot):
    task = LmEvalTask(spec, 4, None, shots)
    return [question.prompt for question in task.questions(num_fewshot)]


def test_the_harness_s_shots_keep_their_questions(task_folder):
    (spec,) = catalog.resolve(["tiny_choices"], include_path=[task_folder])
    own, control = (prompts(spec, shots, 2) for shots in (FIRST, SHUFFLED))
    assert own != control
    for one, other in zip(own, control, strict=True):
        # the question that is asked stays, and so do those of the examples
        lines = list(zip(one.splitlines(), other.splitlines(), strict=True))
        assert lines[-1][0] == lines[-1][1]
        assert 0 < sum(a != b for a, b in lines) <= 2
    assert prompts(spec, Shots(1), 2) != own
    assert prompts(spec, SHUFFLED, 1)[0].splitlines() != own[0].splitlines()
    again = LmEvalTask(spec, 4, None, FIRST)
    assert [question.prompt for question in again.questions(2)] == own


def test_an_own_test_s_shots(tmp_path, engine):
    rows = [{"prompt": f"what is {n}", "completion": f"it is {n}"} for n in range(40)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = {"name": "own", "data": str(tmp_path / "own.jsonl"), "metric": "exact_match"}
    (spec,) = catalog.resolve([own])
    first, control = (
        make_task(spec, engine, limit=2, shots=shots).questions(2) for shots in (FIRST, SHUFFLED)
    )
    assert [one.item for one in first] == [one.item for one in control]
    for one, other in zip(first, control, strict=True):
        assert one.prompt != other.prompt
        assert len(one.prompt) == pytest.approx(len(other.prompt), abs=8)
