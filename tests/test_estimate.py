"""A plan: counted exactly where it can be, and nothing is left behind."""

import json

import pytest

from retain import api
from retain.errors import RetainError

PRETRAIN = {"objective": "pretrain", "max_length": 64}


@pytest.fixture
def values(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"number {number} and five words more"} for number in range(60)]
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = {"learning_rate": 1e-3, "max_steps": 4, "batch_size": 4, "precision": "fp32"}
    freeze = {"method": "freeze", "select": "first", "num_layers": 1}
    return {
        "name": "toy",
        "model": str(tiny_model_folder),
        "phases": [
            {"name": "a", "data": "text.jsonl", "train": train | PRETRAIN},
        ],
        "evaluate": {"tasks": ["phases"]},
        "arms": {"none": [], "freeze": [freeze]},
    }


def test_a_plan_counts_tokens_and_weights_and_leaves_nothing(values, tmp_path):
    plan = api.plan(values)
    assert not (tmp_path / "runs").exists()
    assert not any(line.is_cached for line in plan.lines)
    plain, frozen = [line for line in plan.lines if line.step.kind == "train"]
    assert plain.tokens == frozen.tokens
    assert plain.trained_tokens < plain.tokens
    assert frozen.trainable_parameters < plain.trainable_parameters
    assert plan.seconds > 0
    assert plan.memory_bytes > 1e8
    assert plan.peak_disk_bytes > plan.final_disk_bytes


def test_a_plan_is_what_the_run_then_does(values):
    plan = api.plan(values)
    outcome = api.run(values)
    assert outcome.num_done == len(plan.lines)
    for line in plan.lines:
        if line.step.kind == "train":
            store = api.Store(api.RUNS / api.STEPS)
            facts = json.loads(store.open(line.step, "facts.json").read_text())
            assert facts["tokens"] == line.tokens
            assert facts["trained_tokens"] == line.trained_tokens
            assert facts["trainable_parameters"] == line.trainable_parameters
    again = api.plan(values)
    assert all(line.is_cached for line in again.lines)
    assert again.seconds == 0


def test_broken_data_is_found_before_anything_runs(values, tmp_path):
    with (tmp_path / "text.jsonl").open("a") as file:
        file.write("\nno json")
    with pytest.raises(RetainError, match=r"text\.jsonl:61"):
        api.plan(values)


def test_a_share_that_cannot_be_is_found_before_anything_runs(values, tmp_path):
    (tmp_path / "old.jsonl").write_text('{"text": "one"}')
    past = {"data": "old.jsonl"}
    replay = {"method": "experience_replay", "share": 0.5, "past": past}
    with pytest.raises(RetainError, match="extra:old"):
        api.plan(values | {"arms": {"none": [], "replay": [replay]}})


def test_sequences_longer_than_the_model_reads_are_found_before_anything_runs(values):
    values["phases"][0]["train"]["max_length"] = 1024
    with pytest.raises(RetainError, match=r"a: .* the model reads 512.*max_length"):
        api.plan(values)


def test_checkpoints_inside_a_phase_are_in_the_plan(values):
    plain = api.plan(values)
    asked = api.plan(values | {"evaluate": {"tasks": ["phases"], "during_phase": 2}})
    disks = [
        [line.disk_bytes for line in one.lines if line.step.kind == "train"]
        for one in (plain, asked)
    ]
    assert disks[1] == [3 * size for size in disks[0]]
    kinds = [[line.step.kind for line in one.lines].count("evaluate") for one in (plain, asked)]
    assert kinds == [3, 3 + 2 * 2]
    assert not {line.step for line in plain.lines if line.step.kind == "train"} & {
        line.step for line in asked.lines
    }


