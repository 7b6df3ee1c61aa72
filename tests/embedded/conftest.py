"""A cache of its own for each test, tiny wheels, and a package index that is a folder."""

import os
import stat
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from retain.embedded import Package

WORDS = b"four rows of text\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RETAIN_CACHE", str(folder))
    return folder


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """The folder that pip takes for its index; no other is asked."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wheel(index) -> Package:
    """A wheel of one file, in the index, and its row of the table."""
    return make_wheel(index, {"tiny/words.txt": WORDS})


def make_wheel(folder: Path, files: dict[str, bytes], name: str = "tiny") -> Package:
    """Write ``name`` 1.0 with these files and what a wheel must have."""
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    content = path.read_bytes()
    digest = sha256(content).hexdigest()
    return Package(name, "1.0", "pypi", path.name, digest, "MIT", len(content))


@pytest.fixture
def wheel_of(index) -> Callable[..., Package]:
    """Put a wheel with other files into the index."""
    return lambda files, name="tiny": make_wheel(index, files, name)


@pytest.fixture
def program(tmp_path) -> Callable[[str, str], Path]:
    """Write a small Python program that can be run by its name."""

    def write(name: str, body: str) -> Path:
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{body}\n", "utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return write


@pytest.fixture
def fake_pip(program, monkeypatch) -> Callable[[str], Path]:
    """Put a program in the place of ``python -m pip``."""

    def replace(body: str) -> Path:
        path = program("python", body)
        monkeypatch.setattr(sys, "executable", str(path))
        return path

    return replace
