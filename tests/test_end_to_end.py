"""What a user does, from one's own data and a local model folder to the report, offline."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from retain import api
from retain.errors import RetainError
from retain.execute import own_run

WORDS = ["cat", "dog", "sea", "mat", "bones", "heart", "muscle", "nerve", "blood", "drug", "dose"]
RECIPE = """
name: own
model: {model}
phases:
  - name: skill
    data: skill.jsonl
    train: {{learning_rate: 1.0e-3, max_steps: 5, batch_size: 8, precision: fp32, save_steps: 2}}
  - name: text
    data: text.jsonl
    train:
      {{objective: pretrain, learning_rate: 1.0e-3, max_steps: 5, batch_tokens: 256,
       max_length: 64, precision: fp32, save_steps: 2}}
evaluate:
  tasks: [phases, {{name: mine, data: test.jsonl, metric: exact_match}}]
arms:
  none: []
  low_rate: {{train: {{learning_rate: 3.0e-4}}}}
  replay: [{{method: experience_replay, share: 0.2}}]
  freeze: [{{method: freeze, select: first, num_layers: 1}}]
"""


def make_project(folder: Path, model: Path) -> None:
    """A skill with choices, running text, a test, and a recipe."""
    draw = random.Random(0)
    skill = [
        {
            "question": f"which one has {' '.join(draw.choices(WORDS, k=5))} number {i}?",
            "choices": ["Anatomy", "Surgery"],
            "answer": i % 2,
        }
        for i in range(120)
    ]
    text = [{"text": f"{' '.join(draw.choices(WORDS, k=50))} {i}"} for i in range(80)]
    test = [{"prompt": f"say {i} {draw.choice(WORDS)}", "completion": "yes"} for i in range(12)]
    for name, rows in {"skill": skill, "text": text, "test": test}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "own.yaml").write_text(RECIPE.format(model=model))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder of its own, with what the precision probe remembers."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(cache))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model_folder, cache):
    """A project whose recipe has been run once; copy it, do not change it."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder, tiny_model_folder)
    before, here = os.environ.get("RETAIN_CACHE"), Path.cwd()
    os.environ["RETAIN_CACHE"] = str(cache)
    os.chdir(folder)
    try:
        api.run("own.yaml")
    finally:
        os.chdir(here)
        os.environ.pop("RETAIN_CACHE")
        if before is not None:
            os.environ["RETAIN_CACHE"] = before
    return folder


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of the finished project, as the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def retain(*words, **options):
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "retain", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_what_phases_share_stands_beside_what_was_forgotten(project, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    api.show_phases_apart("runs", model=None, embedder=None, limit=50)
    text = capsys.readouterr().out
    (told,) = [line.split() for line in text.splitlines() if line.startswith("own ")]
    (lost,) = [
        row
        for row in rows("runs/own/measures.csv")
        if (row["arm"], row["measure"], row["task"]) == ("none", "forgetting", "phase:skill")
    ]
    assert told[:3] == ["own", "skill", "text"]
    assert all(-1 <= float(share) <= 1 for share in told[3:8])
    assert lost["ci_low"] == ""  # too few items; nor is there KL, without a probe
    assert told[8:] == [lost["value"], "acc,", lost["num_items"], "items"]
    assert "1 pair from 1 run" in " ".join(text.split())
    (project / "runs" / "own" / "measures.csv").unlink()
    with pytest.raises(RetainError, match=r"no two phases to look at: own .* no measures.csv"):
        api.show_phases_apart("runs", model=None, embedder=None, limit=50)


def test_a_run_leaves_all_its_files(finished):
    run = finished / "runs" / "own"
    for name in (
        "recipe.resolved.yaml",
        "scores.csv",
        "measures.csv",
        "report.html",
        "journal.jsonl",
    ):
        assert (run / name).stat().st_size > 0, name
    assert sorted(path.name for path in (run / "models").iterdir() if path.is_symlink()) == [
        f"{arm}-seed0-text" for arm in ("freeze", "low_rate", "none", "replay")
    ]
    assert list((run / "figures").glob("*.png"))


def test_scores_hold_every_row_of_every_arm(finished):
    scores = rows(finished / "runs" / "own" / "scores.csv")
    header = (
        "variant,arm,seed,phase_index,phase,task,metric,num_fewshot,value,stderr,num_items,"
        "higher_is_better,is_main"
    )
    assert ",".join(scores[0]) == header
    seen = {(row["arm"], row["phase_index"], row["task"]) for row in scores}
    arms, tasks = ("none", "low_rate", "replay", "freeze"), ("phase:skill", "phase:text", "mine")
    assert seen == {(arm, str(p), task) for arm in arms for p in range(3) for task in tasks}
    assert all(row["value"] for row in scores)


def test_a_model_folder_opens_without_us(finished):
    folder = finished / "runs" / "own" / "models" / "replay-seed0-text"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)("the cat", return_tensors="pt")
    assert model(**tokens).logits.isfinite().all()


