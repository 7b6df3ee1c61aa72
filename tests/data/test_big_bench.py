"""BIG-bench's sets: one item in every language, no item in two splits, the canary in every file."""

import json
from collections import Counter

import pytest

from retain.data import embedded
from retain.data.embedded import load_embedded
from retain.data.sources import load
from retain.data.step import TRAIN, read_examples, run
from retain.embedded import TABLE
from retain.embedded.big_bench import MULTIEMO_LANGUAGES

CANARY = "a made-up canary"
LABELS = ("ambivalent", "negative", "neutral", "positive")


def _task(examples, **further):
    return json.dumps({"canary": CANARY, "examples": examples, **further}).encode()


@pytest.fixture
def read(monkeypatch):
    """Read given task files instead of the package's, by the names of their folders."""

    def rows(name, tasks):
        files = {f"any/{folder}/task.json": content for folder, content in tasks.items()}
        monkeypatch.setattr(embedded, "read_entry", lambda entry, progress: files)
        return load_embedded(name)

    return rows


def _sentences(language, number, prefix="Judge."):
    examples = [
        {
            "input": f"{language} sentence {place} of many",
            "target_scores": {one: int(one == LABELS[place % 4]) for one in LABELS},
        }
        for place in range(number)
    ]
    return _task(examples, task_prefix=prefix)


def _multiemo(*languages, number=60):
    files = {f"products_sentence_{one}": _sentences(one, number) for one in languages}
    reviews = {f"reviews_sentence_{one}": _sentences(f"{one} r", number) for one in languages}
    return files | reviews


def test_a_sentence_is_one_item_in_every_language(read):
    english = read("multiemo-en", _multiemo("en")) + read("multiemo-en-test", _multiemo("en"))
    russian = read("multiemo-ru", _multiemo("ru", "en")) + read(
        "multiemo-ru-test", _multiemo("ru", "en")
    )
    facts = {row["item"]: (row["split"], row["label"]) for row in english}
    assert facts == {row["item"]: (row["split"], row["label"]) for row in russian}
    assert len(facts) == 120
    assert set(Counter(row["label"] for row in russian).values()) == {30}
    assert {row["split"] for row in english} == {"first", "second", "test"}
    assert all(row["question"].startswith("Judge.\n\nru ") for row in russian)
    assert all(row["choices"][row["answer"]] == row["label"] for row in russian)


def test_what_is_asked_in_the_test_is_in_no_half(read):
    halves = {row["item"] for row in read("multiemo-ru", _multiemo("ru", "en"))}
    asked = {row["item"] for row in read("multiemo-ru-test", _multiemo("ru", "en"))}
    assert asked and halves and not asked & halves  # noqa: PT018


def test_a_sentence_judged_in_two_ways_is_left_out(read):
    files = _multiemo("en", number=8)
    task = json.loads(files["reviews_sentence_en"])
    task["examples"][1]["input"] = task["examples"][0]["input"].upper()
    rows = read("multiemo-en", files | {"reviews_sentence_en": json.dumps(task).encode()})
    texts = [row["question"].lower() for row in rows]
    assert not any(task["examples"][0]["input"] in text for text in texts)


def test_a_talk_has_a_turn_a_line(read):
    talk = {
        "input": 'agent_A: "Hello?" agent_B: "He said "no"."',
        "target": '"Oh."',
        "comment": "t",
    }
    [row] = read("topical-chat", {"topical_chat": _task([talk])})
    assert row["prompt"] == 'Write the next turn of this talk.\n\nA: Hello?\nB: He said "no".'
    assert row["completion"] == "Oh."


def test_facts_are_asked_in_the_language_of_the_set(read):
    facts = [{"input": "(A_b | is | C)", "target": ["x."]}, {"input": "(D | is | E)", "target": []}]
    [row] = read("webnlg-ru", {"webnlg_ru": _task(facts)})
    assert row["prompt"] == "Tell these facts in Russian.\n\n(A b | is | C)"


def test_references_of_a_sentence_are_one_item(read):
    one = {"input": "Hard .", "target": ["Easy .", "Easier .", "Easiest .", "None ."]}
    rows = read("turk-corpus", {"turk": _task([one])})
    assert [row["completion"] for row in rows] == ["Easy .", "Easier .", "Easiest ."]
    assert len({row["item"] for row in rows}) == 1


def test_an_instruction_is_the_short_one_and_long_inputs_are_left_out(read):
    examples = [{"input": "Two?", "target": ["2"]}, {"input": "x" * 2000, "target": ["y"]}]
    examples.append({"input": "Nothing?", "target": [" "]})
    task = _task(examples, task_prefix="Definition: long. Prompt: Answer it.")
    [row] = read("natural-instructions", {"one": task})
    assert (row["prompt"], row["completion"]) == ("Answer it.\n\nTwo?", "2")
    [row] = read("strategyqa", {"strategyqa": _task([{"input": "Why?", "target": "No. So."}])})
    assert row["prompt"] == "Why? Explain your answer."


def test_the_canary_stays_in_what_is_made_of_it(read, tmp_path, fake_work):
    read("strategyqa", {"s": _task([{"input": f"Why {n}?", "target": "No."} for n in range(9)])})
    spec = {"source": "embedded:strategyqa", "template": {"prompt": "{prompt}", "completion": "ok"}}
    assert {one.canary for one in load(spec).examples} == {CANARY}
    work = fake_work(tmp_path / "out", {"sources": [spec], "held_out": {"count": 3}})
    run(work)
    assert {row["canary"] for row in work.rows("train.jsonl") + work.rows("heldout.jsonl")} == {
        CANARY
    }
    assert {one.canary for one in read_examples(work.output / TRAIN)} == {CANARY}
    notes = work.json("facts.json")["notes"]
    assert [n for n in notes if n.startswith("embedded:strategyqa: is of a benchmark")]


@pytest.mark.slow
def test_the_real_sets_are_there():
    """Fetches 358 MB."""
    for name, entry in TABLE.items():
        if any(member.package.name == "bigbench" for member in entry.members):
            rows = load_embedded(name)
            assert len(rows) == entry.num_rows, name
            assert all("canary GUID" in row["canary"] for row in rows)
    asked = {row["item"] for row in load_embedded("multiemo-zh-test")}
    for language in MULTIEMO_LANGUAGES:
        assert not asked & {row["item"] for row in load_embedded(f"multiemo-{language}")}
