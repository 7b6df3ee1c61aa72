import json
from collections import Counter
from random import Random

import pyarrow.parquet as parquet
import pytest

from retain.data.example import Example
from retain.data.mix_step import added_up, run
from retain.data.render import render
from retain.data.step import run as run_data
from retain.errors import DataError
from retain.methods import load
from retain.methods.experience_replay import ExperienceReplay
from retain.methods.given import Past

PART = {"role": "new", "objective": "sft", "max_length": 64, "batch_size": 4, "num_train_epochs": 1}


@pytest.fixture
def data(tmp_path, write_jsonl, fake_work):
    """Makes the result of a data step out of rows, or of several sources of rows."""

    def make(name, rows, **sources):
        specs = []
        if rows:
            specs = [{"source": str(write_jsonl(tmp_path / name / "rows.jsonl", rows))}]
        for label, (more, spec) in sources.items():
            path = write_jsonl(tmp_path / name / f"{label}.jsonl", more)
            specs.append(spec | {"source": str(path)})
        work = fake_work(tmp_path / "data" / name, {"sources": specs, "held_out": None})
        run_data(work)
        return work.output

    return make


@pytest.fixture
def mixed(tmp_path, tiny_model_folder, fake_work):
    """Runs the mix step over folders by role and gives its work and its rows."""

    def make(inputs, sources=(), parts=(PART,), **settings):
        folder = tmp_path / f"mix{len(list(tmp_path.glob('mix*')))}"
        given = {"parts": list(parts), "sources": list(sources), "past": {}, "seed": 0} | settings
        work = fake_work(folder, given, inputs)
        run(work, tiny_model_folder)
        return work, parquet.read_table(folder / "stream.parquet").to_pylist()

    return make


def questions(num, first=0):
    return [
        {"prompt": f"what is {n}?", "completion": f"it is {n}"} for n in range(first, first + num)
    ]


def texts(num):
    return [
        {"text": f"text {n} the cat sat on a mat and the dog ran to the sea"} for n in range(num)
    ]


def test_the_stream(data, mixed, tokenizer):
    folder = data("new", questions(10))
    work, rows = mixed({"new": folder})
    assert [row["step"] for row in rows] == [0] * 4 + [1] * 4 + [2] * 2
    stored = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    tokens = {row["id"]: render(Example.from_json(row), tokenizer) for row in stored}
    assert sorted(row["example_id"] for row in rows) == sorted(tokens)
    for row in rows:
        assert row["input_ids"] == tokens[row["example_id"]].input_ids
        assert row["trained"] == tokens[row["example_id"]].trained
        assert (row["source"], row["weight"]) == ("new", 1)
    facts = work.json("facts.json")
    assert (facts["num_steps"], facts["num_examples"]) == (3, 10)
    assert facts["trained_tokens"] == sum(sum(row["trained"]) for row in rows)
    assert facts["tokens"] == {"new": sum(len(row["input_ids"]) for row in rows)}
    assert work.facts["steps"] == 3
    assert work.beats


def test_the_columns_have_the_agreed_types(data, mixed, tmp_path):
    mixed({"new": data("new", questions(4))})
    schema = parquet.read_schema(tmp_path / "mix0" / "stream.parquet")
    assert [(field.name, str(field.type)) for field in schema] == [
        ("step", "int32"),
        ("example_id", "string"),
        ("source", "string"),
        ("input_ids", "list<element: int32>"),
        ("trained", "list<element: bool>"),
        ("weight", "float"),
    ]


def test_replay_keeps_the_mask_of_its_own_phase(data, mixed, tokenizer):
    inputs = {"new": data("hindi", texts(60)), "past:skill": data("skill", questions(40))}
    part = {"role": "new", "objective": "pretrain", "max_length": 32, "batch_tokens": 64}
    source = {"role": "past:skill", "share": 0.2, "loss_weight": "match_share"}
    past = {"past:skill": {"objective": "sft", "max_length": 48}}
    work, rows = mixed(inputs, [source], [part | {"max_steps": 8}], past=past)
    replayed = [row for row in rows if row["source"] == "past:skill"]
    said = [
        tokenizer.decode([t for t, on in zip(r["input_ids"], r["trained"], strict=True) if on])
        for r in replayed
    ]
    assert all(text.startswith("it is ") and text.endswith("<|im_end|>") for text in said)
    blocks = [row for row in rows if row["source"] == "new"]
    assert all(sum(row["trained"]) == len(row["input_ids"]) - 1 for row in blocks)
    assert max(len(row["input_ids"]) for row in blocks) == 32
    realised = work.json("facts.json")["realised_share"]["past:skill"]
    assert realised["loss_weight"] == pytest.approx(0.2)
    assert realised["examples"] == pytest.approx(len(replayed) / len(rows))


def test_replay_leaves_the_new_stream_alone(data, mixed):
    inputs = {"new": data("new", questions(20)), "past:old": data("old", questions(20, 100))}
    _, alone = mixed(inputs)
    _, with_old = mixed(inputs, [{"role": "past:old", "share": 0.3}])
    assert [row for row in with_old if row["source"] == "new"] == alone
    assert Counter(row["source"] for row in with_old) == {"new": 20, "past:old": 9}


