"""What is said about recipes that cannot be: place, value, what is allowed, what to do."""

import pytest

from retain.recipe import read_recipe
from retain.recipe.faults import ELSEWHERE
from tests.recipe.recipes import (
    BASE,
    CHANGED,
    FREEZE,
    REPLAY,
    faults_of,
    one_phase,
    raw,
    with_phase,
    with_train,
)

HINDI = "phases.hindi"


def test_an_unknown_key_brings_the_nearest_one():
    [fault] = faults_of(with_train(learning_rat=1e-4))
    assert fault.startswith(
        f"{HINDI}.train.learning_rat: unknown key 'learning_rat'. Did you mean 'learning_rate'? "
        "Known: objective, tuning, learning_rate, "
    )


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"learning_rate": "fast"}, "learning_rate: must be a number; got 'fast'"),
        ({"learning_rate": -1}, "learning_rate: must be above 0; got -1"),
        ({"learning_rate": 2}, "learning_rate: must be at most 1; got 2"),
        ({"learning_rate": True}, "learning_rate: must be a number; got true"),
        ({"learning_rate": None}, "learning_rate: must be a number; got null"),
        ({"learning_rate": [1]}, "learning_rate: must be a number; got [1]"),
        ({"max_steps": 1.5}, "max_steps: must be a whole number; got 1.5"),
        ({"max_steps": "10"}, "max_steps: must be a whole number; got '10'"),
        ({"max_steps": 0}, "max_steps: must be at least 1; got 0"),
        ({"packing": "yes"}, "packing: must be true or false; got 'yes'"),
        (
            {"objective": "sfft"},
            "objective: must be sft or pretrain; got 'sfft'. Did you mean 'sft'?",
        ),
        (
            {"lr_scheduler_type": "step"},
            "lr_scheduler_type: must be constant, linear, cosine or warmup_stable_decay; "
            "got 'step'",
        ),
        (
            {"tuning": "partial"},
            "tuning: must be full, lora, qlora, dora, rslora or ia3; got 'partial'",
        ),
        (
            {"num_cycles": 2},
            "num_cycles: belongs to lr_scheduler_type cosine, not linear",
        ),
        ({"shard": True}, "shard: there is one process, so nothing to divide; give processes: 2"),
        (
            {"shard": True, "processes": 2, "tuning": "lora"},
            "shard: divides what moves, and with lora that is small; leave it out",
        ),
        ({"fsdp": "full_shard"}, "fsdp: unknown key 'fsdp': use shard, with processes"),
        ({"lora_r": 8}, "lora_r: tuning is full; it belongs to an adapter (tuning: lora)"),
        (
            {"tuning": "ia3", "lora_alpha": 8.0},
            "lora_alpha: ia3 has no rank, scale or dropout; leave it out",
        ),
        ({"tuning": "lora", "r": 8}, "r: unknown key 'r': use lora_r"),
        ({"num_train_epochs": 2}, "max_steps: num_train_epochs is given too; give one of them"),
        (
            {"batch_size": 8, "batch_tokens": 1024},
            "batch_tokens: batch_size is given too; give one of them",
        ),
        (
            {"batch_tokens": 1024, "batch_trained_tokens": 64},
            "batch_trained_tokens: batch_tokens is given too; give one of them",
        ),
        ({"warmup_steps": 41}, "warmup_steps: must be at most max_steps, 40; got 41"),
    ],
)
def test_training_values(values, fault):
    assert faults_of(with_train(**values)) == (f"{HINDI}.train.{fault}",)


def test_freezing_is_pointed_to_its_method():
    [fault] = faults_of(with_train(tuning="freeze"))
    assert "freezing is a method" in fault


def test_a_longer_word_is_answered_with_the_key_it_begins_with():
    [fault] = faults_of(with_train(packing_type="bfd"))
    assert fault.startswith(f"{HINDI}.train.packing_type: unknown key 'packing_type'. Did you mean")
    assert "Did you mean 'packing'?" in fault