def test_again_recomputes_nothing_and_writes_the_same_bytes(project):
    run = project / "runs" / "own"
    before = {p: p.read_bytes() for p in (run / "scores.csv", run / "measures.csv")}
    outcome = api.run("own.yaml")
    assert outcome.num_done == 0
    assert {p: p.read_bytes() for p in before} == before


def test_again_loads_no_library_of_models(project):
    command = [sys.executable, "-X", "importtime", "-m", "retain", "run", "own.yaml"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    assert "retain.report.collect" in loaded
    assert not loaded & {"torch", "transformers", "peft", "datasets", "lm_eval"}


def test_a_changed_value_recomputes_what_depends_on_it_and_explain_names_it(project):
    outcome = api.run("own.yaml", ["phases.text.train.learning_rate=2e-3"])
    events = map(json.loads, (outcome.folder / "journal.jsonl").read_text().splitlines())
    trained = [e["step"] for e in events if e["event"] == "step finished" and "train/" in e["step"]]
    # once for the first run, never for the second: low_rate has a rate of its own
    assert sum(step.startswith("train/skill-") for step in trained) == 1
    assert sum(step.startswith("train/text") for step in trained) == 4 + 3
    [line] = api.explain(trained[5]).splitlines()[2:]
    assert line.startswith("settings.learning_rate: ")
    assert line.endswith(" -> 0.002")


def test_clean_frees_what_no_run_refers_to(project):
    api.run("own.yaml", ["phases.text.train.learning_rate=2e-3"])
    before = sorted(path.name for path in (project / "runs" / ".steps" / "train").iterdir())
    said = api.clean(dry_run=True)
    assert "would free" in said
    assert "train/text" in said
    assert sorted(p.name for p in (project / "runs" / ".steps" / "train").iterdir()) == before
    api.clean()
    assert len(list((project / "runs" / ".steps" / "train").iterdir())) < len(before)
    assert api.run("own.yaml", ["phases.text.train.learning_rate=2e-3"]).num_done == 0


def test_export_copies_a_model_on_its_own(project):
    said = api.export("own", "freeze", "shipped")
    assert "from_pretrained" in said
    shutil.rmtree("runs")
    assert AutoModelForCausalLM.from_pretrained("shipped").config.model_type == "llama"
    with pytest.raises(RetainError, match=r"exists already|holds no run"):
        api.export("own", "freeze", "shipped")


def test_report_writes_the_same_page_again(project):
    page = project / "runs" / "own" / "report.html"
    page.unlink()
    assert api.report("runs/own") == Path("runs/own/report.html")
    assert page.stat().st_size < 3_000_000


def test_one_phase_measures_without_a_past_are_empty(project, tiny_model_folder):
    text = api.init(str(tiny_model_folder), "skill.jsonl", test="test.jsonl", memory="24GB")
    Path("mine.yaml").write_text(text)
    short = ["phases.skill.train.max_steps=2", "evaluate.tasks=[phases]", "evaluate.limit=10"]
    arms = [
        "arms.replay.experience_replay.past.data=text.jsonl",
        "phases.skill.train.max_length=128",
    ]
    outcome = api.run("mine.yaml", short + arms)
    found = rows(outcome.folder / "measures.csv")
    assert {row["measure"] for row in found} >= {"change_from_base", "learnt"}
    assert not [row for row in found if row["measure"] == "forgetting" and row["value"]]


def test_the_second_of_two_runs_says_who_holds_it(project):
    with own_run(project / "runs" / "own"), pytest.raises(RetainError, match=str(os.getpid())):
        api.run("own.yaml")


def test_training_on_what_is_evaluated_stops_the_run(project):
    with (project / "text.jsonl").open("a") as file:
        file.write((project / "test.jsonl").read_text().splitlines()[0].replace("prompt", "text"))
    leaked = json.loads((project / "skill.jsonl").read_text().splitlines()[0])["question"]
    with (project / "test.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": leaked, "completion": "yes"}) + "\n")
    with pytest.raises(RetainError, match="allow_overlap"):
        api.run("own.yaml")
    allowed = api.run("own.yaml", ["phases.skill.allow_overlap=true"])
    assert allowed.num_done > 0


