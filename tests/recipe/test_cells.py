from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.recipe import FaultyRecipeError, expand, read_recipe
from tests.recipe.recipes import BASE, FREEZE, REPLAY, one_phase, raw, read

THIRD = {"name": "nepali", "data": "n.jsonl", "train": {"learning_rate": 1e-4, "max_steps": 10}}


def cells(**changes):
    return {(cell.arm, cell.seed): cell for cell in expand(read(**changes))}


def acting(cell) -> list[list[str]]:
    return [[method.name for method in phase.methods] for phase in cell.phases]


def test_methods_and_train_values_act_from_the_second_phase_on():
    found = cells(
        arms={"none": [], "replay": [REPLAY], "low": {"train": {"learning_rate": 1e-5}}},
        phases=[*deepcopy(BASE["phases"]), THIRD],
    )
    assert acting(found["none", 0]) == [[], [], []]
    assert acting(found["replay", 0]) == [[], ["experience_replay"], ["experience_replay"]]
    rates = [phase.train.learning_rate for phase in found["low", 0].phases]
    assert rates == [2e-4, 1e-5, 1e-5]
    assert found["low", 0].phases[0] == found["none", 0].phases[0]


def test_from_phase_and_phases_say_otherwise():
    found = cells(
        phases=[*deepcopy(BASE["phases"]), THIRD],
        arms={
            "late": {
                "methods": [REPLAY, FREEZE],
                "from_phase": "nepali",
                "train": {"learning_rate": 1e-5},
            },
            "early": {"methods": [FREEZE], "from_phase": "medicine"},
            "named": [FREEZE | {"phases": ["medicine", "nepali"]}],
            "all": [FREEZE | {"phases": "all"}],
        },
    )
    assert acting(found["late", 0]) == [[], [], ["experience_replay", "freeze"]]
    assert found["late", 0].phases[1].train.learning_rate == 3e-4
    assert found["late", 0].phases[2].train.learning_rate == 1e-5
    assert acting(found["early", 0]) == acting(found["all", 0]) == [["freeze"]] * 3
    assert acting(found["named", 0]) == [["freeze"], [], ["freeze"]]


def test_in_a_recipe_of_one_phase_they_act_there():
    arms = {"freeze": [FREEZE], "low": {"train": {"learning_rate": 1e-5}}}
    freeze, low = expand(read_recipe(one_phase(arms=arms)))
    assert acting(freeze) == [["freeze"]]
    assert low.phases[0].train.learning_rate == 1e-5


def test_none_is_the_same_as_no_method():
    found = cells(arms={"a": [], "b": ["none"]})
    assert found["a", 0].phases == found["b", 0].phases


def test_joint_is_one_phase_over_all_data_at_the_last_row():
    [cell] = expand(read(arms={"joint": ["joint"]}))
    [phase] = cell.phases
    assert (phase.name, phase.index, phase.train.max_steps) == ("joint", 2, 90)
    assert [part.phase.name for part in phase.parts] == ["medicine", "hindi"]
    assert [part.train.objective for part in phase.parts] == ["sft", "pretrain"]
    assert phase.methods == ()
    assert phase.notes[0].startswith("joint: 90 steps")


def test_an_arm_s_rate_acts_on_joint_and_freezing_goes_with_it():
    arm = {"methods": ["joint", FREEZE], "train": {"learning_rate": 1e-5}}
    [cell] = expand(read(arms={"joint": arm}))
    assert cell.phases[0].train.learning_rate == 1e-5
    assert acting(cell) == [["freeze"]]


def test_one_cell_for_every_arm_and_seed():
    found = cells(arms={"none": [], "freeze": [FREEZE]}, seeds=[0, 7])
    assert list(found) == [("none", 0), ("none", 7), ("freeze", 0), ("freeze", 7)]
    assert {cell.variant for cell in found.values()} == {"default"}
    assert found["none", 0].phases == found["none", 7].phases


