"""Names to tasks: what is known without lm-eval, what identifies a task, what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retain.errors import TaskError
from retain.evaluate import catalog, task_files
from retain.recipe import model
from tests.evaluate.evaluation_task_files import write_task_files

HEAVY = ("torch", "transformers", "datasets", "lm_eval", "pyarrow", "sacrebleu")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and a small folder in place of lm-eval's task files."""
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "lm_eval_tasks"
    folder.mkdir()
    write_task_files(folder)
    monkeypatch.setattr(task_files, "lm_eval_tasks", lambda: folder)
    return tmp_path / "cache"


def names(specs):
    return [spec["name"] for spec in specs]


def test_embedded_tasks_are_resolved_without_anything_heavy():
    code = (
        "import sys; from retain.evaluate import catalog; catalog.resolve(['general']);"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_general_group():
    specs = catalog.resolve(["general", "embedded_piqa"])
    assert names(specs) == list(catalog.GENERAL)
    mains = [catalog.main_metric(spec)["name"] for spec in specs]
    assert mains == ["acc", "acc", "bits_per_byte", "followed"]
    assert model.GENERAL == catalog.GENERAL  # what a recipe that names no groups gets
    assert [catalog.main_metric(spec)["higher_is_better"] for spec in specs] == [
        *(True, True, False, True),
    ]


def test_every_shipped_task_resolves_to_json_with_its_data():
    specs = catalog.resolve(catalog.embedded_tasks())
    assert json.loads(json.dumps(specs)) == specs
    for spec in specs:
        if spec["name"] not in catalog.MINIMAL_PAIRS:  # those stand in the module that is hashed
            assert len(spec["data_sha256"]) == 64
        assert catalog.main_metric(spec)["unit"] in ("fraction", "bits_per_byte", "points")
    for spec in (spec for spec in specs if spec["kind"] == "lm_eval"):
        assert len(spec["sha256"]) == 64
        changed = spec["name"] in ("minimal_pairs_hindi_case", "minimal_pairs_nepali_case")
        assert spec["task_version"] == ("2" if changed else "1")


def test_the_docs_name_what_is_shipped():
    page = (Path(__file__).parents[2] / "docs/evaluate.md").read_text("utf-8")
    single = [name for name in catalog.embedded_tasks() if not name.startswith("minimal_pairs_")]
    assert [name for name in (*single, *catalog.GROUPS) if f"`{name}`" not in page] == []


def test_phases_and_groups_of_the_recipe():
    groups = {"general": ["embedded_siqa"], "both": ["general", "phase:hindi"]}
    specs = catalog.resolve(["phases", "both"], groups=groups, phases=["medicine", "hindi"])
    assert names(specs) == ["phase:medicine", "phase:hindi", "embedded_siqa"]
    inside = catalog.members(groups, phases=["medicine", "hindi"])
    assert inside == {
        "general": ["embedded_siqa"],
        "both": ["embedded_siqa", "phase:hindi"],
        "minimal_pairs": list(catalog.MINIMAL_PAIRS),
        "languages": [language["name"] for language in catalog.LANGUAGES],
    }


def test_every_unknown_name_is_listed_with_the_nearest(cache):
    with pytest.raises(TaskError) as error:
        catalog.resolve(["embedded_bolq", "tiny_choises", "phase:hindu"], phases=["hindi"])
    text = str(error.value)
    assert "unknown task 'embedded_bolq'. Did you mean 'embedded_boolq'" in text
    assert "unknown task 'tiny_choises'. Did you mean 'tiny_choices'" in text
    assert "unknown phase 'hindu'. Did you mean 'hindi'" in text


# ---------------------------------------------------------------- lm-eval's files


def test_the_index_is_built_once_and_remembered(cache, monkeypatch):
    assert names(catalog.resolve(["tiny_choices"])) == ["tiny_choices"]
    (memo,) = (cache / "lm_eval").iterdir()
    assert set(json.loads(memo.read_text())) >= {"tiny_choices", "tiny_group", "tiny_tag"}
    monkeypatch.setattr(task_files, "_scan", lambda *_: pytest.fail("scanned again"))
    (spec,) = catalog.resolve(["tiny_letters"])
    assert spec["file"] == {"root": "lm_eval", "path": "tiny_letters.yaml", "overrides": {}}


def test_a_torn_index_is_built_again(cache):
    catalog.resolve(["tiny_choices"])
    (memo,) = (cache / "lm_eval").iterdir()
    memo.write_text(memo.read_text()[:20])
    assert names(catalog.resolve(["tiny_choices"])) == ["tiny_choices"]


def test_groups_and_tags_are_their_tasks(cache):
    assert names(catalog.resolve(["tiny_group"])) == ["tiny_letters", "tiny_choices"]
    assert names(catalog.resolve(["tiny_tag"])) == ["tiny_letters", "tiny_rolling"]


def test_a_group_may_change_its_members(cache, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "five.yaml").write_text(
        "group: five\ntask:\n- task: tiny_choices\n  num_fewshot: 5\n- tiny_letters\n"
    )
    changed, plain = catalog.resolve(["five"], include_path=[folder])
    (original,) = catalog.resolve(["tiny_choices"])
    assert changed["file"]["overrides"] == {"num_fewshot": 5}
    assert changed["sha256"] != original["sha256"]
    assert plain["file"]["overrides"] == {}


def test_a_task_written_inside_a_group_is_refused(cache, tmp_path):
    (tmp_path / "g.yaml").write_text("group: inline\ntask:\n- task: nowhere\n  doc_to_text: x\n")
    with pytest.raises(TaskError, match="'nowhere' is written inside the group"):
        catalog.resolve(["inline"], include_path=[tmp_path])


def test_own_folders_come_first(cache, task_folder):
    (spec,) = catalog.resolve(["tiny_choices"], include_path=[task_folder])
    assert spec["at_file"] == str(task_folder / "tiny_choices.yaml")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TaskError, match="nowhere: no such folder"):
        catalog.resolve(["x"], include_path=[tmp_path / "nowhere"])