def test_a_stand_in_of_dialogues_trains_answers_in_a_phase_of_text(data, mixed):
    inputs = {"new": data("new", texts(60)), "extra:chat": data("chat", questions(40))}
    part = {"role": "new", "objective": "pretrain", "max_length": 32, "batch_size": 2}
    _, rows = mixed(inputs, [{"role": "extra:chat", "share": 0.2}], [part | {"max_steps": 8}])
    replayed = [row for row in rows if row["source"] == "extra:chat"]
    assert replayed
    assert not any(row["trained"][5] for row in replayed)


def test_joint_parts_keep_their_own_masks(data, mixed):
    inputs = {"new:skill": data("skill", questions(16)), "new:hindi": data("hindi", texts(40))}
    skill = PART | {"role": "new:skill"}
    hindi = {"role": "new:hindi", "objective": "pretrain", "max_length": 32, "batch_tokens": 64}
    work, rows = mixed(inputs, parts=[skill, hindi | {"max_steps": 4, "num_train_epochs": 1}])
    assert work.json("facts.json")["num_steps"] == 8
    assert Counter(row["source"] for row in rows) == {"new:skill": 16, "new:hindi": 8}


def test_shares_within_the_phase_s_own_data(data, mixed):
    folder = data("new", questions(40), more=(questions(30, 100), {"share": 0.2}))
    work, rows = mixed({"new": folder})
    assert {row["source"] for row in rows} == {"new"}
    counts = {name: of["examples"] for name, of in work.json("facts.json")["sources"].items()}
    assert counts == {"new/rows.jsonl": 40, "new/more.jsonl": 10}


def test_what_was_cut_is_counted_and_said(data, mixed):
    long = [
        {"prompt": "the cat " * 60, "completion": "no"},
        {"prompt": "a", "completion": "the cat " * 60},
    ]
    work, rows = mixed({"new": data("new", [*questions(4), *long])})
    facts = work.json("facts.json")
    assert len(rows) == 5
    assert (facts["truncated"], facts["dropped"]) == ({"new": 2}, {"new": 1})
    assert facts["cut_tokens"]["new"] > 60
    assert len(facts["notes"]) == 2


def test_all_masked_stops_the_run_with_counts(data, mixed):
    with pytest.raises(DataError, match="new: nothing to train on: of 4 examples"):
        mixed({"new": data("new", questions(4))}, parts=[PART | {"max_length": 8}])


def test_the_prompt_is_trained_when_that_is_asked(data, mixed):
    _, rows = mixed(
        {"new": data("new", questions(4))}, parts=[PART | {"completion_only_loss": False}]
    )
    assert all(sum(row["trained"]) == len(row["input_ids"]) - 1 for row in rows)


def test_running_text_needs_a_length(data, mixed):
    part = {"role": "new", "objective": "pretrain", "batch_size": 2, "max_steps": 1}
    with pytest.raises(DataError, match="needs a max_length"):
        mixed({"new": data("new", texts(4))}, parts=[part])


def test_a_folder_without_tokenizer(data, fake_work, tmp_path):
    work = fake_work(tmp_path / "m", {"parts": [PART], "seed": 0}, {"new": data("new", texts(4))})
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="tokenizer cannot be loaded"):
        run(work, tmp_path / "none")


def sources_of(method, phases=("a", "b"), **turn):
    return [one.spec() for one in method.sources(Past(phases=phases, **turn), (), Random(0))]


@pytest.mark.parametrize("select", ["all", "reservoir", "nearest", "farthest", "balanced"])
def test_every_way_to_choose_the_past_meets_its_share(data, mixed, select):
    inputs = {
        "new": data("new", questions(30)),
        "past:a": data("a", questions(60, 100)),
        "past:b": data("b", questions(20, 400)),
    }
    size = {"buffer_size": 12} if select == "reservoir" else {}
    sources = sources_of(ExperienceReplay(share=0.25, select=select, **size))
    _, alone = mixed(inputs)
    _, rows = mixed(inputs, sources)
    _, again = mixed(inputs, sources)
    old = [row for row in rows if row["source"] != "new"]
    assert rows == again
    assert [row | {"weight": 1} for row in rows if row["source"] == "new"] == alone
    assert len({row["example_id"] for row in old}) == len(old) == 10
    total = sum(row["weight"] * sum(row["trained"]) for row in rows)
    weight = sum(row["weight"] * sum(row["trained"]) for row in old)
    assert weight / total == pytest.approx(0.25)
    lines = (inputs["past:b"] / "train.jsonl").read_text().splitlines()
    b = {json.loads(line)["id"] for line in lines}
    from_b = sum(row["example_id"] in b for row in old)
    if select == "balanced":
        assert from_b == 5