def test_a_sweep_expands_every_arm():
    found = cells(
        arms={"none": [], "replay": [REPLAY]},
        sweep={"phases.hindi.train.learning_rate": [1e-4, 3e-4, 1e-3]},
    )
    assert [name for name, _ in found] == [
        "none@1e-4", "none@3e-4", "none@1e-3", "replay@1e-4", "replay@3e-4", "replay@1e-3",
    ]  # fmt: skip
    cell = found["none@1e-3", 0]
    assert cell.phases[1].train.learning_rate == 1e-3
    assert cell.phases[0] == found["none@1e-4", 0].phases[0]
    assert cell.base_arm == "none"
    assert cell.swept == (("phases.hindi.train.learning_rate", 1e-3),)


def test_a_sweep_of_one_arm_s_values_leaves_the_others():
    found = cells(
        arms={"none": [], "replay": [REPLAY], "freeze": FREEZE},
        sweep={
            "arms.replay.experience_replay.share": [0.05, 0.1],
            "arms.freeze.freeze.num_layers": [1, 2],
        },
    )
    assert [name for name, _ in found] == [
        "none", "replay@0.05", "replay@0.1", "freeze@1", "freeze@2",
    ]  # fmt: skip
    assert found["replay@0.1", 0].phases[1].methods[0].share == 0.1
    assert found["freeze@2", 0].phases[1].methods[0].num_layers == 2


def test_a_sweep_of_steps_replaces_epochs():
    values = raw(sweep={"phases.hindi.train.num_train_epochs": [1, 2]})
    found = expand(read_recipe(values))
    assert [cell.phases[1].train.max_steps for cell in found] == [None, None]
    assert [cell.phases[1].train.num_train_epochs for cell in found] == [1.0, 2.0]


def test_variants_change_model_order_and_values():
    found = expand(
        read(
            variants={
                "plain": {},
                "small": {"model": "embedded:gemma3-270m"},
                "turned": {"order": ["hindi", "medicine"], "phases.hindi.train.max_steps": 5},
            },
        )
    )
    by_name = {cell.variant: cell for cell in found}
    assert list(by_name) == ["plain", "small", "turned"]
    assert by_name["small"].recipe.model == "embedded:gemma3-270m"
    assert [phase.name for phase in by_name["turned"].phases] == ["hindi", "medicine"]
    assert [phase.index for phase in by_name["turned"].phases] == [1, 2]
    assert by_name["turned"].phases[0].train.max_steps == 5


def test_a_variant_may_leave_phases_out():
    arms = {"none": [], "replay": [REPLAY], "joint": ["joint"]}
    variants = {"both": {}, "one": {"order": ["hindi"], "arms": ["none"]}}
    found = {(cell.variant, cell.arm): cell for cell in expand(read(arms=arms, variants=variants))}
    assert list(found) == [("both", "none"), ("both", "replay"), ("both", "joint"), ("one", "none")]
    [phase] = found["one", "none"].phases
    assert (phase.name, phase.index) == ("hindi", 1)
    assert found["one", "none"].recipe.task_names()[0] == "phase:hindi"
    assert "phase:medicine" not in found["one", "none"].recipe.task_names()
    assert list(found["one", "none"].recipe.arms) == list(arms)


def test_an_arm_that_a_variant_leaves_out_need_not_fit_it():
    arms = {"none": [], "freeze": [FREEZE | {"phases": ["medicine"]}]}
    variants = {"both": {}, "one": {"order": ["hindi"], "arms": ["none"]}}
    assert len(expand(read(arms=arms, variants=variants))) == 3
    tuned = {"phases.hindi.train.tuning": "lora", "phases.hindi.train.learning_rate": 1e-4}
    arms = {"none": [], "freeze": [FREEZE]}
    assert expand(read(arms=arms, variants={"tuned": tuned | {"arms": ["none"]}}))
    with pytest.raises(FaultyRecipeError, match="freeze says which weights move"):
        read(arms=arms, variants={"tuned": tuned})


