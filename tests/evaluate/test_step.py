"""The step: files, facts, interruption, and the same bits after a kill."""

import hashlib
import json
from functools import partial

import pyarrow.parquet as pq
import pytest
import torch

from retain.data.example import Example
from retain.errors import Interrupted, TaskError
from retain.evaluate import catalog
from retain.evaluate.api import open_engine
from retain.evaluate.step import run
from retain.model import cache
from retain.model.threads import first_threads
from retain.steps.step import Step
from retain.steps.store import Store
from tests.evaluate.evaluation_task_files import question_documents


@pytest.fixture(autouse=True)
def _no_model_kept():
    yield
    cache.clear()


@pytest.fixture
def data_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "heldout.jsonl").open("w") as stream:
        for number, row in enumerate(question_documents(30)):
            example = Example(
                source="test",
                messages=(
                    {"role": "user", "content": row["question"]},
                    {"role": "assistant", "content": row["choices"][row["answer"]]},
                ),
                choices=tuple(row["choices"]),
                answer=row["answer"],
            )
            role = "pool" if number < 3 else "select" if number < 10 else "report"
            stream.write(json.dumps(example.to_json() | {"role": role}) + "\n")
    return folder


def step(spec, **settings):
    return Step(
        "evaluate",
        "skill-base",
        1,
        {
            "task": spec,
            "num_fewshot": [0, 1],
            "limit": None,
            "compat": None,
            "precision": "fp32",
        }
        | settings,
    )


def digests(folder):
    names = ("items.parquet", "scores.json", "samples.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_a_phase_task(tmp_path, tiny_model_folder, data_folder):
    store = Store(tmp_path / "store")
    (spec,) = catalog.resolve(["phase:skill"], phases=["skill"])
    one = step(spec)
    seen = []
    with store.begin(one, progress=lambda *state: seen.append(state)) as work:
        run(work, model_folder=tiny_model_folder, data_folder=data_folder)
    folder = store.path(one)
    rows = json.loads((folder / "scores.json").read_text())
    assert {(row["metric"], row["num_fewshot"], row["role"]) for row in rows} == {
        ("acc", k, role) for k in (0, 1) for role in ("select", "report", "all")
    }
    assert pq.read_table(folder / "items.parquet").num_rows == 2 * 27
    assert len(json.loads((folder / "samples.json").read_text())) == 3
    facts = store.record(one)["facts"]
    assert facts["path"] == "tree"
    assert facts["precision"] == "fp32"
    assert facts["threads"] >= 1
    assert {state[3] for state in seen} == {"tokens", "answers"}


def test_an_lm_eval_task(tmp_path, tiny_model_folder, task_folder):
    store = Store(tmp_path / "store")
    (spec,) = catalog.resolve(["tiny_rolling"], include_path=[task_folder])
    one = step(spec, limit=6)
    with store.begin(one) as work:
        run(work, model_folder=tiny_model_folder)
    folder = store.path(one)
    rows = json.loads((folder / "scores.json").read_text())
    assert {row["num_items"] for row in rows if row["role"] == "all"} == {6}
    assert not (folder / "samples.json").exists()


def test_the_step_takes_places_beside_its_settings(tmp_path, tiny_model_folder, task_folder):
    store = Store(tmp_path / "store")
    (spec,) = catalog.resolve(["tiny_rolling"], include_path=[task_folder])
    one = step(catalog.identity_of(spec), limit=3)
    with store.begin(one) as work:
        with pytest.raises(TaskError, match="not what the step was made for"):
            run(work, model_folder=tiny_model_folder, spec=spec | {"sha256": "0"})
        run(work, model_folder=tiny_model_folder, spec=spec)
    assert (store.path(one) / "scores.json").exists()


@pytest.mark.parametrize("torn", ["", "[", '"2"', "0", "true"])
def test_a_torn_memo_of_threads_is_written_anew(tmp_path, torn):
    (tmp_path / "threads.json").write_text(torn)
    with first_threads(tmp_path):
        now = torch.get_num_threads()
    assert json.loads((tmp_path / "threads.json").read_text()) == now


def test_stopped_anywhere_the_same_command_ends_with_the_same_bits(
    tmp_path, tiny_model_folder, data_folder, monkeypatch
):
    small = partial(open_engine, budget_tokens=200)  # several rows
    monkeypatch.setattr("retain.evaluate.step.open_engine", small)
    (spec,) = catalog.resolve(["phase:skill"], phases=["skill"])
    one = step(spec)

    def carry_out(store, stop):
        with store.begin(one, stop=stop) as work:
            run(work, model_folder=tiny_model_folder, data_folder=data_folder)

    whole = Store(tmp_path / "whole")
    carry_out(whole, lambda: False)
    store = Store(tmp_path / "stopped")
    for after in (0, 2, 1):
        asked = iter([False] * after + [True] * 1000)
        with pytest.raises(Interrupted):
            carry_out(store, lambda: next(asked))  # noqa: B023
    carry_out(store, lambda: False)
    assert digests(store.path(one)) == digests(whole.path(one))