def test_nearest_and_farthest_are_the_ends_of_one_order(data, mixed):
    def about(what, num):
        return [{"prompt": f"where is the {what} {n}", "completion": "no"} for n in range(num)]

    inputs = {
        "new": data("new", about("heart muscle nerve", 30)),
        "past:a": data("a", [*about("heart muscle nerve", 10), *about("dog cat sea", 10)]),
    }
    texts_of = {}
    for select in ("nearest", "farthest"):
        source = sources_of(ExperienceReplay(share=0.25, select=select), ("a",))
        _, rows = mixed(inputs, source)
        ids = {row["example_id"] for row in rows if row["source"] == "past:a"}
        lines = (inputs["past:a"] / "train.jsonl").read_text().splitlines()
        stored = [json.loads(line) for line in lines]
        prompts = [row["messages"][0]["content"] for row in stored if row["id"] in ids]
        texts_of[select] = prompts
    assert len(texts_of["nearest"]) == len(texts_of["farthest"]) == 10
    assert all("heart" in text for text in texts_of["nearest"])
    assert all("dog" in text for text in texts_of["farthest"])


def test_a_past_that_is_too_small_stops_the_run_unless_that_is_allowed(data, mixed):
    inputs = {"new": data("new", questions(30)), "past:a": data("a", questions(4, 100))}
    with pytest.raises(DataError, match=r"past:a: share 0.3 asks for 13 .*it has 4, which reaches"):
        mixed(inputs, sources_of(ExperienceReplay(share=0.3), ("a",)))
    allowed = ExperienceReplay(share=0.3, allow_fewer=True)
    work, rows = mixed(inputs, sources_of(allowed, ("a",)))
    assert sum(row["source"] == "past:a" for row in rows) == 4
    assert work.facts["notes"] == work.json("facts.json")["notes"]
    assert "which reaches 0.0923" in work.facts["notes"][0]


def pairs(num):
    return [
        {"text": f"मेरा नाम {n} है " * 4, "english": f"my name is {n}, the cat sat on a mat " * 2}
        for n in range(num)
    ]


def test_the_other_side_of_pairs_is_replayed_of_training_items_alone(data, mixed, tokenizer):
    shown = data("new", [], pairs=(pairs(30), {"parallel": "english"}))
    part = PART | {"objective": "pretrain", "max_length": 64}
    source = sources_of(ExperienceReplay(share=0.1, select="parallel"), ())
    _, rows = mixed({"new": shown}, source, [part])
    _, alone = mixed({"new": shown}, (), [part])
    other = [row for row in rows if row["source"] == "extra:parallel"]
    assert [row | {"weight": 1} for row in rows if row["source"] == "new"] == alone
    assert len(other) == round(len(alone) / 9)
    assert all("name is" in tokenizer.decode(row["input_ids"]) for row in other)


def test_no_pairs_no_parallel_replay(data, mixed):
    part = PART | {"objective": "pretrain", "max_length": 64}
    source = sources_of(ExperienceReplay(select="parallel"), ())
    with pytest.raises(DataError, match=r"its data has no pairs; .*parallel: COLUMN"):
        mixed({"new": data("new", texts(30))}, source, [part])


@pytest.mark.parametrize("per", ["phase", "total"])
def test_general_instructions_are_mixed_in_by_number(data, mixed, per):
    inputs = {"new": data("new", questions(30)), "extra:set": data("set", questions(40, 500))}
    general = {"data": "embedded:set"}
    method = load("instruction_mixing", {"general": general, "num_examples": 14, "per": per})
    drawn = []
    _, alone = mixed(inputs)
    for turn in range(2):
        _, rows = mixed(inputs, sources_of(method, (), turn=turn, num_turns=2))
        assert [row for row in rows if row["source"] == "new"] == alone
        drawn.append({row["example_id"] for row in rows if row["source"] == "extra:set"})
    assert [len(one) for one in drawn] == ([14, 14] if per == "phase" else [7, 7])
    assert not drawn[0] & drawn[1]


def test_replay_and_instructions_stand_in_one_mix(data, mixed):
    inputs = {
        "new": data("new", questions(30)),
        "past:a": data("a", questions(40, 100)),
        "extra:set": data("set", questions(40, 500)),
    }
    mixing = load("instruction_mixing", {"general": {"data": "embedded:set"}, "num_examples": 10})
    both = [*sources_of(ExperienceReplay(share=0.2), ("a",)), *sources_of(mixing, ("a",))]
    _, rows = mixed(inputs, both)
    assert Counter(row["source"] for row in rows) == {"new": 30, "past:a": 10, "extra:set": 10}
    with pytest.raises(DataError, match="extra:set: two methods draw on it in different ways"):
        mixed(inputs, [*both, both[-1]])


def test_methods_that_draw_on_the_same_role_add_their_shares():
    one = {"role": "past:a", "share": 0.05, "share_of": "examples", "loss_weight": "by_token"}
    other = {"role": "extra:b", "share": 0.1, "allow_fewer": None}
    assert added_up([one, other, one]) == [one | {"share": 0.1}, {"role": "extra:b", "share": 0.1}]
    with pytest.raises(DataError, match="past:a: two methods draw on it in different ways"):
        added_up([one, one | {"loss_weight": "match_share"}])