@pytest.mark.parametrize("changed", ["tiny_letters.yaml", "tiny_choices.yaml", "tiny_data.py"])
def test_the_hash_covers_the_file_what_it_includes_and_its_functions(
    task_folder, tmp_path, changed
):
    folder = tmp_path / "copy"
    shutil.copytree(task_folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (before,) = catalog.resolve(["tiny_letters"], include_path=[folder])
    (folder / changed).write_text((folder / changed).read_text() + "\n# changed\n")
    (after,) = catalog.resolve(["tiny_letters"], include_path=[folder])
    assert before["sha256"] != after["sha256"]


def test_the_index_agrees_with_the_harness(task_folder):
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(task_folder), include_defaults=False)
    ours = task_files._scan(task_folder, "here")
    assert sorted(ours) == manager.all_tasks


# ---------------------------------------------------------------- tests of one's own


def test_a_test_of_ones_own(tmp_path):
    data = tmp_path / "test.jsonl"
    data.write_text('{"prompt": "2 + 2 =", "completion": " 4"}\n')
    own = {"name": "sums", "data": str(data), "metric": "exact_match"}
    (spec,) = catalog.resolve([own])
    assert spec["kind"] == "own"
    assert catalog.main_metric(spec)["name"] == "exact_match"
    data.write_text('{"prompt": "2 + 3 =", "completion": " 5"}\n')
    (other,) = catalog.resolve([own])
    assert other["data_sha256"] != spec["data_sha256"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"name": "a", "data": "x.jsonl", "metric": "rogue_l"}, "Did you mean 'rouge_l'"),
        ({"name": "a", "metric": "chrf"}, "has name, data and metric"),
    ],
)
def test_a_wrong_test_of_ones_own_is_refused(own, message):
    with pytest.raises(TaskError, match=message):
        catalog.resolve([own])
