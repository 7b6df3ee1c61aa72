from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.methods.freeze import Freeze
from retain.methods.given import Block, History, Layers
from tests.conftest import make_model


def make_layers(num_layers=4, *, tied=False) -> Layers:
    blocks = tuple(
        Block(
            index=i,
            attention=(f"layers.{i}.attn.weight",),
            mlp=(f"layers.{i}.mlp.weight",),
            norm=(f"layers.{i}.norm.weight",),
        )
        for i in range(num_layers)
    )
    made = Layers(
        blocks=blocks,
        embeddings=("embed.weight",),
        final_norm=("norm.weight",),
        head=() if tied else ("head.weight",),
        tied=tied,
    )
    sizes = {name: 100 if "embed" in name or "head" in name else 10 for name in made.names}
    return Layers(**{**vars(made), "sizes": sizes})


def choose(method: Freeze, layers: Layers):
    return method.trainable(layers, History(base={}), {}, Random(0))


def test_the_first_layers_are_frozen_with_the_embeddings():
    chosen = choose(Freeze(num_layers=3), make_layers())
    assert chosen.names == (
        "layers.3.attn.weight",
        "layers.3.mlp.weight",
        "layers.3.norm.weight",
        "norm.weight",
        "head.weight",
    )
    assert chosen.numbers["num_trainable"] == 140
    assert chosen.numbers["num_parameters"] == 330
    assert chosen.numbers["frozen_layers"] == [0, 1, 2]
    assert chosen.numbers["embeddings_frozen"] is True
    assert chosen.numbers["head_frozen"] is False


def test_a_tied_head_is_frozen_with_the_embeddings_and_that_is_said():
    numbers = choose(Freeze(num_layers=1), make_layers(tied=True)).numbers
    assert numbers["tied_head_frozen_with_embeddings"] is True
    assert numbers["head_frozen"] is True


def test_the_embeddings_may_move_with_the_first_layers_frozen():
    chosen = choose(Freeze(num_layers=3, embeddings=False), make_layers())
    assert chosen.names[0] == "embed.weight"


def test_the_last_layers_leave_the_embeddings_moving():
    chosen = choose(Freeze(select="last", num_layers=1, head=True), make_layers())
    assert chosen.numbers["frozen_layers"] == [3]
    assert "embed.weight" in chosen.names
    assert "head.weight" not in chosen.names


@given(total=st.integers(1, 40), fraction=st.floats(0.02, 1.0), first=st.booleans())
def test_a_fraction_freezes_that_part_of_the_layers(total, fraction, first):
    if round(fraction * total) == 0:
        with pytest.raises(RecipeError, match="is no whole layer"):
            choose(Freeze(fraction=fraction), make_layers(total))
        return
    method = Freeze(select="first" if first else "last", fraction=fraction)
    frozen = choose(method, make_layers(total)).numbers["frozen_layers"]
    assert len(frozen) == round(fraction * total)
    assert frozen[0 if first else -1] == (0 if first else total - 1)


@given(num_layers=st.integers(1, 4), embeddings=st.booleans(), head=st.booleans())
def test_frozen_and_moving_are_all_there_is(num_layers, embeddings, head):
    layers = make_layers()
    chosen = choose(Freeze(num_layers=num_layers, embeddings=embeddings, head=head), layers)
    assert set(chosen.names) < set(layers.names)
    assert chosen.numbers["num_trainable"] == sum(layers.sizes[name] for name in chosen.names)


def test_parameters_may_be_frozen_by_name_and_by_pattern():
    method = Freeze(names=("norm.weight", r"layers\.\d+\.attn\..*"))
    chosen = choose(method, make_layers())
    assert not any("attn" in name for name in chosen.names)
    assert "embed.weight" in chosen.names
    assert "norm.weight" not in chosen.names
    assert "layers.0.norm.weight" in chosen.names


def test_a_pattern_without_a_match_stops_and_shows_names():
    with pytest.raises(RecipeError, match=r"'atn' matches none of the 15.*embed\.weight"):
        choose(Freeze(names=("atn",)), make_layers())


def test_more_layers_than_there_are_stop():
    with pytest.raises(RecipeError, match="num_layers is 20, but the model has 4 layers"):
        choose(Freeze(num_layers=20), make_layers())


def test_everything_frozen_stops():
    with pytest.raises(RecipeError, match="all 15 parameters would be frozen"):
        choose(Freeze(names=(".*",)), make_layers())


