import pytest

from retain.errors import RecipeError
from retain.methods.base import HOOKS, overrides
from retain.methods.given import Part, PlannedPhase
from retain.methods.joint import Joint
from retain.methods.none import Plain
from retain.recipe import Train


def planned(**trains: Train) -> tuple[PlannedPhase, ...]:
    return tuple(
        PlannedPhase(
            name=name,
            index=index,
            train=train.model_dump(),
            parts=(Part(phase=name, train=train.model_dump()),),
        )
        for index, (name, train) in enumerate(trains.items(), 1)
    )


MEDICINE = Train(max_steps=50, learning_rate=2e-4, lr_scheduler_type="cosine")
HINDI = Train(max_steps=40, learning_rate=3e-4, objective="pretrain")


def test_none_acts_nowhere():
    assert not any(overrides(Plain(), hook) for hook in HOOKS)


def test_joint_is_one_phase_with_all_steps_and_the_longest_phase_s_rate():
    [phase] = Joint().plan(planned(medicine=MEDICINE, hindi=HINDI))
    assert (phase.name, phase.index, phase.train["max_steps"]) == ("joint", 2, 90)
    assert phase.train["learning_rate"] == 2e-4
    assert phase.train["lr_scheduler_type"] == "cosine"
    assert [(part.phase, part.train["objective"]) for part in phase.parts] == [
        ("medicine", "sft"),
        ("hindi", "pretrain"),
    ]
    assert phase.notes == (
        "joint: 90 steps over medicine, hindi; learning rate 0.0002 and schedule of medicine",
    )


def test_the_rate_may_be_taken_from_a_named_phase():
    [phase] = Joint(train_from="hindi").plan(planned(medicine=MEDICINE, hindi=HINDI))
    assert phase.train["learning_rate"] == 3e-4
    with pytest.raises(RecipeError, match="no phase 'x'; phases: medicine, hindi"):
        Joint(train_from="x").plan(planned(medicine=MEDICINE, hindi=HINDI))


def test_with_epochs_the_rate_must_be_told_where_it_is_in_doubt():
    epochs = Train(num_train_epochs=2.0)
    with pytest.raises(RecipeError, match=r"\{method: joint, train_from: medicine\}"):
        Joint().plan(planned(medicine=MEDICINE, hindi=epochs))
    floor = epochs.changed({"min_lr_ratio": 0.1})
    with pytest.raises(RecipeError, match="the phases' rates or schedules differ"):
        Joint().plan(planned(a=epochs, b=floor))
    [phase] = Joint().plan(planned(a=epochs, b=epochs.changed({"num_train_epochs": 1.0})))
    assert phase.train["max_steps"] is None
    assert "as many steps as the phases together" in phase.notes[0]


def test_joint_does_not_act_in_some_phases_only():
    with pytest.raises(RecipeError, match="joint is one phase over all"):
        Joint(phases=("hindi",))
