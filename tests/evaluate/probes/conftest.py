"""A base model, a checkpoint that moved in one block alone, and its adapter."""

import pytest
import torch

from retain.model import cache
from tests.conftest import make_model

LAYERS, MOVED = 4, 2


@pytest.fixture(autouse=True)
def _no_model_kept():
    yield
    cache.clear()


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("base")
    make_model(num_hidden_layers=LAYERS).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def moved(tmp_path_factory, tokenizer):
    """The base model with one block's weights half as large again."""
    folder = tmp_path_factory.mktemp("moved")
    model = make_model(num_hidden_layers=LAYERS)
    with torch.no_grad():
        for parameter in model.model.layers[MOVED].parameters():
            parameter.mul_(1.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
