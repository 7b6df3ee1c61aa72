from dataclasses import replace

from retain.steps import Step
from retain.steps.explain import explain

DATA = Step("data", "med", 1, {"sources": [{"name": "a", "share": 1.0}], "phase": "med"})
MIX = Step("mix", "none-med", 1, {"seed": 0}, {"new": DATA})
TRAIN = Step(
    "train",
    "none-med",
    1,
    {"learning_rate": 1e-4, "schedule": {"kind": "constant"}},
    {"mix": MIX},
    {"model": "0" * 64},
)


def train_on(data):
    return replace(TRAIN, inputs={"mix": replace(MIX, inputs={"new": data})})


def test_the_changed_field_is_named(store, finish):
    finish(TRAIN)
    new = replace(TRAIN, settings={**TRAIN.settings, "learning_rate": 2e-4}, version=2)

    assert explain(new, store) == [
        f"nearest finished step: {TRAIN.folder}",
        "version: 1 -> 2",
        "settings.learning_rate: 0.0001 -> 0.0002",
    ]


def test_a_change_far_up_is_followed_through_the_inputs_and_told_once(store, finish):
    for step in (DATA, MIX, TRAIN):
        finish(step)
    changed = replace(DATA, settings={**DATA.settings, "sources": [{"name": "a", "share": 0.5}]})
    new = train_on(changed)
    twice = replace(new, inputs={**new.inputs, "data": changed})

    place = "inputs.mix.inputs.new.settings.sources[0].share: 1.0 -> 0.5"
    assert explain(new, store)[1:] == [place]
    assert explain(twice, store)[1:] == [f"inputs.data: (absent) -> {changed.folder}", place]


def test_an_input_whose_record_is_gone_is_still_named(store, finish):
    for step in (DATA, MIX, TRAIN):
        finish(step)
    store.remove(MIX.folder)
    new = train_on(replace(DATA, version=2))

    (line,) = explain(new, store)[1:]
    assert line.startswith(f"inputs.mix: {MIX.folder} (its record is gone) -> mix/none-med-")


def test_the_nearest_is_the_one_with_the_fewest_differences(store, finish):
    far = replace(TRAIN, settings={"learning_rate": 1.0, "schedule": {"kind": "linear"}})
    near = replace(TRAIN, name="other", settings={**TRAIN.settings, "learning_rate": 1.0})
    named = replace(near, name="none-med", settings={**TRAIN.settings, "learning_rate": 2.0})
    for step in (far, near, named):
        finish(step)

    assert explain(TRAIN, store)[0] == f"nearest finished step: {named.folder}"
    store.remove(named.folder)
    assert explain(TRAIN, store)[0] == f"nearest finished step: {near.folder}"


def test_types_lengths_and_missing_fields_count(store, finish):
    finish(Step("data", "x", 1, {"a": 1, "b": [1], "c": None, "long": "x" * 200}))
    new = Step("data", "x", 1, {"a": 1.0, "b": [1, 2], "d": True, "long": "y"})

    lines = explain(new, store)[1:]
    assert lines[:2] == ["settings.a: 1 -> 1.0", "settings.b: [1] -> [1, 2]"]
    assert lines[2] == "settings.c: null -> (absent)"
    assert lines[3].endswith('… -> "y"')
    assert lines[4] == "settings.d: (absent) -> true"


def test_nothing_to_explain(store, finish):
    assert explain(DATA, store) == [
        "no other step of kind 'data' is finished: there is nothing to compare"
    ]
    finish(DATA)
    assert explain(DATA, store) == [f"{DATA.folder}: finished, is reused"]


def test_entries_of_the_store_are_explained_too(store, finish):
    finish(DATA)
    finish(replace(DATA, version=2))
    entry = next(each for each in store.entries() if each.record["step"]["version"] == 2)

    assert explain(entry, store)[1:] == ["version: 1 -> 2"]
    (store.root / entry.folder / "record.json").unlink()
    (entry,) = (each for each in store.entries() if each.faults)
    assert "damaged (record.json is missing)" in explain(entry, store)[0]


def test_other_files_are_named(store, finish):
    finish(TRAIN)

    assert explain(replace(TRAIN, files={"model": "1" * 64}), store)[1:] == [
        f'files.model: "{"0" * 64}" -> "{"1" * 64}"'
    ]