@pytest.mark.parametrize(
    "key", ["per_device_train_batch_size", "cutoff_len", "optim", "load_in_4bit"]
)
def test_words_of_other_tools_are_answered(key):
    [fault] = faults_of(with_train(**{key: 1}))
    assert fault == f"{HINDI}.train.{key}: unknown key '{key}': {ELSEWHERE[key]}"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"data": 3}, "data: must be a source, such as embedded:NAME or a file, or a list of"),
        ({"data": []}, "data: must be a list that is not empty; got ()"),
        ({"data": ["a", {"source": "b", "shard": 0.5}]}, "data.1.shard: unknown key 'shard'."),
        ({"data": [{"split": "x"}]}, "data.0.source: is missing"),
        ({"data": [{"source": "a", "share": 1.5}]}, "data.0.share: must be at most 1; got 1.5"),
        (
            {"data": [{"source": "a", "share": 0.5}, {"source": "b", "share": 0.6}]},
            "data: the sources' shares add up to 1.1; at most 1",
        ),
        (
            {"data": [{"source": "a", "share": 0.5}, {"source": "b", "share": 0.4}]},
            "data: the sources' shares add up to 0.9; they must give 1",
        ),
        (
            {"data": [{"source": "a", "share": 1.0}, "b"]},
            "data: the sources' shares add up to 1 and leave nothing",
        ),
        ({"held_out": {"fraction": 1.0}}, "held_out.fraction: must be below 1; got 1.0"),
        ({"held_out": {"fraction": 0.1, "count": 5}}, "held_out.count: fraction is given too"),
        ({"held_out": 0.1}, "held_out: must be a mapping (key: value); got 0.1"),
        ({"language": "Hindi"}, "language: must match ^[a-z]{2,3}"),
        ({"name": "joint"}, "name: 'joint' means something else"),
        ({"name": "medicine"}, "name: 'medicine' is the name of phase 1 too"),
        ({"name": 3}, "name: must be text (a number meant as text goes in quotes); got 3"),
        ({"trian": {}}, "trian: unknown key 'trian'. Did you mean 'train'?"),
        ({"train": 3}, "train: must be a mapping (key: value); got 3"),
    ],
)
def test_phases(values, fault):
    [found] = faults_of(with_phase(**values))
    name = values.get("name", "hindi")
    assert found.startswith(f"phases.{name if isinstance(name, str) else 1}.{fault}")


@pytest.mark.parametrize("name", ["..", "a..b", "a/b", ".hidden", "", "x" * 65, "a b", "ü"])
def test_names_are_safe_in_paths(name):
    [fault] = faults_of(raw(name=name))
    assert fault.startswith("name: must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, without")
    assert fault.endswith(f"got '{name}'")


def test_what_is_missing_is_named():
    assert faults_of({"name": "x"}) == ("model: is missing", "phases: is missing")
    assert faults_of(raw(phases=[])) == ("phases: must be a list that is not empty; got []",)
    assert faults_of(raw(phases={}))[0] == "phases: must be a list; got {}"


# ---------------------------------------------------------------- arms


