"""What a fingerprint knows of a task: its content and not its place; and what may run."""

import json
import shutil

import pytest
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from retain.data import hub
from retain.errors import DataError, TaskError
from retain.evaluate import catalog, identity
from retain.evaluate.api import make_task
from retain.evaluate.documents import document_texts
from retain.evaluate.lm_eval_load import _overrides
from retain.evaluate.lm_eval_task import LmEvalTask
from retain.model.reference import trust

PLAIN = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_target: a
doc_to_choice: [x, y]
metric_list: [{metric: acc}]
"""


@pytest.fixture(autouse=True)
def _nothing_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    identity._revision.cache_clear()


def write_plain(folder, data="t.jsonl", **replaced):
    """A task without Python, and its data beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"q": f"question {n}", "a": n % 2} for n in range(12)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = PLAIN.replace("DATA", data)
    for old, new in replaced.items():
        text = text.replace(old, new)
    (folder / "mine.yaml").write_text(text)
    return folder


def resolved(folder):
    (spec,) = catalog.resolve(["mine"], include_path=[folder])
    return spec


def own(path):
    (spec,) = catalog.resolve([{"name": "t", "data": str(path), "metric": "exact_match"}])
    return spec


def write_own(path, word="a"):
    path.parent.mkdir(exist_ok=True)
    rows = [{"prompt": f"{word} {n}", "completion": "b"} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# ---------------------------------------------------------------- places


def test_the_place_of_a_task_file_is_not_its_identity(tmp_path, monkeypatch):
    monkeypatch.chdir(write_plain(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one, other = resolved(tmp_path / "a"), resolved(tmp_path / "b")
    assert one["at_file"] != other["at_file"]
    assert catalog.identity_of(one) == catalog.identity_of(other)
    assert str(tmp_path) not in json.dumps(catalog.identity_of(one))


def test_the_place_of_ones_own_test_is_not_its_identity(tmp_path):
    one, other = (own(write_own(tmp_path / name)) for name in ("o1.jsonl", "o2.jsonl"))
    assert one["at_data"] != other["at_data"]
    assert catalog.identity_of(one) == catalog.identity_of(other)


def test_files_of_a_folder_are_told_apart_by_their_names(tmp_path):
    write_own(tmp_path / "d" / "train.jsonl")
    write_own(tmp_path / "d" / "test.jsonl", "other")
    before = own(tmp_path / "d")
    (tmp_path / "d" / "train.jsonl").rename(tmp_path / "d" / "kept")
    (tmp_path / "d" / "test.jsonl").rename(tmp_path / "d" / "train.jsonl")
    (tmp_path / "d" / "kept").rename(tmp_path / "d" / "test.jsonl")
    assert own(tmp_path / "d")["data_sha256"] != before["data_sha256"]


def test_a_folder_called_lm_eval_is_not_lm_eval(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_plain(tmp_path / "lm_eval", "lm_eval/t.jsonl")
    assert resolved("lm_eval")["file"]["root"] == "own"


# ---------------------------------------------------------------- data


@pytest.mark.parametrize(
    "data",
    ["t.jsonl", "'*.jsonl'", "[t.jsonl]"],
)
def test_the_data_of_a_task_is_its_identity(tmp_path, monkeypatch, data):
    monkeypatch.chdir(write_plain(tmp_path, data))
    before = resolved(tmp_path)
    assert len(LmEvalTask(before).documents) == 12
    with (tmp_path / "t.jsonl").open("a") as stream:
        stream.write('{"q": "CHANGED", "a": 1}\n')
    assert resolved(tmp_path)["data_sha256"] != before["data_sha256"]
    with pytest.raises(DataError, match="changed since the run was planned"):
        LmEvalTask(before)


def test_a_data_dir_is_its_identity(tmp_path):
    data = write_plain(tmp_path / "data")
    files = f"{{data_dir: {data}}}"
    folder = write_plain(tmp_path / "task", **{"{data_files: {test: DATA}}": files})
    (folder / "mine.yaml").write_text(
        PLAIN.replace("{data_files: {test: DATA}}", f"{{data_dir: {data}}}")
    )
    before = resolved(folder)
    (data / "t.jsonl").write_text('{"q": "CHANGED", "a": 1}\n')
    assert resolved(folder)["data_sha256"] != before["data_sha256"]


def test_data_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(write_plain(tmp_path, "gone.jsonl"))
    with pytest.raises(TaskError, match=r"'mine': dataset_kwargs.data_files: .*gone.jsonl"):
        resolved(tmp_path)


def test_an_edited_task_file_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(write_plain(tmp_path))
    before = resolved(tmp_path)
    (tmp_path / "mine.yaml").write_text((tmp_path / "mine.yaml").read_text() + "num_fewshot: 0\n")
    with pytest.raises(DataError, match=r"mine.yaml: changed since the run was planned"):
        LmEvalTask(before)


def test_ones_own_test_that_changed_is_not_scored(tmp_path, engine):
    spec = own(write_own(tmp_path / "o.jsonl"))
    write_own(tmp_path / "o.jsonl", "OTHER")
    for read in (lambda: make_task(spec, engine), lambda: document_texts(spec)):
        with pytest.raises(DataError, match=r"o.jsonl: changed since the run was planned"):
            read()


def test_a_module_that_a_function_imports_is_part_of_the_task(tmp_path, monkeypatch):
    monkeypatch.chdir(write_plain(tmp_path, **{'"{{q}}"': "!function code.f"}))
    (tmp_path / "code.py").write_text("import helper\ndef f(doc): return doc['q']\n")
    (tmp_path / "helper.py").write_text("X = 1\n")
    before = resolved(tmp_path)
    (tmp_path / "helper.py").write_text("X = 2\n")
    assert resolved(tmp_path)["sha256"] != before["sha256"]


# ---------------------------------------------------------------- the hub


def test_the_builders_are_those_of_datasets():
    assert set(_PACKAGED_DATASETS_MODULES) == identity.BUILDERS


def on_hub(folder):
    write_plain(folder)
    text = PLAIN.replace("dataset_path: json", "dataset_path: a/b")
    text = text.replace("{data_files: {test: DATA}}", "{data_dir: x}")
    (folder / "mine.yaml").write_text(text)
    return folder


def test_the_commit_of_the_hubs_data_is_its_identity_and_is_what_is_read(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "revision", lambda name: asked.append(name) or "c" * 40)
    spec = resolved(on_hub(tmp_path))
    assert resolved(tmp_path)["data_revisions"] == {"a/b": "c" * 40}
    assert asked == ["a/b"]
    config = {"dataset_path": "a/b", "dataset_kwargs": {"data_dir": "x"}}
    wanted = {"dataset_kwargs": {"data_dir": "x", "revision": "c" * 40}}
    assert _overrides(spec, config) == wanted


def test_a_commit_is_remembered_for_when_the_hub_is_away(tmp_path, monkeypatch):
    def away(name):
        raise DataError(f"{name}: the hub cannot be reached")

    monkeypatch.setattr(hub, "revision", away)
    assert resolved(on_hub(tmp_path))["data_revisions"] == {"a/b": None}
    identity._revision.cache_clear()
    monkeypatch.setattr(hub, "revision", lambda _: "c" * 40)
    resolved(tmp_path)
    identity._revision.cache_clear()
    monkeypatch.setattr(hub, "revision", away)
    assert resolved(tmp_path)["data_revisions"] == {"a/b": "c" * 40}


def test_an_unknown_revision_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(write_plain(tmp_path))
    spec = resolved(tmp_path) | {"data_revisions": {"a/b": None}}
    assert "a/b: data revision unknown; the hub could not be asked" in LmEvalTask(spec).notes


def test_files_of_the_hub_name_their_data_set():
    files = ["hf://datasets/a/b/x.jsonl", "https://example.org/x.jsonl"]
    config = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    assert list(identity._hub_names(config)) == ["a/b", "https://example.org/x.jsonl"]


# ---------------------------------------------------------------- Python of a task file


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"{{q}}"', "!function evil.f", "mine.yaml: !function evil.f"),
        ("task: mine", "task: mine\nclass: !function evil.Task", "!function evil.Task"),
        ("{metric: acc}", "{metric: ./evil, hf_evaluate: true}", "has hf_evaluate"),
    ],
)
def test_python_of_a_task_file_runs_only_if_trusted(tmp_path, monkeypatch, old, new, message):
    monkeypatch.chdir(write_plain(tmp_path, **{old: new}))
    (tmp_path / "evil.py").write_text("open('PWNED', 'w')\ndef f(doc): return doc['q']\nTask = f\n")
    trusted = resolved(tmp_path)
    monkeypatch.setattr(trust, "remote_code", False)
    for refused in (lambda: resolved(tmp_path), lambda: LmEvalTask(trusted)):
        with pytest.raises(TaskError, match=rf"{message}.*--trust-remote-code"):
            refused()
    assert not (tmp_path / "PWNED").exists()


def test_a_metric_that_would_be_fetched_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(write_plain(tmp_path, **{"{metric: acc}": "{metric: evil}"}))
    monkeypatch.setattr(trust, "remote_code", False)
    with pytest.raises(TaskError, match=r"metric evil is not lm-eval's.*--trust-remote-code"):
        LmEvalTask(resolved(tmp_path))


def test_shipped_tasks_and_plain_files_need_no_trust(tmp_path, monkeypatch):
    monkeypatch.setattr(trust, "remote_code", False)
    monkeypatch.chdir(write_plain(tmp_path))
    assert len(LmEvalTask(resolved(tmp_path)).documents) == 12
    catalog.resolve(["general"])
    catalog.resolve(["lambada_openai_cloze_yaml"])
