"""The step: both modes, a stop in the middle, and what it refuses."""

import json

import pytest

from retain.data.example import Example
from retain.errors import Interrupted, TaskError
from retain.evaluate.judge import JUDGED, RUBRIC
from retain.evaluate.judge.step import run
from retain.evaluate.results import write_items
from retain.model import cache
from retain.steps.step import Step
from retain.steps.store import Store
from tests.evaluate.judge.server import serving

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PHASE = {"name": "phase:skill", "kind": "phase"}
EXAMPLES = [
    Example(
        source="test",
        messages=(
            {"role": "user", "content": f"what is {number}?"},
            {"role": "assistant", "content": f"it is {number}"},
        ),
        reference=f"it is {number}",
    )
    for number in range(12)
]


@pytest.fixture(autouse=True)
def _no_model_kept():
    yield
    cache.clear()


def item(example, response, **changes):
    return {
        "task": "phase:skill",
        "item": example.id,
        "role": "report",
        "num_fewshot": 0,
        "source_item": example.item,
        "metric:chrf": 1.0,
        "prompt": "<|im_start|>user",
        "response": response,
        "target": example.reference,
        "nats": 1.0,
    } | changes


def finished(store, name, rows):
    """An evaluation step with these items."""
    step = Step("evaluate", name, 1, {"name": name})
    with store.begin(step) as work:
        write_items(rows, work.output / "items.parquet")
    return step


@pytest.fixture
def made(tmp_path):
    """A store with the answers of two checkpoints, and the folder of their data."""
    store = Store(tmp_path / "store")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "heldout.jsonl").write_text("\n".join(json.dumps(one.to_json()) for one in EXAMPLES))
    now = [item(one, f"good {number}") for number, one in enumerate(EXAMPLES)]
    base = [item(one, f"bad {number}") for number, one in enumerate(EXAMPLES)]
    base[0]["response"] = now[0]["response"]  # alike
    now[1]["role"] = base[1]["role"] = "select"
    now[2] |= {"response": "", "metric:chrf": None}  # not written out
    return store, folder, finished(store, "now", now), finished(store, "base", base)


def judge(made, server, mode="pairwise", stop=lambda: False, **changes):
    store, folder, now, base = made
    settings = {
        "mode": mode,
        "task": PHASE,
        "model": "judge-1",
        "address": server.address if server else None,
        "options": {"temperature": 0},
        "limit": None,
        "precision": "fp32",
    } | ({"rubric": RUBRIC} if mode == "rubric" else {})
    inputs = {"answers": now} | ({"rival": base} if mode == "pairwise" else {})
    step = Step("judge", mode, 1, settings | changes, inputs=inputs)
    with store.begin(step, stop=stop) as work:
        run(work, spec=PHASE, data_folder=folder, at_once=2)
    return json.loads((store.path(step) / JUDGED).read_text())


def prefers_good(messages):
    """The better answer, wherever it stands."""
    text = messages[0]["content"]
    return "Verdict: A" if text.find("good") < text.find("bad") else "Verdict: B"


def test_pairs_are_shown_in_both_orders(made):
    with serving(prefers_good) as server:
        found = judge(made, server)
    assert len(server.seen) == 2 * 9
    assert [one["found"] for one in found["items"]] == [
        {"first": 0, "second": 0, "alike": 1},
        *[{"first": 1, "second": -1, "alike": 0}] * 9,
    ]
    assert found["items"][1]["said"] == ["Verdict: A", "Verdict: B"]
    assert found["items"][1]["asked"].startswith("what is")
    assert (found["items"][1]["answer"][:4], found["items"][1]["rival"][:3]) == ("good", "bad")
    shown = server.seen[0][2]["messages"][0]["content"]
    assert "what is" in shown
    assert "it is" in shown
    assert "im_start" not in shown


def test_points_and_what_cannot_be_read(made):
    lines = "\n".join(f"{name}: 4" for name in RUBRIC)

    def said(messages):
        if "good 5" in messages[0]["content"]:
            return "I will not say."
        if "good 6" in messages[0]["content"] and len(messages) == 1:
            return "Let me think"
        return lines

    with serving(said) as server:
        found = judge(made, server, "rubric")
    assert found["num_unreadable"] == 1
    assert len(found["items"]) == 9
    assert all(one["found"] == dict.fromkeys(RUBRIC, 4) for one in found["items"])
    again = [body["messages"] for _, _, body in server.seen if len(body["messages"]) == 3]
    assert len(again) == 2
    assert again[0][1]["role"] == "assistant"