def test_a_broken_line_is_named(project):
    lines = (project / "text.jsonl").read_text().splitlines()
    lines[16] = '{"text": "no end'
    (project / "text.jsonl").write_text("\n".join(lines))
    with pytest.raises(RetainError, match=r"text\.jsonl:17"):
        api.run("own.yaml")


@pytest.mark.slow
def test_kill_minus_9_at_random_moments_changes_no_byte(finished, project, cache):
    expected = (finished / "runs" / "own" / "scores.csv").read_bytes()
    shutil.rmtree(project / "runs")
    draw = random.Random(1)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(5):
        process = retain("run", "own.yaml", env=environment)
        time.sleep(draw.uniform(5, 20))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = retain("run", "own.yaml", env=environment)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, out + err
    assert (project / "runs" / "own" / "scores.csv").read_bytes() == expected


@pytest.mark.slow
def test_ctrl_c_leaves_with_130_and_the_same_command_finishes(finished, project):
    expected = (finished / "runs" / "own" / "scores.csv").read_bytes()
    shutil.rmtree(project / "runs")
    process = retain("run", "own.yaml")
    journal = project / "runs" / "own" / "journal.jsonl"
    while "step finished" not in (journal.read_text() if journal.is_file() else ""):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    last = retain("run", "own.yaml")
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, out + err
    assert (project / "runs" / "own" / "scores.csv").read_bytes() == expected


def test_a_run_without_models_yet_says_so(project):
    api.run("own.yaml", ["name=empty"])
    for path in (project / "runs" / "empty" / "models").iterdir():
        path.unlink()
    with pytest.raises(RetainError, match=r"empty: keeps no model yet; `retain run .*` finishes"):
        api.export("empty", "none", project / "model")


def test_a_freeze_that_matches_nothing_is_found_before_anything_runs(project):
    with pytest.raises(RetainError, match="no_such"):
        api.run("own.yaml", ["arms.freeze.freeze.names=[no_such.*]", "name=other"])
    assert not list((project / "runs" / "other").glob("report.html"))
    assert '"step started"' not in _journal(project / "runs" / "other")


def _journal(run):
    path = run / "journal.jsonl"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_adapters_in_every_phase_and_handover(project):
    """Both phases as LoRA, each handover an arm, full tuning after a merge; models and export."""
    recipe = (project / "own.yaml").read_text()
    head, _ = recipe.split("arms:\n")
    head = head.replace("name: own", "name: adapters").replace(
        "precision: fp32, save_steps: 2", "precision: fp32, tuning: lora, lora_r: 4"
    )
    (project / "adapters.yaml").write_text(
        head
        + "arms:\n"
        + "  none: []\n"
        + "  new: {train: {handover: new_adapter}}\n"
        + "  merge: {train: {handover: merge_then_new}}\n"
        + "  full: {train: {tuning: full, handover: merge_then_new}}\n"
        + "  replay: [{method: experience_replay, share: 0.2}]\n"
    )
    plan = api.plan("adapters.yaml")
    trained = {line.step.name: line.trainable_parameters for line in plan.lines
               if line.step.kind == "train"}  # fmt: skip
    assert trained["skill"] < 0.2 * trained["text-full"]
    api.run("adapters.yaml")
    scores = rows("runs/adapters/scores.csv")
    assert {row["arm"] for row in scores} == {"none", "new", "merge", "full", "replay"}
    assert len(list(Path("runs/.steps/train").glob("skill-*"))) == 2  # this one and the full one
    for arm in ("none", "new", "merge", "full"):
        model = AutoModelForCausalLM.from_pretrained(f"runs/adapters/models/{arm}-seed0-text")
        assert model.num_parameters() > 0
    assert "tuning" in Path("runs/adapters/recipe.resolved.yaml").read_text()
    api.export("adapters", "merge", "exported")
    shutil.rmtree("runs")
    AutoModelForCausalLM.from_pretrained("exported")


def test_a_method_that_chooses_weights_does_not_stand_beside_an_adapter(project):
    recipe = (project / "own.yaml").read_text().replace("save_steps: 2}", "tuning: lora}")
    (project / "both.yaml").write_text(recipe)
    with pytest.raises(RetainError, match=r"freeze says which weights move .* tuning: lora"):
        api.plan("both.yaml")