@pytest.mark.parametrize(
    ("arm", "fault"),
    [
        ([{"method": "frieze"}], "frieze.method: unknown method 'frieze'. Did you mean 'freeze'?"),
        ([{"share": 0.1}], "0: needs the key 'method' with the name of one; known: none, joint"),
        (3, " must be a mapping (key: value); got 3"),
        ([3], "0: must be {method: NAME, ...}; got 3"),
        ([REPLAY | {"share": 1.5}], "experience_replay.share: must be above 0 and below 1; got"),
        ([REPLAY | {"share": 1}], "experience_replay.share: must be above 0 and below 1; got 1"),
        ([REPLAY | {"share": "5%"}], "experience_replay.share: must be a number; got '5%'"),
        ([REPLAY | {"ratio": 0.1}], "experience_replay.ratio: unknown key 'ratio': use share"),
        ([REPLAY | {"sahre": 0.1}], "experience_replay.sahre: unknown key 'sahre'. Did you mean"),
        ([REPLAY | {"phases": 3}], "experience_replay.phases: must be after_first or all or a"),
        ([REPLAY | {"phases": ["hindu"]}], "experience_replay.phases: unknown phase 'hindu'. Did"),
        ([REPLAY | {"past": {"data": 3}}], "experience_replay.past.data: must be a source, such"),
        ([FREEZE | {"num_layers": True}], "freeze.num_layers: must be a whole number; got true"),
        ([FREEZE | {"select": "middle"}], "freeze.select: must be first, last, random, most_"),
        ([{"method": "freeze"}], "freeze.num_layers: nothing to freeze"),
        (
            [FREEZE, FREEZE | {"num_layers": 3}],
            "freeze: freeze chooses which parameters move already; an arm takes one such method",
        ),
        (
            ["joint", {"method": "joint", "train_from": "hindi"}],
            "joint: joint chooses which phases there are already",
        ),
        ([{"method": "none"}, FREEZE], "none: none is plain training and stands alone in an arm"),
        ([REPLAY, REPLAY], "experience_replay: experience_replay is listed twice with the same"),
        (
            [REPLAY | {"share": 0.5}, REPLAY | {"share": 0.5, "past": {"data": "a"}}],
            " shares of the final mix add up to 1; below 1 leaves room for the new",
        ),
        (
            [
                REPLAY | {"past": {"data": "a/x"}},
                REPLAY | {"past": {"data": "b/x"}},
            ],
            "experience_replay.past.name: another method of this arm has other data under the name",
        ),
        ({"from_phase": "hindu"}, "from_phase: unknown phase 'hindu'. Did you mean 'hindi'?"),
        ({"train": {"learning_rate": "low"}}, "train.learning_rate: must be a number; got 'low'"),
        ({"train": {"lr": 1}}, "train.lr: unknown key 'lr': use learning_rate"),
        ({"train": {"warmup_steps": 41}}, "train.warmup_steps: must be at most max_steps, 40"),
        ({"metods": []}, "metods: unknown key 'metods'. Did you mean 'methods'?"),
        (
            {"methods": ["joint"], "train": {"max_steps": 3}},
            "train.max_steps: joint trains on each phase's own examples; leave it to the phases",
        ),
        (
            [{"method": "joint", "train_from": "x"}],
            " train_from: no phase 'x'; phases: medicine, hindi",
        ),
        (["joint", REPLAY], "experience_replay: experience_replay needs a past, and all phases"),
        (["joint", FREEZE | {"phases": ["hindi"]}], "freeze.phases: freeze acts in no phase"),
        ([FREEZE | {"select": "last", "fraction": 0.5}], "freeze.fraction: num_layers is given"),
        (
            [CHANGED | {"phases": "all"}],
            "freeze: freeze needs a past, and acts in the first phase, 'medicine', which has none; "
            "let it act later (phases: [hindi])",
        ),
        (["joint", CHANGED], "freeze: freeze needs a past, and all phases are one"),
        (
            [CHANGED | {"changed_in": "hindi"}],
            "freeze: freeze looks back at phase 'hindi', which is not before 'hindi', where it "
            "acts first; earlier phases: medicine",
        ),
        (
            [REPLAY | {"select": "parallel"}],
            "experience_replay: experience_replay with select: parallel acts in phase 'hindi', "
            "whose data names no pairs; give its source parallel: COLUMN",
        ),
        (["joint", REPLAY | {"select": "parallel"}], "experience_replay: experience_replay repl"),
        ([{"method": "instruction_mixing"}], "instruction_mixing.general: is missing"),
    ],
)  # fmt: skip
def test_arms(arm, fault):
    [found] = faults_of(raw(arms={"none": [], "this": arm}))
    wanted = f"arms.this:{fault}" if fault.startswith(" ") else f"arms.this.{fault}"
    assert (
        found.replace("this.methods.", "this.").replace("this.methods:", "this:").startswith(wanted)
    )


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        (one_phase(arms={"a": [REPLAY]}), "past: {data: SOURCE})"),
        (raw(arms={"a": [REPLAY | {"phases": "all"}]}), "let it act later (phases: [hindi])"),
        (
            raw(arms={"a": {"methods": [REPLAY], "from_phase": "medicine"}}),
            "let it act later (phases: [hindi])",
        ),
    ],
)
def test_replay_in_a_first_phase_needs_a_declared_past(values, advice):
    [fault] = faults_of(values)
    assert fault.replace("a.methods.", "a.").startswith(
        "arms.a.experience_replay: experience_replay needs a past, and acts in the first phase, "
        "'medicine', which has none; give it data that stands for the past"
    )
    assert fault.endswith(advice)


def test_pairs_are_replayed_where_the_source_names_them():
    data = {"source": "embedded:nepali-interface", "parallel": "english"}
    arms = {"a": [REPLAY | {"select": "parallel"}]}
    assert read_recipe(with_phase(data=data) | {"arms": arms})