def test_a_stop_keeps_what_was_said(made):
    with serving(prefers_good) as server:
        asked = iter([False] * 4 + [True] * 9)
        with pytest.raises(Interrupted):
            judge(made, server, stop=lambda: next(asked))
        before = len(server.seen)
        assert 0 < before < 18
        found = judge(made, server)
    assert len(server.seen) == 18
    assert len(found["items"]) == 10


def test_a_server_that_fails_keeps_what_was_said(made):
    good = (200, {}, json.dumps({"choices": [{"message": {"content": "Verdict: A"}}]}))
    with serving(prefers_good, [good] * 4 + [(401, {}, "")]) as server:
        with pytest.raises(TaskError, match="401"):
            judge(made, server)
        before = len(server.seen)
        judge(made, server)
    assert len(server.seen) - before == 18 - 4


def test_a_judge_that_says_nothing_is_told(made):
    told = r"of 10 items 9 have no verdict .* 'no \[31m idea no"
    with serving(lambda _: "no \x1b[31m idea") as server, pytest.raises(TaskError, match=told):
        judge(made, server)


def test_a_task_without_written_answers_is_told(made, tmp_path):
    store, folder, _, base = made
    choices = [item(one, "", **{"metric:chrf": None}) for one in EXAMPLES]
    now = finished(store, "choices", choices)
    with pytest.raises(TaskError, match="judge of phase:skill: no answer is written out"):
        judge((store, folder, now, base), None, address="http://127.0.0.1:9/v1")


def test_the_harness_s_prompts_are_shown_unless_they_are_cut(made):
    store, *_ = made
    spec = {"name": "asdiv", "kind": "lm_eval"}
    rows = [item(one, "4", prompt="Question: 2 + 2?", nats=None) for one in EXAMPLES[:3]]
    rows[0]["prompt"] = "x" * 2000
    now = finished(store, "harness", rows)
    settings = {"mode": "rubric", "task": spec, "model": "j", "options": {}, "limit": None}
    with serving(lambda _: "ok: 5") as server:
        settings |= {"address": server.address, "rubric": {"ok": "is fine"}}
        step = Step("judge", "harness", 1, settings, inputs={"answers": now})
        with store.begin(step) as work:
            run(work, spec=spec, at_once=1)
    found = json.loads((store.path(step) / JUDGED).read_text())
    assert (len(found["items"]), found["num_cut"]) == (2, 1)
    assert "Question: 2 + 2?" in server.seen[0][2]["messages"][0]["content"]


def test_a_model_of_this_process_judges_too(made, tiny_model_folder, monkeypatch):
    said = "fluency: 3\nadequacy: 3\ngrammar: 3"
    monkeypatch.setattr(
        "retain.evaluate.engine.Engine.generate", lambda self, asked, *_: [said] * len(asked)
    )
    store, folder, now, _ = made
    options = {"temperature": 0, "max_tokens": 8}
    settings = {"mode": "rubric", "task": PHASE, "model": "tiny", "address": None, "limit": 4}
    settings |= {"options": options, "rubric": RUBRIC, "precision": "fp32"}
    step = Step("judge", "local", 1, settings, inputs={"answers": now})
    with store.begin(step) as work:
        run(work, spec=PHASE, judge_folder=tiny_model_folder, data_folder=folder)
    assert len(json.loads((store.path(step) / JUDGED).read_text())["items"]) == 4


def test_a_model_of_this_process_is_asked_through_its_template(engine):
    from retain.evaluate.judge.judges import LocalJudge
    from retain.evaluate.ledger import Ledger

    judge = LocalJudge(engine, {"temperature": 0, "max_tokens": 4})
    asked = [[{"role": "user", "content": "the cat sat"}], [{"role": "user", "content": "yes"}]]
    said = judge.answers(asked, Ledger(), "judging")
    assert len(said) == 2
    assert judge.answers(asked, Ledger(), "judging") == said
    assert judge.notes == []
