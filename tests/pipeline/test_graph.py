"""The graph: what is shared, what is new, and what leaves no trace."""

import json
import shutil
import subprocess
import sys

import pytest

from retain.errors import RecipeError, RetainError
from retain.pipeline.graph import build
from retain.pipeline.resolve import resolve
from retain.recipe import read_recipe


@pytest.fixture
def values(tmp_path, tiny_model_folder, monkeypatch):
    """A recipe of two phases and four arms on the tiny model, as plain values."""
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    for name in ("skill", "text", "old"):
        rows = [{"text": f"{name} {number} and more words"} for number in range(40)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = {"learning_rate": 1e-3, "max_steps": 4, "batch_size": 4, "precision": "fp32"}
    return {
        "name": "toy",
        "model": str(tiny_model_folder),
        "phases": [
            {"name": "skill", "data": str(tmp_path / "skill.jsonl"), "train": train},
            {"name": "text", "data": str(tmp_path / "text.jsonl"), "train": train},
        ],
        "evaluate": {"tasks": ["phases"]},
        "arms": {
            "none": [],
            "low_rate": {"train": {"learning_rate": 1e-4}},
            "replay": [{"method": "experience_replay", "share": 0.2}],
            "freeze": [{"method": "freeze", "select": "first", "num_layers": 1}],
        },
    }


def graph(values, *overrides):
    return build(resolve(read_recipe(values, overrides)))


def steps(graph, kind):
    return [step for step in graph.steps if step.kind == kind]


def row(graph, arm, phase_index):
    [found] = [r for r in graph.rows if r.arm == arm and r.phase_index == phase_index]
    return found


def test_arms_share_the_first_phase_and_row_0(values):
    found = graph(values)
    assert len({row(found, arm, 1).train for arm in values["arms"]}) == 1
    assert len({row(found, arm, 2).train for arm in values["arms"]}) == 4
    assert len({tuple(row(found, arm, 0).evaluations.values()) for arm in values["arms"]}) == 1


def test_inputs_come_before_what_reads_them(values):
    placed = set()
    for step in graph(values).steps:
        assert set(step.inputs.values()) <= placed
        placed.add(step)


def test_a_method_leaves_no_trace_where_it_does_not_act(values):
    alone = {**values, "arms": {"none": []}}
    assert set(graph(alone).steps) - set(steps(graph(alone), "leak")) <= set(graph(values).steps)


def test_a_rate_of_phase_2_changes_only_what_depends_on_it(values):
    before = graph(values)
    after = graph(values, "phases.text.train.learning_rate=2e-3")
    for kind in ("data", "mix", "leak", "trainable"):
        assert steps(before, kind) == steps(after, kind)
    assert row(before, "none", 1).train == row(after, "none", 1).train
    assert row(before, "none", 2).train != row(after, "none", 2).train
    assert row(before, "low_rate", 2).train == row(after, "low_rate", 2).train


def test_how_often_to_save_changes_nothing(values):
    assert graph(values).steps == graph(values, "phases.text.train.save_steps=7").steps
    tracked = graph(values, "phases.text.train.report_to=tensorboard")
    assert graph(values).steps == tracked.steps
    assert set(tracked.report_to.values()) == {"none", "tensorboard"}


def test_how_many_processes_train_a_phase_changes_nothing(values):
    three = graph(values, "phases.text.train.processes=3")
    assert graph(values).steps == three.steps
    assert set(three.processes.values()) == {(1, False), (3, False)}


def test_kernels_of_one_order_make_a_training_of_its_own_and_leave_no_trace_elsewhere(values):
    asked = graph(values, "phases.text.train.deterministic=true")
    assert row(asked, "none", 2).train.settings["deterministic"] is True
    assert row(asked, "none", 1).train == row(graph(values), "none", 1).train
    assert graph(values, "phases.text.train.deterministic=false").steps == graph(values).steps


def test_a_seed_has_its_own_training_and_no_data_of_its_own(values):
    two = graph(values | {"seeds": [0, 1]})
    one = graph(values)
    assert steps(one, "data") == steps(two, "data")
    assert len(steps(two, "train")) == 2 * len(steps(one, "train"))


def test_moving_a_data_file_changes_nothing(values, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "text.jsonl").write_bytes((tmp_path / "text.jsonl").read_bytes())
    phases = [values["phases"][0], values["phases"][1] | {"data": str(moved / "text.jsonl")}]
    assert graph(values | {"phases": phases}).steps == graph(values).steps


def test_another_byte_in_the_data_changes_its_phase_and_what_follows(values, tmp_path):
    before = graph(values)
    with (tmp_path / "text.jsonl").open("a") as file:
        file.write('\n{"text": "one line more"}')
    after = graph(values)
    assert row(before, "none", 1).train == row(after, "none", 1).train
    assert row(before, "none", 2).mix != row(after, "none", 2).mix


def test_a_declared_past_is_a_data_step_of_its_own(values, tmp_path):
    past = {"data": str(tmp_path / "old.jsonl")}
    arms = {"none": [], "old": [{"method": "experience_replay", "share": 0.2, "past": past}]}
    found = graph(values | {"arms": arms})
    assert set(row(found, "old", 2).mix.inputs) == {"new", "extra:old.jsonl"}


def test_joint_is_one_phase_over_all_data_in_the_last_row(values):
    found = graph(values | {"arms": {"none": [], "joint": ["joint"]}})
    [joint] = [r for r in found.rows if r.arm == "joint" and r.phase_index]
    assert joint.phase_index == 2
    assert set(joint.mix.inputs) == {"new:skill", "new:text"}


def test_older_versions_are_taken_only_when_accepted(values, monkeypatch):
    from retain.pipeline import collector as module

    before = graph(values)
    kinds = {name: module.KINDS[name] for name in module.KINDS}
    kinds["train"] = type(kinds["train"])(kinds["train"].version + 1, kinds["train"].runner)
    monkeypatch.setattr(module, "KINDS", kinds)
    old = set(before.steps)
    assert row(graph(values), "none", 1).train not in old
    accepted = build(resolve(read_recipe(values)), accept=lambda step: step in old)
    assert set(accepted.steps) == old


def test_a_missing_file_is_named(values):
    phases = [values["phases"][0] | {"data": "nowhere.jsonl"}]
    with pytest.raises(RetainError, match=r"nowhere\.jsonl: no such file"):
        graph(values | {"phases": phases, "arms": {"none": []}})


def test_making_the_graph_loads_no_library(values, tmp_path):
    (tmp_path / "values.json").write_text(json.dumps(values))
    script = (
        "import json, sys\n"
        "from retain.recipe import read_recipe\n"
        "from retain.pipeline.resolve import resolve\n"
        "from retain.pipeline.graph import build\n"
        "build(resolve(read_recipe(json.load(open(sys.argv[1])))))\n"
        "heavy = {'torch', 'transformers', 'datasets', 'lm_eval', 'pyarrow', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    build(resolve(read_recipe(values)))  # the precision probe is remembered
    subprocess.run([sys.executable, "-c", script, tmp_path / "values.json"], check=True)


def test_a_group_of_lm_eval_is_scored_task_by_task(values):
    found = graph(values | {"evaluate": {"tasks": ["phases", "general"]}})
    tasks = set(row(found, "none", 0).evaluations)
    assert {"embedded_boolq", "embedded_piqa", "english_bits_per_byte"} < tasks


def test_renaming_the_model_folder_or_a_phase_changes_no_training(values, tmp_path):
    before = graph(values)
    shutil.copytree(values["model"], tmp_path / "renamed")
    phases = [values["phases"][0] | {"name": "other"}, values["phases"][1]]
    after = graph(values | {"model": str(tmp_path / "renamed"), "phases": phases})
    assert row(before, "none", 1).train == row(after, "none", 1).train
    assert row(before, "low_rate", 2).train == row(after, "low_rate", 2).train


def test_a_sweep_of_data_is_refused(values):
    swept = {"phases.text.held_out.fraction": [0.1, 0.5]}
    with pytest.raises(RetainError, match="variants"):
        graph(values | {"sweep": swept})


def test_two_methods_that_finish_are_refused(values, monkeypatch):
    from retain.recipe import arm as module
    from tests.methods.toys import Ties

    names = module.known() | {"toy_ties": Ties}
    monkeypatch.setattr(module, "known", lambda: names)
    arm = [{"method": "toy_ties"}, {"method": "toy_ties", "density": 0.2}]
    with pytest.raises(RetainError, match="weights that leave a phase"):
        graph(values | {"arms": {"none": [], "both": arm}})


def test_what_is_said_of_adapters_leaves_no_trace_in_full_tuning(values):
    """A recipe that trains all weights has the steps that it had before there were adapters."""
    [first] = {row(graph(values), "none", 1).train}
    assert not {key for key in first.settings if key.startswith(("lora", "train_", "handover"))}


def test_an_adapters_defaults_are_in_its_settings(values):
    del values["arms"]["freeze"]
    found = graph(values, "phases.text.train.tuning=lora")
    settings = row(found, "none", 2).train.settings
    assert settings["lora_r"] == 16
    assert settings["handover"] == "continue_adapter"
    assert row(found, "none", 1).train == row(graph(values), "none", 1).train


def test_row_0_of_a_4_bit_phase_is_the_4_bit_model(values):
    del values["arms"]["freeze"]
    plain = graph(values)
    both = [f"phases.{name}.train.tuning=qlora" for name in ("skill", "text")]
    found = graph(values, *both)
    for task, step in row(found, "none", 0).evaluations.items():
        assert step.settings["quantisation"] == "nf4"
        assert step != row(plain, "none", 0).evaluations[task]
    assert row(found, "none", 0).unquantised == row(plain, "none", 0).evaluations
    assert not row(found, "none", 1).unquantised
    assert not row(plain, "none", 0).unquantised
    later = graph(values, "phases.text.train.tuning=qlora", "phases.skill.train.tuning=full")
    assert row(later, "none", 0).evaluations == row(plain, "none", 0).evaluations


def frozen(values, *overrides, epochs=3):
    """A third phase, epochs in every phase, and the arm that freezes in two of them."""
    train = {"learning_rate": 1e-3, "num_train_epochs": epochs, "precision": "fp32"}
    phases = [one | {"train": train} for one in values["phases"]]
    phases.append(phases[1] | {"name": "more"})
    arms = {"none": [], "freeze": values["arms"]["freeze"]}
    return graph(values | {"phases": phases, "arms": arms}, *overrides)


def test_frozen_blocks_are_kept_where_epochs_read_them_again(values):
    found = frozen(values)
    for index in (2, 3):
        train = row(found, "freeze", index).train
        kept = train.inputs["boundary"]
        assert kept.inputs["mix"] == train.inputs["mix"]
        assert kept.inputs["trainable"] == train.inputs["trainable"]
        assert kept.inputs["model"] == row(found, "freeze", index - 1).model
        assert "boundary" not in row(found, "none", index).train.inputs
    assert not steps(graph(values), "boundary")  # steps in number, and no epochs
    assert len(steps(frozen(values, epochs=1), "boundary")) == 0
    always = frozen(values, "phases.text.train.boundary_cache=true", epochs=1)
    assert len(steps(always, "boundary")) == 1
    never = frozen(values, "phases.text.train.boundary_cache=false")
    assert len(steps(never, "boundary")) == 1  # of the third phase


def test_evaluations_of_phases_that_freeze_in_a_row_share_what_lies_below(values):
    found = frozen(values)
    second, third = (row(found, "freeze", index) for index in (2, 3))
    for task, evaluation in second.evaluations.items():
        kept = evaluation.inputs["boundary"]
        assert kept == third.evaluations[task].inputs["boundary"]
        assert kept.inputs["model"] == row(found, "freeze", 1).model
        assert evaluation.inputs["trainable:0"] == kept.inputs["trainable"]
        assert "trainable:1" in third.evaluations[task].inputs
    assert not steps(graph(values), "task_boundary")  # one phase freezes: nothing is read twice


def test_how_what_is_frozen_is_kept_changes_nothing_in_other_arms(values):
    without = frozen(values, "phases.text.train.boundary_cache=false")
    for index in (1, 2, 3):
        one, other = row(frozen(values), "none", index), row(without, "none", index)
        assert (one.train, one.evaluations) == (other.train, other.evaluations)


# ---------------------------------------------------------------- what a model writes

ANSWERS = {"method": "generative_replay", "prompts": "past", "num_documents": 8}


def with_arms(values, **arms):
    return values | {"arms": {"none": [], **arms}}


def test_shares_and_arms_that_ask_the_same_share_one_corpus(values):
    arms = {"five": [{**ANSWERS, "share": 0.05}], "ten": [{**ANSWERS, "share": 0.1}]}
    arms["both"] = [*arms["five"], {"method": "freeze", "num_layers": 1}]
    found = graph(with_arms(values, **arms))
    [corpus] = steps(found, "rehearse")
    assert len(steps(found, "sift")) == 1
    assert set(corpus.inputs) == {"past:skill", "model"}
    assert corpus.inputs["model"] == row(found, "none", 1).train
    for arm in arms:
        assert set(row(found, arm, 2).mix.inputs) == {"new", "rehearsed:generative_replay"}
    assert row(found, "five", 2).mix != row(found, "ten", 2).mix
    assert row(found, "both", 2).mix == row(found, "five", 2).mix


def test_what_is_scored_and_trained_later_leaves_no_trace_in_what_is_written(values):
    arms = {"answers": [ANSWERS]}
    before = graph(with_arms(values, **arms))
    changed = with_arms(values, **arms) | {"evaluate": {"tasks": ["phases", "embedded_piqa"]}}
    after = graph(changed, "phases.text.train.learning_rate=3e-4")
    assert steps(before, "rehearse") == steps(after, "rehearse")
    assert steps(before, "sift") != steps(after, "sift")


def test_another_engine_writes_another_corpus_and_changes_nothing_else(values, monkeypatch):
    values = with_arms(values, answers=[ANSWERS])
    before = graph(values)
    with pytest.raises(RetainError, match=r"rehearse.engine: vllm needs"):
        graph(values, "rehearse.engine=vllm")
    monkeypatch.setattr("retain.decode.vllm_engine.check_engine", lambda: None)
    after = graph(values, "rehearse.engine=vllm")
    ([here], [there]) = steps(before, "rehearse"), steps(after, "rehearse")
    assert there.settings == {**here.settings, "engine": "vllm"}
    assert row(before, "none", 2).train == row(after, "none", 2).train
    assert row(before, "answers", 2).mix != row(after, "answers", 2).mix


def test_the_base_model_may_write_and_prompts_may_come_from_a_file(values, tmp_path):
    prompts = str(tmp_path / "old.jsonl")
    base = [{**ANSWERS, "prompts": prompts, "writer": "base"}]
    [corpus] = steps(graph(with_arms(values, base=base)), "rehearse")
    assert set(corpus.inputs) == {"extra:generative_replay-prompts"}
    assert set(corpus.files) == {"model"}


def test_corpora_of_three_phases_accumulate(values, tmp_path):
    third = values["phases"][0] | {"name": "third", "data": str(tmp_path / "old.jsonl")}
    three = values | {"phases": [*values["phases"], third]}
    arm = [{**ANSWERS, "prompts": "new", "corpora": "accumulate"}]
    found = graph(with_arms(three, answers=arm))
    assert len(steps(found, "rehearse")) == 2
    assert set(row(found, "answers", 3).mix.inputs) == {
        "new",
        "rehearsed:generative_replay@1",
        "rehearsed:generative_replay",
    }


TREES = {"method": "tree_generation", "num_tokens": 2000}


def test_equal_computing_pays_for_writing_in_the_first_phase_that_reads_it(values, tmp_path):
    third = values["phases"][0] | {"name": "third", "data": str(tmp_path / "old.jsonl")}
    three = values | {"phases": [*values["phases"], third]}
    arms = {"trees": [TREES], "paid": {"methods": [TREES], "budget": "same_total_compute"}}
    arms["replay"] = {"methods": values["arms"]["replay"], "budget": "same_total_compute"}
    found = graph(with_arms(three, **arms))
    [corpus] = steps(found, "rehearse")
    paid = [row(found, "paid", index).mix for index in (2, 3)]
    assert [corpus in mix.inputs.values() for mix in paid] == [True, False]
    assert {mix.settings["budget"] for mix in paid} == {"same_total_compute"}
    assert row(found, "trees", 2).mix.settings["budget"] == "same_new_data"
    assert set(row(found, "replay", 2).mix.inputs) == {"new", "past:skill"}
    whole = graph(with_arms(three, paid=[TREES]), "budget=same_total_compute")
    assert [row(whole, "paid", index).mix for index in (2, 3)] == paid
    assert row(whole, "none", 3).mix == row(found, "none", 3).mix


def test_prompts_of_the_past_in_a_first_phase_are_refused(values):
    with pytest.raises(RetainError, match="generative_replay needs a past"):
        graph(with_arms(values, answers=[{**ANSWERS, "phases": "all"}]))


def test_probes_are_steps_of_their_own_and_change_no_other(values):
    before = graph(values)
    after = graph(values, "evaluate.probes=[attention, drift]")
    assert not steps(before, "probe")
    assert [step for step in after.steps if step.kind != "probe"] == list(before.steps)
    for arm in values["arms"]:
        assert list(row(after, arm, 0).probes) == ["attention"]  # drift needs two models
        assert list(row(after, arm, 2).probes) == ["attention", "drift"]
    drift = row(after, "none", 2).probes["drift"]
    assert set(drift.inputs) == {"model", "new"}
    assert set(drift.files) == {"model"}
    # row 0 and the first phase are shared by the four arms
    assert len(steps(after, "probe")) == 1 + 2 + 2 * 4


def test_a_joint_phase_is_probed_on_the_data_of_all(values):
    values["arms"] = {"joint": [{"method": "joint"}]}
    probed = row(graph(values, "evaluate.probes=[drift]"), "joint", 2).probes["drift"]
    assert set(probed.inputs) == {"model", "new:skill", "new:text"}


def test_faults_of_tasks_and_of_data_are_told_together(values):
    values["phases"][0]["data"] = "nowhere.jsonl"
    values["evaluate"]["tasks"] += ["genral", "embedded_pika"]
    with pytest.raises(RecipeError) as caught:
        graph(values)
    first, *lines = str(caught.value).splitlines()
    assert first == "toy: 3 faults"
    assert "evaluate.tasks: unknown task 'genral'. Did you mean 'general'" in lines[0]
    assert "evaluate.tasks: unknown task 'embedded_pika'" in lines[1]
    assert "phases.skill.data: nowhere.jsonl: no such file" in lines[2]


def test_a_new_adapter_is_drawn_for_its_phase_and_one_that_goes_on_draws_nothing(values):
    """Else every phase's adapter would begin with the same numbers."""
    lora = [f"phases.{name}.train.tuning=lora" for name in ("skill", "text")]
    for handover, phase in (("new_adapter", "text"), (None, None), ("merge_then_new", "text")):
        more = [] if handover is None else [f"phases.text.train.handover={handover}"]
        found = graph(values | {"arms": {"none": []}}, *lora, *more)
        first, second = (row(found, "none", index).train.settings for index in (1, 2))
        assert (first.get("phase"), second.get("phase")) == (None, phase)


def retuned(values, tmp_path, **entry):
    """The recipe with a brief retune on a task."""
    rows = [{"text": f"unrelated {number} words"} for number in range(40)]
    (tmp_path / "unrelated.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entry = {"task": "phase:skill", "placebo": str(tmp_path / "unrelated.jsonl")} | entry
    return values | {"evaluate": {"tasks": ["phases"], "during_phase": 1, "recovery": [entry]}}


def test_a_retune_starts_from_the_model_before_the_loss_and_after(values, tmp_path):
    found = graph(retuned(values, tmp_path))
    last, first = row(found, "replay", 2).model, row(found, "replay", 1).model
    mine = {one.what: one for one in found.retunes if one.arm == "replay"}
    assert {what: one.train.inputs["model"] for what, one in mine.items()} == {
        "retuned": last,
        "base_retuned": first,
        "placebo": last,
    }
    assert mine["retuned"].mix == mine["base_retuned"].mix != mine["placebo"].mix
    assert mine["retuned"].reference_index == 1
    assert "during_phase" not in mine["retuned"].train.settings
    assert mine["retuned"].train.settings["methods"] == []


def test_arms_share_the_retune_of_the_model_before_the_loss(values, tmp_path):
    found = graph(retuned(values, tmp_path))
    rates = {one.train.settings["learning_rate"] for one in found.retunes}
    assert rates == {1e-3}  # of the task's phase, in every arm
    assert len({one.train for one in found.retunes if one.what == "base_retuned"}) == 1
    assert len({one.train for one in found.retunes if one.what == "retuned"}) == 4


def test_what_the_base_model_could_do_is_counted_from_it(values, tmp_path):
    own = {"name": "own", "data": str(tmp_path / "old.jsonl"), "metric": "bits_per_byte"}
    changed = retuned(values, tmp_path, task="own", data=str(tmp_path / "skill.jsonl"))
    changed["evaluate"]["tasks"] = ["phases", own]
    found = graph(changed)
    [base] = {one.train for one in found.retunes if one.what == "base_retuned"}
    assert "model" not in base.inputs
    assert "model" in base.files
    [leak] = steps(found, "leak")
    assert {"past:0", "past:1"} <= set(leak.inputs)


def test_without_a_retune_nothing_of_it_is_there(values, tmp_path):
    values = values | {"evaluate": {"tasks": ["phases"], "during_phase": 1}}
    more = graph(retuned(values, tmp_path)).steps
    assert set(graph(values).steps) - set(steps(graph(values), "leak")) <= set(more)


def test_other_draws_of_examples_are_steps_beside(values):
    asked = {"tasks": ["phases"], "num_fewshot": [0, 2], "fewshot_draws": 2}
    plain = graph(values | {"evaluate": {"tasks": ["phases"], "num_fewshot": [0, 2]}})
    found = graph(values | {"evaluate": asked | {"fewshot_control": True}})
    assert set(plain.steps) <= set(found.steps)
    draws = row(found, "none", 2).draws
    assert {(shots.draw, shots.shuffled) for shots in draws} == {(0, True), (1, False), (1, True)}
    for shots, by_task in draws.items():
        for step in by_task.values():
            assert step.settings["num_fewshot"] == [2]
            assert step.settings["shots"] == {"draw": shots.draw, "shuffled": shots.shuffled}


def test_own_numbers_of_shots_are_of_their_tasks_alone(values, tmp_path):
    own = {"name": "own", "data": str(tmp_path / "old.jsonl"), "metric": "chrf"}
    plain = graph(values | {"evaluate": {"tasks": ["phases", own]}})
    some = [{"name": "phase:skill", "num_fewshot": [2, 0]}, "phases", own]
    found = graph(values | {"evaluate": {"tasks": some, "fewshot_draws": 2}})
    for phase in range(3):
        before, after = (row(one, "none", phase).evaluations for one in (plain, found))
        assert {task for task in before if before[task] != after[task]} == {"phase:skill"}
        assert after["phase:skill"].settings["num_fewshot"] == [0, 2]
    assert [list(by_task) for by_task in row(found, "none", 1).draws.values()] == [["phase:skill"]]
    spec = row(plain, "none", 0).evaluations["own"].settings["task"]
    shots = graph(values | {"evaluate": {"tasks": ["phases", own | {"num_fewshot": [1]}]}})
    settings = row(shots, "none", 0).evaluations["own"].settings
    assert (settings["num_fewshot"], settings["task"]) == ([1], spec)
    assert "num_fewshot" not in spec


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"fewshot_draws": 3}, "fewshot_draws: needs examples in the prompt"),
        ({"fewshot_control": True}, "fewshot_control: needs examples in the prompt"),
        ({"fewshot_draws": 3, "num_fewshot": [1], "compat": "lm-eval"}, "own draws"),
    ],
)
def test_other_draws_need_examples_of_our_own(values, asked, told):
    with pytest.raises(RecipeError, match=told):
        graph(values | {"evaluate": {"tasks": ["phases"]} | asked})


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("embedded_piqa", "'embedded_piqa' is scored by likelihood"),
        ("english_bits_per_byte", "is scored by likelihood: no answer is written"),
        ("own", "'own' is scored by likelihood"),
    ],
)
def test_a_judge_of_a_task_without_answers_is_refused(values, tmp_path, task, told):
    own = {"name": "own", "data": str(tmp_path / "old.jsonl"), "metric": "bits_per_byte"}
    asked = {"tasks": ["phases", "embedded_piqa", "english_bits_per_byte", own]}
    judge = {"model": "m", "address": "http://127.0.0.1:9/v1", "tasks": [task]}
    with pytest.raises(RecipeError, match=told):
        graph(values | {"evaluate": asked | {"judge": judge}})