def test_a_plan_says_what_the_items_can_show(values, tmp_path):
    rows = [
        {"question": f"is {n} odd?", "choices": ["yes", "no"], "answer": 1 - n % 2}
        for n in range(200)
    ]
    (tmp_path / "skill.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = values["phases"][0]["train"] | {"objective": "sft"}
    skill = {"name": "skill", "data": "skill.jsonl", "train": train, "held_out": {"count": 90}}
    plan = api.plan(values | {"phases": [skill, *values["phases"]]})
    assert list(plan.visible) == ["phase:skill"]  # running text has no accuracy
    found = plan.visible["phase:skill"]
    assert 40 <= found.num_items <= 75
    assert found.change == pytest.approx(2.8016 * (0.2 / found.num_items) ** 0.5, rel=1e-3)


def test_rows_of_an_own_test_and_a_limit_are_counted(values, tmp_path):
    rows = [{"prompt": f"question {number}?", "completion": "yes"} for number in range(12)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mine = {"name": "mine", "data": "test.jsonl", "metric": "exact_match"}

    def tokens(limit):
        tasks = {"tasks": ["phases", mine, "english_bits_per_byte"], "limit": limit}
        plan = api.plan(values | {"arms": {"none": []}, "evaluate": tasks})
        assert not any("rough guess" in note for note in plan.notes)
        lines = [line for line in plan.lines if line.step.kind == "evaluate"]
        return {name: next(one.tokens for one in lines if one.step.name.startswith(name))
                for name in ("mine", "english")}  # fmt: skip

    assert tokens(10)["english"] == 2500
    assert 12 * 10 < tokens(None)["mine"] < 12 * 40
    assert tokens(6)["mine"] == pytest.approx(tokens(None)["mine"] / 2, rel=0.1)


def test_a_choice_that_matches_nothing_names_its_arm(values):
    arms = {"none": [], "odd": [{"method": "freeze", "names": ["nothing.*"]}]}
    for verb in (api.plan, api.run):
        with pytest.raises(RetainError, match=r"arms\.odd: freeze: names: 'nothing\.\*' matches"):
            verb(values | {"arms": arms})


def test_a_choice_that_leaves_norms_alone_is_told(values):
    whole = {"method": "freeze", "select": "first", "fraction": 1.0, "head": True}
    plan = api.plan(values | {"arms": {"none": [], "whole": [whole]}})
    assert any("a-whole: nothing but norms moves" in note for note in plan.notes)


def test_a_corpus_that_will_be_too_small_for_its_share_is_told(values):
    few = {"method": "generative_replay", "num_documents": 2, "share": 0.5}
    arms = {
        "few": [few],
        "of_new": [few | {"share_base": "new_data", "share": 0.9}],
        "enough": [few | {"num_documents": 16}],
        "small": [few | {"share": 0.1}],
        "allowed": [few | {"allow_fewer": True}],
    }
    plan = api.plan(values | {"arms": {"none": []} | arms})
    assert [note for note in plan.notes if "to be written" in note] == [
        f"a-{arm}: share {share} of rehearsed:generative_replay needs some {num} examples, and 2 "
        "are to be written, which the run would stop for: raise num_documents, or set "
        "allow_fewer: true."
        for arm, share, num in (("few", 0.5, 16), ("of_new", 0.9, 14))
    ]


def test_what_becomes_of_an_adapter_and_of_a_cache_that_cannot_be_is_told(values):
    phase = values["phases"][0]
    train = phase["train"] | {"tuning": "lora", "boundary_cache": True}
    second = {**phase, "name": "b", "train": train | {"handover": "new_adapter"}}
    phases = [{**phase, "train": train}, second]
    plan = api.plan(values | {"phases": phases, "arms": {"none": []}})
    assert "b: a new adapter, that of the phase before stays beside it (new_adapter)." in plan.notes
    assert "a: boundary_cache keeps nothing, an adapter moves." in plan.notes


def test_a_task_is_counted_once_however_many_checkpoints_are_scored(values, monkeypatch):
    from retain.estimate.task_tokens import TaskTokens

    counted = []
    count = TaskTokens._count
    monkeypatch.setattr(
        TaskTokens, "_count", lambda self, step: counted.append(step) or count(self, step)
    )
    plan = api.plan(values)
    asked = [line.step for line in plan.lines if line.step.kind == "evaluate"]
    tasks = {step.settings["task"]["name"] for step in asked}
    assert len(counted) == len(tasks) < len(asked)