def test_a_tied_head_cannot_be_frozen_without_its_embeddings():
    with pytest.raises(RecipeError, match="set both alike"):
        choose(
            Freeze(select="last", num_layers=1, head=True, embeddings=False), make_layers(tied=True)
        )
    chosen = choose(Freeze(select="last", num_layers=1, head=True), make_layers(tied=True))
    assert "embed.weight" not in chosen.names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to freeze; give num_layers, fraction, modules or names"),
        ({"train_only": True, "head": True}, "nothing to train; give num_layers"),
        ({"select": "random"}, "select: random needs a number of layers"),
        ({"select": "signal_to_noise"}, "needs a fraction of the matrices"),
        ({"select": "signal_to_noise", "num_layers": 3}, "ranks matrices, not layers"),
        (
            {"select": "signal_to_noise", "fraction": 0.5, "train_only": True},
            "leave train_only out",
        ),
        ({"num_layers": 1, "changed_in": "a"}, "is for select: most_changed; here select is first"),
        ({"num_layers": 1, "fraction": 0.5}, "num_layers is given too"),
        ({"num_layers": 0}, "must be at least 1; got 0"),
        ({"fraction": 1.5}, "must be above 0 and at most 1; got 1.5"),
        ({"names": ("(",)}, "is not a regular expression"),
    ],
)
def test_values_that_cannot_be_are_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        Freeze(**options)


@given(seed=st.integers(), count=st.integers(1, 12), total=st.integers(12, 20))
def test_random_layers_are_the_same_for_the_same_seed(seed, count, total):
    method, layers = Freeze(select="random", num_layers=count), make_layers(total)
    one, other = (
        method.trainable(layers, History(base={}), {}, Random(seed)).numbers for _ in range(2)
    )
    assert one == other
    assert len(set(one["chosen_layers"])) == count
    assert one["frozen_layers"] == one["chosen_layers"] == sorted(one["chosen_layers"])
    assert one["embeddings_frozen"] is False


def test_another_seed_draws_other_layers():
    method, layers = Freeze(select="random", num_layers=10), make_layers(20)
    drawn = {
        tuple(method.trainable(layers, History(base={}), {}, Random(n)).numbers["chosen_layers"])
        for n in range(20)
    }
    assert len(drawn) > 15


MODULES = st.lists(st.sampled_from(["attention", "mlp", "norm"]), unique=True, min_size=1)


@given(modules=MODULES, count=st.integers(0, 4), last=st.booleans(), tied=st.booleans())
def test_freezing_some_parts_and_training_only_them_are_each_other_s_rest(
    modules, count, last, tied
):
    layers = make_layers(tied=tied)
    asked = {"modules": tuple(modules), "num_layers": count or None}
    asked |= {"select": "last"} if last and count else {}
    frozen = choose(Freeze(**asked, embeddings=False), layers)
    trained = choose(Freeze(**asked, train_only=True), layers)
    assert set(frozen.names) | set(trained.names) == set(layers.names)
    assert not set(frozen.names) & set(trained.names)
    words = {"attention": ".attn.", "mlp": ".mlp.", "norm": ".norm."}
    assert len(trained.names) == len(modules) * (count or 4)
    assert all(any(words[kind] in name for kind in modules) for name in trained.names)


def test_embeddings_and_head_may_move_beside_what_is_trained_only():
    asked = {"modules": ("mlp",), "train_only": True}
    names = choose(Freeze(**asked, embeddings=False, head=False), make_layers()).names
    assert {"embed.weight", "head.weight"} < set(names)
    assert "norm.weight" not in names
    tied = choose(Freeze(**asked, head=False), make_layers(tied=True)).names
    assert "embed.weight" in tied
    with pytest.raises(RecipeError, match="head is false and embeddings is true"):
        choose(Freeze(**asked, head=False, embeddings=True), make_layers(tied=True))
    by_name = choose(
        Freeze(names=(r"layers\.2\..*", "embed.weight"), train_only=True), make_layers()
    )
    assert set(by_name.names) == {
        "embed.weight",
        "layers.2.attn.weight",
        "layers.2.mlp.weight",
        "layers.2.norm.weight",
    }


def test_the_layers_of_a_real_model():
    from retain.train.layers import layers

    found = layers(make_model(tie_word_embeddings=True))
    chosen = choose(Freeze(num_layers=1), found)
    assert chosen.numbers["tied_head_frozen_with_embeddings"] is True
    assert all(name.startswith(("model.layers.1.", "model.norm")) for name in chosen.names)
