"""What several processes cannot do is refused before anything runs."""

import pytest

from retain.errors import RecipeError, TrainingError
from retain.pipeline import together
from tests.pipeline.test_graph import graph, values  # noqa: F401 - a fixture

SHARD = ("phases.text.train.processes=2", "phases.text.train.shard=true")


def test_a_method_that_needs_whole_weights_is_named(values):  # noqa: F811
    with pytest.raises(
        RecipeError,
        match=r"arm 'freeze', phase 'text': freeze acts on whole .* \(trainable\)",
    ):
        graph(values, *SHARD)
    values["arms"].pop("freeze")
    assert (2, True) in graph(values, *SHARD).processes.values()


def test_an_encoder_is_named(values, monkeypatch):  # noqa: F811
    values["arms"] = {"none": []}
    monkeypatch.setattr(together, "has_encoder", lambda folder: True)
    with pytest.raises(RecipeError, match=r"arm 'none', phase 'text': .* has an encoder"):
        graph(values, *SHARD)


def test_a_machine_of_too_few_gpus_is_named(values, monkeypatch):  # noqa: F811
    def none_fits(processes):
        raise TrainingError("needs as many GPUs")

    monkeypatch.setattr("retain.train.ranks.device_for", none_fits)
    with pytest.raises(RecipeError, match="phase 'text': needs as many GPUs"):
        graph(values, *SHARD[:1])
