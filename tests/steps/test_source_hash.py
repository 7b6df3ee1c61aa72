import re
import sys

import pytest

from retain.steps.source_hash import normalised, reached, sources_sha256, version_faults

FILES = {
    "toy/__init__.py": "",
    "toy/step.py": """
from typing import TYPE_CHECKING

from toy.measure import mean

if TYPE_CHECKING:
    from toy import drawing


def run(work):
    \"\"\"Run.\"\"\"
    from toy.deep.inner import LIMIT
    return mean([LIMIT])  # a comment
""",
    "toy/measure.py": "from toy import logs\n\ndef mean(x):\n    return sum(x) / len(x)\n",
    "toy/deep/__init__.py": "raise RuntimeError('nothing may be imported')\n",
    "toy/deep/inner.py": "LIMIT = 1\n",
    "toy/logs.py": "TEXT = 'x'\n",
    "toy/drawing.py": "COLOUR = 1\n",
    "toy/other.py": "X = 1\n",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "toy"
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[name]


def test_what_is_reached(toy):
    assert list(reached("toy.step")) == [
        "toy",
        "toy.deep.inner",
        "toy.logs",
        "toy.measure",
        "toy.step",
    ]
    assert "toy.logs" not in reached("toy.step", stops=["toy.logs"])
    assert list(reached("toy.step", stops=["toy.measure", "toy.deep"])) == ["toy.step"]
    assert "toy" not in sys.modules


@pytest.mark.parametrize(
    ("name", "old", "new", "changes"),
    [
        ("measure.py", "sum(x) / len(x)", "sum(x) / (len(x) - 1)", True),
        ("deep/inner.py", "1", "2", True),
        ("deep/inner.py", "1", "1.0", True),
        ("step.py", "# a comment", "# another", False),
        ("step.py", '"""Run."""', '"""Do it,\n    slowly."""', False),
        ("measure.py", "    return", "\n    return", False),
        ("drawing.py", "1", "2", False),
        ("other.py", "1", "2", False),
    ],
)
def test_the_hash_changes_with_the_code_and_only_with_it(toy, name, old, new, changes):
    before = sources_sha256("toy.step:run")
    path = toy / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))

    assert (sources_sha256("toy.step:run") != before) == changes


def test_nested_docstrings_and_attribute_notes_do_not_count():
    plain = "class A:\n    x: int = 1\n    async def f(self):\n        return 'kept'\n"
    noted = (
        '"""M."""\nclass A:\n    """A."""\n    x: int = 1\n    """X."""\n'
        "    async def f(self):\n        '''F.'''\n        return 'kept'\n"
    )

    assert normalised(plain) == normalised(noted)
    assert normalised(plain) != normalised(plain.replace("kept", "lost"))
    assert normalised("x = None") != normalised("x = ''")


def test_a_runner_that_does_not_exist_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"no module 'retain\.nothing'"):
        sources_sha256("retain.nothing:run")


def kept(version, sha256):
    return {"train": {"version": version, "sources_sha256": sha256}}


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (kept(1, "a"), kept(1, "a"), []),
        (kept(1, "b"), kept(1, "a"), ["raise VERSION of train .*, or confirm: python -m tests"]),
        (kept(2, "b"), kept(1, "a"), ["is raised to 2: confirm"]),
        (kept(2, "a"), kept(1, "a"), ["is raised to 2: confirm"]),
        (kept(1, "a"), kept(2, "a"), ["went from 2 back to 1"]),
        (kept(1, "a"), {}, ["train is new: confirm"]),
        ({}, kept(1, "a"), ["train is gone: confirm"]),
    ],
)
def test_every_change_asks_for_a_decision(now, before, words):
    found = version_faults(now, before)

    assert len(found) == len(words)
    for fault, word in zip(found, words, strict=True):
        assert re.search(word, fault)