def test_replay_in_a_first_phase_with_a_declared_past_is_fine():
    past = {"past": {"data": "embedded:xsum"}}
    assert read_recipe(one_phase(arms={"a": [REPLAY | past]}))
    both = [REPLAY, REPLAY | past]
    assert read_recipe(raw(arms={"a": both}))


# ---------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"seeds": 3}, "seeds: must be a list; got 3"),
        ({"seeds": [0, 0]}, "seeds.1: 0 is given twice"),
        ({"seeds": [-1]}, "seeds.0: must be at least 0; got -1"),
        ({"budget": "same"}, "budget: must be same_new_data, same_total_tokens or same_total_com"),
        ({"choose": {"learnt": "most"}}, "choose.learnt: must match ^>= "),
        ({"keep": {"models": "best"}}, "keep.models: must be chosen, last or all; got 'best'"),
        ({"model": ""}, "model: must be text that is not empty; got ''"),
        ({"revision": 1234567}, "revision: must be text (a number meant as text goes in quotes)"),
        ({"model_name_or_path": "x"}, "model_name_or_path: unknown key 'model_name_or_path': use"),
        ({"evaluate": {"tasks": []}}, "evaluate.tasks: must be a list that is not empty; got []"),
        ({"evaluate": {"tasks": [3]}}, "evaluate.tasks.0: must be a task's name, {name, num_few"),
        ({"evaluate": {"num_fewshot": 5}}, "evaluate.num_fewshot: must be a list; got 5"),
        ({"evaluate": {"num_fewshot": [0, 0]}}, "evaluate.num_fewshot: 0 is given twice"),
        (
            {"evaluate": {"tasks": [{"name": "a", "num_fewshot": []}]}},
            "evaluate.tasks.a.num_fewshot: must be a list that is not empty; got []",
        ),
        (
            {"evaluate": {"tasks": [{"name": "a", "num_fewshot": [0, 2, 2]}]}},
            "evaluate.tasks.a.num_fewshot: 2 is given twice",
        ),
        (
            {"evaluate": {"tasks": ["a", {"name": "a", "num_fewshot": [2]}]}},
            "evaluate.tasks.a: 'a' is listed twice",
        ),
        (
            {"evaluate": {"tasks": ["phases", {"name": "phase:hindi", "num_fewshot": [2]}]}},
            "evaluate.tasks.phase:hindi.num_fewshot: earlier entries name all of",
        ),
        (
            {"evaluate": {"tasks": [{"name": "phase:hindu", "num_fewshot": [2]}]}},
            "evaluate.tasks.phase:hindu: unknown task 'phase:hindu'. Did you mean 'phase:hindi'?",
        ),
        (
            {"evaluate": {"tasks": [{"name": "a", "num_fewshot": [0]}], "fewshot_draws": 2}},
            "evaluate.fewshot_draws: needs examples in the prompt",
        ),
        ({"evaluate": {"limit": 0}}, "evaluate.limit: must be at least 1; got 0"),
        ({"evaluate": {"tasks": ["phase:x"]}}, "evaluate.tasks.phase:x: unknown task 'phase:x'."),
        ({"evaluate": {"tasks": ["a", "a"]}}, "evaluate.tasks.a: 'a' is listed twice"),
        (
            {"evaluate": {"tasks": [{"name": "a", "data": "b", "metric": "meteor"}]}},
            "evaluate.tasks.a.metric: must be exact_match, choice, chrf, bleu, rouge_1,",
        ),
        (
            {"evaluate": {"tasks": [{"name": "phases", "data": "b", "metric": "chrf"}]}},
            "evaluate.tasks.phases.name: 'phases' is the name of a group",
        ),
        (
            {"evaluate": {"tasks": ["g", "h"], "groups": {"g": ["h"], "h": ["a"]}}},
            "evaluate.groups.g.h: 'h' is a group itself; 'g' lists tasks",
        ),
        (
            {"evaluate": {"tasks": ["a"], "groups": {"g": ["b"]}}},
            "evaluate.groups.g.b: 'b' is not scored; list the group 'g' in evaluate.tasks",
        ),
        (
            {"evaluate": {"groups": {"phases": ["embedded_piqa"]}}},
            "evaluate.groups.phases: 'phases' is every phase's held-out split",
        ),
        ({"fail_if": [{"measure": "learned", "below": 0}]}, "fail_if.0.measure: must be score, "),
        ({"fail_if": [{"measure": "learnt"}]}, "fail_if.0.below: is missing: give below or above"),
        (
            {"fail_if": [{"measure": "learnt", "below": 0, "arms": ["repaly"]}]},
            "fail_if.0.arms.repaly: unknown arm 'repaly'. Known: none",
        ),
        (
            {"fail_if": [{"measure": "learnt", "below": 0, "task": "boolq"}]},
            "fail_if.0.task: unknown task 'boolq'. Did you mean 'embedded_boolq'?",
        ),
        (
            {"fail_if": [{"measure": "learnt", "below": 0, "group": "genral"}]},
            "fail_if.0.group: unknown group 'genral'. Did you mean 'general'?",
        ),
        (
            {"fail_if": [{"measure": "learnt", "below": 0, "group": "general", "task": "x"}]},
            "fail_if.0.group: task is given too; give one of them",
        ),
        (
            {"variants": {"v": {"order": ["hindi", "x"]}}},
            "variants.v.order: unknown phase 'x'. Known: medicine, hindi",
        ),
        ({"variants": {"v": {"order": []}}}, "variants.v.order: must be a list of phases; got []"),
        ({"name": "abc\n"}, "name: must be 1 to 64 of the characters"),
        ({"variants": {"v": {"order": "hindi"}}}, "variants.v.order: must be a list of phases"),
        ({"variants": {"v": {"order": ["hindi", "hindi"]}}}, "variants.v.order: names phase 'h"),
        ({"variants": {"v": {"order": [["hindi"]]}}}, "variants.v.order: unknown phase '['hindi']"),
        ({"variants": {"v": {"arms": "none"}}}, "variants.v.arms: must be a list of arms; got 'no"),
        ({"variants": {"v": {"arms": []}}}, "variants.v.arms: must be a list of arms; got []"),
        ({"variants": {"v": {"arms": ["none", "none"]}}}, "variants.v.arms: names arm 'none' tw"),
        (
            {"variants": {"v": {"arms": ["nonne"]}}},
            "variants.v.arms: unknown arm 'nonne'. Did you mean 'none'? Known: none",
        ),
        (
            {
                "variants": {"v": {"order": ["hindi"]}},
                "arms": {"a": [FREEZE | {"phases": ["medicine"]}]},
            },
            "variants.v.order: without phase medicine: arms.a.freeze.phases: unknown phase 'medici",
        ),
        (
            {"variants": {"v": {"order": ["hindi"]}}, "evaluate": {"tasks": ["phase:medicine"]}},
            "variants.v.order: without phase medicine: evaluate.tasks.phase:medicine: unknown task",
        ),
        (
            {"variants": {"v": {"order": ["hindi"], "phases.medicine.train.max_steps": 3}}},
            "variants.v: 'phases.medicine.train.max_steps': unknown phase 'medicine'. Known: hindi",
        ),
        (
            {
                "variants": {"v": {"arms": ["none"]}},
                "arms": {"none": [], "low": {"train": {"learning_rate": 1e-5}}},
                "fail_if": [{"measure": "learnt", "below": 0, "arms": ["none", "low"]}],
            },
            "fail_if.0.arms.low: no variant runs arm 'low'",
        ),
        ({"variants": {"v": {"seeds": [1]}}}, "variants.v.seeds: a variant changes model"),
        (
            {"variants": {"v": {"phases.hindi.train.max_step": 1}}},
            "variants.v.phases.hindi.train.max_step: unknown key 'max_step'. Did you",
        ),
        (
            {"sweep": {"phases.hindi.train.learning_rat": [1e-4]}},
            "sweep.phases.hindi.train.learning_rat: unknown key 'learning_rat'. Did you mean",
        ),
        (
            {"sweep": {"phases.hindu.train.learning_rate": [1e-4]}},
            "sweep.phases.hindu.train.learning_rate: 'phases.hindu.train.learning_rate': ",
        ),
        (
            {"sweep": {"phases.hindi.train.learning_rate": [1e-4, 5]}},
            "sweep.phases.hindi.train.learning_rate: must be at most 1; got 5",
        ),
        ({"sweep": {"phases.hindi.train.max_steps": []}}, "sweep.phases.hindi.train.max_steps: "),
        ({"sweep": {"phases.hindi.train.max_steps": [3, 3]}}, "sweep.phases.hindi.train.max_s"),
        ({"sweep": {"seeds": [1]}}, "sweep.seeds: a sweep changes phases.NAME.train.… or"),
        ({"sweep": {"phases.hindi.train.seed": [["a"]]}}, "sweep.phases.hindi.train.seed: "),
    ],
)  # fmt: skip
def test_the_other_parts(changes, fault):
    [found] = faults_of(raw(**changes))
    assert found.startswith(fault)


