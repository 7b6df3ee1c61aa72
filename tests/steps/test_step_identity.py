import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.steps import Step, as_name, check_name

DIGEST = "0" * 64


def step(**changes):
    fields = {
        "kind": "train",
        "name": "none",
        "version": 1,
        "settings": {"a": 1, "b": [1, 2]},
        "inputs": {"mix": Step("mix", "m", 1, {})},
        "files": {"model": DIGEST},
    }
    return Step(**(fields | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "evaluate"},
        {"version": 2},
        {"settings": {"a": 1, "b": [2, 1]}},
        {"settings": {"a": 1.0, "b": [1, 2]}},
        {"settings": {"a": 1, "b": [1, 2], "c": None}},
        {"inputs": {}},
        {"inputs": {"model": Step("mix", "m", 1, {})}},
        {"inputs": {"mix": Step("mix", "m", 2, {})}},
        {"inputs": {"mix": Step("mix", "m", 1, {}, files={"x": DIGEST})}},
        {"files": {"model": "1" * 64}},
        {"files": {"base": DIGEST}},
    ],
)
def test_everything_a_result_depends_on_is_in_the_fingerprint(change):
    assert step(**change).fingerprint != step().fingerprint
    assert step(**change) != step()


def test_names_and_key_order_are_not():
    other = step(
        name="replay",
        settings={"b": (1, 2), "a": 1},
        inputs={"mix": Step("mix", "other", 1, {})},
    )

    assert other == step()
    assert hash(other) == hash(step())
    assert other.folder == f"train/replay-{step().fingerprint[:16]}"


def test_the_fingerprint_is_the_same_for_ever():
    assert Step("data", "x", 1, {"a": [1, 1.0, True, None, "é"]}).fingerprint == (
        "17c193d7b30e268b05b5134d2bde0820b7793a254b1a4f21b759ddce7384beaa"
    )


def test_later_changes_of_what_was_given_do_not_reach_it():
    settings = {"list": [1]}
    made = step(settings=settings)
    settings["list"].append(2)

    assert made.settings == {"list": [1]}
    assert made == step(settings={"list": [1]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Train"}, "step kind 'Train'"),
        ({"kind": ".tmp"}, "step kind"),
        ({"name": "a/b"}, "step name 'a/b': .* try 'a-b'"),
        ({"name": ".."}, "step name"),
        ({"settings": {"x": {1}}}, r"train step 'none': settings\.x: a builtins\.set"),
        ({"files": {"model": "abc"}}, "file 'model': 'abc' is not a sha256"),
    ],
)
def test_bad_parts_are_refused_by_place(change, message):
    with pytest.raises(RecipeError, match=message):
        step(**change)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\n", "/a", ".a", "a\0", "é", "x" * 65, "a b"]
)
def test_names_unfit_for_a_folder_are_refused(name):
    with pytest.raises(RecipeError, match="run name"):
        check_name("run name", name)


@given(st.text())
def test_any_text_becomes_a_legal_name(text):
    assert check_name("name", as_name(text)) == as_name(as_name(text))