def test_a_judge_that_runs_here_is_among_the_files(values, tiny_model_folder):
    judge = {"model": str(tiny_model_folder), "tasks": ["phase:skill"], "rubric": {}}
    found = graph(values | {"evaluate": {"tasks": ["phases"], "judge": judge}})
    judged = row(found, "none", 2).judged
    assert set(judged) == {("pairwise", "phase:skill")}
    [step] = judged.values()
    assert set(step.inputs) == {"answers", "rival", "data"}
    assert set(step.files) == {"judge"}
    assert not row(found, "none", 0).judged


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ({"tasks": ["phase:nothing"]}, "unknown task 'phase:nothing'"),
        ({"address": "127.0.0.1:8000"}, "must begin with http"),
        ({"address": "ftp://me:secret@example.org"}, "a key belongs into RETAIN_JUDGE"),
        ({"address": "https://me:secret@example.org/v1"}, "a key belongs into RETAIN_JUDGE"),
        ({"options": {"stream": True}}, "options.stream: is set by the judge itself"),
        ({"rubric": {}, "pairwise": False}, "nothing is asked"),
        ({"options": {"seed": 1}}, "options.seed: without an address, known are max_tokens"),
    ],
)
def test_a_judge_that_cannot_be_is_refused(values, judge, told):
    asked = {"model": "m", "tasks": ["phase:skill"]} | judge
    with pytest.raises(RecipeError, match=told) as raised:
        graph(values | {"evaluate": {"tasks": ["phases"], "judge": asked}})
    assert "secret" not in str(raised.value)
