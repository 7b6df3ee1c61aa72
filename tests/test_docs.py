"""The documentation runs: its recipes are read, its commands parse, its Python is executed."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from retain.cli import app
from retain.recipe import read_recipe
from retain.recipe.yaml_text import parse

ROOT = Path(__file__).resolve().parent.parent
OTHER_TEST = "add-a-method.md"  # its recipes need the method it adds: tests/methods
STUDIES = sorted((ROOT / "src" / "retain" / "recipes" / "studies").rglob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *STUDIES]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language):
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (found, text) in enumerate(BLOCK.findall(page.read_text("utf-8")))
        if found == language and page.name != OTHER_TEST
    ]


def commands():
    lines = [
        (page.name, line.strip())
        for page in PAGES
        for line in page.read_text("utf-8").splitlines()
        if line.startswith("    retain ")
    ]
    return [pytest.param(line, id=f"{name}: {line[:40]}") for name, line in lines]


@pytest.mark.parametrize("text", [b for b in blocks("yaml") if "\nphases:" in b.values[0]])
def test_every_whole_recipe_is_sound(text):
    document = parse(text)
    assert not document.faults
    if {"name", "model", "phases"} <= set(document.value):
        read_recipe(document.value)


@pytest.mark.parametrize("line", commands())
def test_every_command_parses(line):
    words = shlex.split(line, comments=True)[1:]
    command, name = typer.main.get_command(app), "retain"
    while verbs := getattr(command, "commands", None):
        assert words[0] in verbs, f"{name} has no verb {words[0]}"
        name, command, words = words[0], verbs[words[0]], words[1:]
    command.make_context(name, words)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_generated_pages_are_current():
    subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], check=True)


@pytest.mark.slow
def test_the_readme_runs(tmp_path, tiny_model_folder, monkeypatch):
    """Its recipe and its Python, on a tiny model and a few lines of one's own data."""
    readme = (ROOT / "README.md").read_text("utf-8")
    [recipe] = [text for language, text in BLOCK.findall(readme) if language == "yaml"]
    [code] = [text for language, text in BLOCK.findall(readme) if language == "python"]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model_folder, "my-model")
    rows = [{"prompt": f"say {n} twice", "completion": f"{n} {n}"} for n in range(60)]
    Path("my.jsonl").write_text("\n".join(map(json.dumps, rows)))
    short = "{learning_rate: 1.0e-4, max_steps: 2, max_length: 128}"
    recipe = re.sub(r"\{learning_rate: 1.0e-4, num_train_epochs: 1\}", short, recipe)
    recipe = recipe.replace("embedded:smollm2-135m-instruct", "./my-model")
    Path("my.yaml").write_text(recipe + "evaluate: {tasks: [phases], limit: 10}\n")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "support" / "report.html").exists()
