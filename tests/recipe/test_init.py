from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.recipe import InitFacts, expand, init_recipe, read_recipe
from retain.recipe.init import fit_memory, memory_bytes, peak_bytes
from retain.recipe.yaml_text import parse

SMALL = InitFacts(
    num_parameters=134_515_008,
    block_parameters=106_203_648,
    num_layers=30,
    hidden_size=576,
    vocab_size=49_152,
    context_tokens=8_192,
)
LARGE = InitFacts(
    num_parameters=7_000_000_000,
    block_parameters=6_500_000_000,
    num_layers=32,
    hidden_size=4_096,
    vocab_size=32_000,
)


def recipe_of(text):
    document = parse(text)
    assert document.faults == []
    return read_recipe(document.value)


def test_the_recipe_compares_four_arms_on_one_phase():
    text = init_recipe("models/mine", "data/my set.jsonl", SMALL, test="t.jsonl", language="ne")
    recipe = recipe_of(text)

    assert recipe.name == "my-set"
    assert list(recipe.arms) == ["none", "low_rate", "replay", "freeze"]
    assert recipe.phases[0].language == "ne"
    assert recipe.phases[0].data[0].source == "data/my set.jsonl"
    assert recipe.evaluate.own_tests[0].data == "t.jsonl"
    assert recipe.task_names()[:2] == ("phase:my-set", "embedded_boolq")
    replay = recipe.arms["replay"].methods[0]
    assert replay.past.data[0].source == "embedded:xsum"
    assert [len(cell.phases[0].methods) for cell in expand(recipe)] == [0, 0, 1, 1]
    assert text.count("#") > 20


def test_running_text_is_trained_on_as_text():
    train = recipe_of(init_recipe("m", "a.txt", replace(SMALL, is_text=True))).phases[0].train
    assert (train.objective, train.batch_tokens, train.max_length) == ("pretrain", 8192, 512)


def test_the_steps_are_told_where_they_are_known():
    text = init_recipe("m", "a.jsonl", replace(SMALL, num_examples=1000))
    assert "num_train_epochs: 2      # about 112 optimizer steps of your 1000 examples" in text
    assert "optimizer steps of your" not in init_recipe("m", "a.jsonl", SMALL)


def test_rows_are_as_long_as_the_data_and_the_model_ask():
    assert fit_memory(replace(SMALL, longest_tokens=300), 24e9).max_length == 512
    assert fit_memory(replace(SMALL, longest_tokens=9000), 24e9).max_length == 2048
    assert fit_memory(replace(SMALL, context_tokens=128), 24e9).max_length == 128


def test_the_less_memory_the_less_moves():
    sizes = (24e9, 4e9, 2.5e9, 1.93e9)
    fits = [fit_memory(SMALL, memory) for memory in sizes]
    assert [fit.tuning for fit in fits] == ["full", "full", "lora", "qlora"]
    assert [fit.gradient_checkpointing for fit in fits[:2]] == [False, True]


@pytest.mark.parametrize(
    ("memory", "tuning"), [("160GB", "full"), ("40GB", "lora"), ("16GB", "qlora")]
)
def test_a_large_model_gets_the_tuning_that_fits(memory, tuning):
    recipe = recipe_of(init_recipe("m", "a.jsonl", LARGE, memory=memory))
    assert recipe.phases[0].train.tuning == tuning
    arms = ["none", "low_rate", "replay"] + ["freeze"] * (tuning == "full")
    assert list(recipe.arms) == arms
    assert all(cell.phases[0].train.tuning == tuning for cell in expand(recipe))


def test_what_does_not_fit_is_refused_with_the_figures():
    with pytest.raises(RecipeError) as caught:
        init_recipe("m", "a.jsonl", LARGE, memory="5GB")
    message = str(caught.value)
    assert "7.00 billion weights does not fit 5.0 GB" in message
    assert "GB too much" in message
    assert "(qlora)" in message


@given(memory=st.floats(1.5e9, 1e11))
def test_what_fits_is_within_the_memory(memory):
    try:
        fit = fit_memory(SMALL, memory)
    except RecipeError:
        assert memory < 2e9
        return
    assert fit.peak_bytes <= memory
    assert fit.peak_bytes == peak_bytes(
        SMALL, fit.max_length, tuning=fit.tuning, checkpointing=fit.gradient_checkpointing
    )


@pytest.mark.parametrize(
    "data",
    ["joint.jsonl", "../up.jsonl", "org/set", "डेटा.jsonl", "a: b#c.csv", "x#100", "no", "1e5"],
)
def test_any_data_gives_a_recipe_that_reads(data):
    recipe = recipe_of(init_recipe("model: 'x'", data, SMALL, test="my: test.jsonl"))
    assert recipe.phases[0].data[0].source == data
    assert recipe.model == "model: 'x'"


@pytest.mark.parametrize(
    ("text", "size"), [("24GB", 24e9), ("24 gb", 24e9), ("16GiB", 2**34), ("1.5TB", 1.5e12)]
)
def test_sizes(text, size):
    assert memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "24 bananas", "-3GB", "0GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(RecipeError, match="give a size such as 24GB"):
        memory_bytes(text)


def test_what_is_held_out_is_told():
    text = init_recipe("m", "a.jsonl", replace(SMALL, held_out=0.2, num_reported=7))
    assert recipe_of(text).phases[0].held_out.fraction == 0.2
    assert "7 source items are reported" in text
    assert "no interval can be given" in text
    assert "source items" not in init_recipe("m", "a.jsonl", replace(SMALL, num_reported=200))