def test_a_value_of_a_phase_that_a_variant_leaves_out_is_not_swept_there():
    variants = {"both": {}, "one": {"order": ["hindi"]}}
    sweep = {"phases.medicine.train.learning_rate": [1e-4, 2e-4]}
    found = expand(read(variants=variants, sweep=sweep))
    names = [(cell.variant, cell.arm) for cell in found]
    assert names == [("both", "none@1e-4"), ("both", "none@2e-4"), ("one", "none")]


def test_values_of_a_variant_are_judged_together():
    with pytest.raises(FaultyRecipeError, match=r"v\.phases\.hindi\.train\.max_steps: ") as one:
        read_recipe(raw(phases=_warm(5), variants={"v": {"phases.hindi.train.max_steps": 4}}))
    assert "warmup_steps: must be at most max_steps, 4; got 5" in str(one.value)
    apart = {"phases.hindi.train.max_steps": 4, "phases.hindi.train.warmup_steps": 3}
    assert expand(read(phases=_warm(5), variants={"v": apart}))
    late = {"phases.hindi.train.max_steps": 3, "phases.hindi.train.warmup_steps": 4}
    with pytest.raises(FaultyRecipeError, match=r"variants\.v: phases\.hindi\.train") as both:
        read(phases=_warm(2), variants={"v": late})
    assert "must be at most max_steps, 3; got 4" in str(both.value)


def _warm(steps):
    phases = deepcopy(BASE["phases"])
    phases[1]["train"]["warmup_steps"] = steps
    return phases


@given(data=st.data())
def test_cells_of_variants_are_what_each_names(data):
    some = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True)
    variants = {}
    for name in data.draw(st.lists(st.sampled_from("xyz"), min_size=1, unique=True)):
        keys = data.draw(st.sets(st.sampled_from(["order", "arms"])))
        variants[name] = {key: data.draw(some) for key in sorted(keys)}
    arms = {name: {"train": {"max_steps": place}} for place, name in enumerate("abc", start=1)}
    phases = [THIRD | {"name": name} for name in "abc"]
    found = expand(read(phases=phases, arms=arms, variants=variants))
    for name, changes in variants.items():
        here = [cell for cell in found if cell.variant == name]
        run = changes.get("arms", list("abc"))
        assert [cell.arm for cell in here] == [arm for arm in "abc" if arm in run]
        for cell in here:
            assert [phase.name for phase in cell.phases] == changes.get("order", list("abc"))
            assert [phase.index for phase in cell.phases] == [*range(1, len(cell.phases) + 1)]


def test_values_that_are_wrong_only_together_are_named():
    sweep = {
        "phases.hindi.train.warmup_steps": [1, 30],
        "phases.hindi.train.max_steps": [20, 40],
    }
    recipe = read_recipe(raw(sweep=sweep))
    with pytest.raises(FaultyRecipeError, match=r"warmup_steps=30, .*max_steps=20") as caught:
        expand(recipe)
    assert "must be at most max_steps, 20; got 30" in str(caught.value)


def test_a_swept_word_must_fit_into_a_name():
    arms = {"none": [], "replay": [{"method": "experience_replay", "past": {"data": "a.jsonl"}}]}
    swept = {"arms.replay.experience_replay.past.data": ["a/b.jsonl"]}
    recipe = read(arms=arms, sweep=swept)
    with pytest.raises(RecipeError, match="cannot be part of an arm's name"):
        expand(recipe)


@given(
    num_phases=st.integers(1, 4),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    arms=st.lists(st.sampled_from(["none", "freeze", "low"]), min_size=1, unique=True),
)
def test_cells_are_the_product_and_arms_share_their_first_phase(num_phases, seeds, arms):
    forms = {"none": [], "freeze": FREEZE, "low": {"train": {"learning_rate": 1e-6}}}
    phases = [THIRD | {"name": f"p{i}"} for i in range(num_phases)]
    found = expand(read(phases=phases, seeds=seeds, arms={name: forms[name] for name in arms}))

    assert len(found) == len(seeds) * len(arms)
    for cell in found:
        assert [phase.index for phase in cell.phases] == list(range(1, num_phases + 1))
        assert num_phases == 1 or cell.phases[0] == found[0].phases[0]
