"""A quiet harness, one model to ask, and a folder of task files; nothing from the network."""

import logging
from pathlib import Path

import pytest

from retain.model.reference import trust
from tests.evaluate.evaluation_models import llama
from tests.evaluate.evaluation_task_files import write_task_files


@pytest.fixture(autouse=True)
def _quiet_harness():
    """The harness talks; its warnings are not ours."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    """The task files of these tests call Python beside them, as if --trust-remote-code was said."""
    monkeypatch.setattr(trust, "remote_code", True)


@pytest.fixture(scope="session")
def sharp_llama():
    """One model for tests that only ask it; do not change it."""
    return llama()


@pytest.fixture
def engine(sharp_llama, tokenizer):
    from retain.evaluate.engine import Engine

    return Engine(sharp_llama, tokenizer)


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory) -> Path:
    """A folder of lm-eval task files whose data lies beside them."""
    return write_task_files(tmp_path_factory.mktemp("tasks"))
