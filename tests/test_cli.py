"""The command line: exit codes, words, speed, and that nothing heavy is loaded."""

import os
import re
import subprocess
import sys
import time

import pytest

from retain.cli import main
from retain.errors import GateFailed, Interrupted

HEAVY = ("torch", "transformers", "datasets", "lm_eval", "pyarrow", "matplotlib", "peft", "numpy")

VERBS = (
    "run",
    "plan",
    "eval",
    "rehearse",
    "data",
    "report",
    "list",
    "explain",
    "export",
    "clean",
    "init",
)


def run(*words, capsys=None):
    with pytest.raises(SystemExit) as stop:
        main(words)
    return stop.value.code


def test_help_names_every_verb(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"^\s+{verb}\b", text, re.MULTILINE), verb


def test_help_loads_nothing_heavy_and_answers_at_once():
    script = (
        "import sys\nfrom retain.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "retain", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("retain 0.")


def test_a_mistake_is_a_message_and_exit_code_1(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("run", "nowhere.yaml") == 1
    err = capsys.readouterr().err
    assert err == "Error: nowhere.yaml: no such file\n"


def test_two_faults_of_a_recipe_come_at_once(capsys, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: toy\nmodel: x/y\nphases:\n"
        "  - {name: a, data: a.jsonl, train: {learning_rat: 1e-4, max_steps: many}}\n"
    )
    assert run("plan", str(path)) == 1
    err = capsys.readouterr().err
    assert "learning_rat" in err
    assert "Did you mean 'learning_rate'?" in err
    assert "max_steps" in err
    assert "line 4" in err


def test_a_dotted_option_is_an_override(capsys, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: toy\nmodel: x/y\nphases:\n  - {name: a, data: a.jsonl}\n")
    assert run("plan", str(path), "--phases.a.train.max_step", "3") == 1
    assert "Did you mean 'max_steps'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (GateFailed("replay: change_from_base -0.1 is below -0.02"), 2, "Gate failed"),
        (Interrupted("train/a: stopped; the same command goes on"), 130, "the same command"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_outcomes_have_exit_codes(monkeypatch, capsys, error, code, word):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr("retain.api.run", fail)
    assert run("run", "quickstart") == code
    err = capsys.readouterr().err
    assert word in err
    assert "Traceback" not in err


def test_numbers_of_shots_are_checked(capsys):
    assert run("eval", "m", "--tasks", " , ") == 1
    assert run("eval", "m", "--tasks", "a", "--num-fewshot", "0,x") == 1
    assert "--num-fewshot: got '0,x'" in capsys.readouterr().err


def test_init_does_not_overwrite(capsys, tmp_path, monkeypatch):
    path = tmp_path / "r.yaml"
    path.write_text("mine")
    words = ("init", "--model", "m", "--data", "d", "--output", str(path))
    monkeypatch.setattr("retain.api.init", lambda *_args, **_options: pytest.fail("worked first"))
    assert run(*words) == 1
    assert path.read_text() == "mine"
    path.unlink()
    monkeypatch.setattr("retain.api.init", lambda *_args, **_options: "name: x\n")
    main_output = run(*words)
    assert main_output == 0
    assert path.read_text() == "name: x\n"


def test_data_show_marks_trained_tokens(capsys, tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "which bone", "completion": "heart\\u001b[31m"}\n')
    assert run("data", "show", str(path), "-n", "1", "--model", str(tiny_model_folder)) == 0
    out = capsys.readouterr().out
    assert "⟦heart" in out
    assert "\x1b[31m" not in out


def test_data_check_names_faults_and_exits_with_1(capsys, tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "fine words here"}\n{"text": 3}\nno json\n')
    assert run("data", "check", str(path)) == 1
    out = capsys.readouterr()
    assert "d.jsonl:2" in out.out
    assert "d.jsonl:3" in out.out
    assert "2 fault(s)" in out.err


def test_doctor_says_what_will_be_used(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path))
    assert run("doctor") == 0
    out = capsys.readouterr().out
    for word in ("device", "precision", "threads", "torch", str(os.cpu_count())):
        assert word in out


def test_similarity_compares_every_pair(capsys, tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "the cat sat"), ("b", "the dog ran to the sea"), ("c", "मेरो नाम")):
        rows = (f'{{"prompt": "say {n}", "completion": "{text} {n}"}}\n' for n in range(4))
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    paths = [f"{name}.jsonl" for name in "abc"]
    assert run("data", "similarity", *paths) == 0
    text = capsys.readouterr().out
    assert len(re.findall(r"^[abc]\.jsonl +[abc]\.jsonl", text, re.MULTILINE)) == 3
    assert "DES by hashed character n-grams" in text
    assert run("data", "similarity", *paths, "--model", str(tiny_model_folder)) == 0
    assert "DES by mean hidden states of" in capsys.readouterr().out


def test_similarity_trains_shortly_on_each_set(capsys, tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "the cat sat"), ("b", "the cat sat on"), ("c", "मेरो नाम एक किताब")):
        rows = (f'{{"prompt": "say {n}", "completion": "{text} {n}"}}\n' for n in range(12))
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    paths = [f"{name}.jsonl" for name in "abc"]
    options = ("--mpd", str(tiny_model_folder), "--steps", "2")
    assert run("data", "similarity", *paths, *options) == 0
    text = capsys.readouterr().out.partition("How they pull")[2]
    found = re.findall(r"^([abc])\.jsonl +([abc])\.jsonl .* (-?[01]\.\d{3}) *$", text, re.M)
    cosine = {(left, right): float(value) for left, right, value in found}
    assert cosine["a", "b"] > max(cosine["a", "c"], cosine["b", "c"])
    assert "after 2 steps on each set alone" in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.jsonl"], "compares two sources or more"),
        (["a", "b", "--model", "m", "--embedder", "e"], "give one of them"),
        (["a", "b", "--limit", "0"], "limit must be at least 1"),
        (["a", "b", "--steps", "0"], "steps must be at least 1"),
        ([], "compares two sources or more"),
        (["a", "--runs", "runs"], "leave out data sets"),
        (["--runs", "nowhere"], "no run has a phase after the first"),
    ],
)
def test_similarity_refuses(capsys, words, message):
    assert run("data", "similarity", *words) == 1
    assert message in capsys.readouterr().err