def test_faults_of_the_parts_and_between_them_come_together():
    values = raw(
        phases=[BASE["phases"][0], BASE["phases"][1] | {"train": {"learning_rate": "fast"}}],
        arms={
            "first": [REPLAY | {"phases": "all"}],
            "typo": [{"method": "frieze"}],
            "two": [FREEZE, FREEZE | {"num_layers": 5}],
        },
        seeds=["x"],
        sweep={"seeds": [1]},
        nmae="x",
    )
    faults = faults_of(values)
    assert {fault.split(":")[0] for fault in faults} == {
        "phases.hindi.train.learning_rate",
        "arms.first.experience_replay",
        "arms.typo.frieze.method",
        "arms.two.freeze",
        "seeds.x",
        "sweep.seeds",
        "nmae",
    }


def test_long_values_are_cut():
    [fault] = faults_of(with_train(learning_rate="x" * 500))
    assert len(fault) < 140


def test_a_percentage_is_told_as_a_fraction():
    [fault] = faults_of(raw(arms={"a": [REPLAY | {"share": "10%"}]}))
    assert (
        "must be a number; got '10%' (a percentage is written as a fraction: 10 % is 0.1)" in fault
    )


# ---------------------------------------------------------------- adapters from phase to phase

LORA = {"tuning": "lora", "lora_r": 8, "lora_target_modules": ["v_proj", "q_proj"]}


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (LORA, LORA | {"lora_target_modules": ["q_proj", "v_proj"]}, None),
        (LORA, {"tuning": "dora", "handover": "merge_then_new"}, None),
        (LORA, {"handover": "merge_then_new"}, None),
        (LORA, {"tuning": "rslora", "handover": "new_adapter"}, None),
        ({}, LORA, None),
        (LORA, {}, "the phase before trains an adapter (lora), this one all weights; handover: m"),
        (LORA, LORA | {"lora_r": 4}, "goes on with the adapter of the phase before, which has "
         "lora_r 8 (asked: 4); ask for the same"),
        (LORA, LORA | {"train_embeddings": True}, "goes on with the adapter of the phase before, "
         "which has train_embeddings False (asked: True)"),
        (LORA, LORA | {"tuning": "qlora"}, "tuning qlora follows lora, and weights of 4 bits"),
        ({"tuning": "dora"}, LORA | {"handover": "new_adapter"}, "handover: new_adapter saves two "
         "adapters as one, and dora cannot be joined"),
        (LORA | {"train_head": True}, LORA | {"handover": "new_adapter"}, "handover: new_adapter "
         "cannot join what"),
    ],
)  # fmt: skip
def test_a_handover_that_cannot_be_is_refused_before_anything_is_trained(first, second, fault):
    values = raw()
    for phase, train in zip(values["phases"], (first, second), strict=True):
        phase["train"] = {"max_steps": 5} | train
    if fault is None:
        assert read_recipe(values)
        return
    [found] = faults_of(values)
    assert found.startswith(f"{HINDI}.train: {fault}")


def test_an_adapter_that_two_became_goes_on_with_the_sum_of_their_ranks():
    values = raw(arms={"none": [], "more": {"train": {"handover": "new_adapter"}}})
    for phase in values["phases"]:
        phase["train"] = {"max_steps": 5} | LORA
    third = {**values["phases"][1], "name": "third"}
    values["phases"].append(third)
    assert read_recipe(values)
    third["train"] = {"max_steps": 5, "tuning": "lora", "lora_r": 16, "lora_alpha": 16.0}
    [found] = faults_of(values)  # of the control alone: its adapter has rank 8
    assert "lora_r 8 (asked: 16)" in found
