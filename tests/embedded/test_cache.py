"""The cache: whole or not at all."""

from pathlib import Path

import pytest

from retain.embedded import cache as caches
from retain.embedded.cache import cache_dir, is_intact, is_whole, settle
from retain.errors import EmbeddedError
from retain.steps.durable import seal
from retain.steps.fingerprint import sha256_bytes


def test_the_variable_or_else_the_platform_says_where(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.setenv("RETAIN_CACHE", "")
    assert cache_dir().name == "retain"
    monkeypatch.setenv("RETAIN_CACHE", "~/here")
    assert cache_dir() == Path.home() / "here"


def test_size_is_checked_always_and_content_once(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    digest = sha256_bytes(b"abc")
    assert is_intact(path, 3, digest)
    monkeypatch.setattr(caches, "sha256_file", lambda path: pytest.fail("hashed again"))
    assert is_intact(path, 3, digest)
    assert not is_intact(path, 4, digest)
    assert not is_intact(tmp_path / "none", 3, digest)


def test_a_changed_file_is_hashed_again(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert is_intact(path, 3, sha256_bytes(b"abc"))
    path.write_bytes(b"abd")
    assert not is_intact(path, 3, sha256_bytes(b"abc"))


def test_a_file_known_for_one_hash_is_not_taken_for_another(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert is_intact(path, 3, sha256_bytes(b"abc"))
    assert not is_intact(path, 3, sha256_bytes(b"abd"))


def _folder(parent: Path, text: str = "content") -> Path:
    folder = parent / "made"
    folder.mkdir()
    (folder / "file").write_text(text)
    seal(folder)
    return folder


def test_a_folder_takes_its_name_complete(cache):
    target = cache / "models" / "one"
    settle(target, good=lambda: is_whole(target), make=_folder)
    assert (target / "file").read_text() == "content"
    settle(target, good=lambda: is_whole(target), make=lambda fresh: pytest.fail("made again"))


def test_a_damaged_folder_is_replaced(cache):
    target = cache / "models" / "one"
    settle(target, good=lambda: is_whole(target), make=_folder)
    (target / "file").write_text("shorter")
    (target / "stranger").write_text("")
    (target / "file").unlink()
    settle(target, good=lambda: is_whole(target), make=_folder)
    assert sorted(path.name for path in target.iterdir()) == ["MANIFEST.json", "file"]


def test_a_failure_leaves_nothing(cache):
    target = cache / "models" / "one"

    def fail(fresh: Path) -> Path:
        (fresh / "half").write_text("half")
        raise EmbeddedError("no")

    with pytest.raises(EmbeddedError, match=r"^no$"):
        settle(target, good=lambda: is_whole(target), make=fail)
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_is_explained(cache):
    target = cache / "models" / "one"

    def fill(fresh: Path) -> Path:
        raise OSError(28, "No space left on device")

    with pytest.raises(EmbeddedError, match=r"cannot keep one .*No space left.*RETAIN_CACHE"):
        settle(target, good=lambda: is_whole(target), make=fill)
