import errno
import os

import pytest

from retain.errors import StoreError
from retain.steps import durable, durable_folder, write_file, write_folder
from retain.steps.manifest import faults, manifest_bytes, quick_faults, read_manifest


@pytest.fixture
def events(monkeypatch):
    seen = []
    monkeypatch.setattr(durable, "on_file_event", lambda kind, path: seen.append((kind, path)))
    return seen


def test_write_file_replaces_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_file(path, "one")
    write_file(path, b"two")

    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.json"]


def test_the_content_is_synced_before_it_is_named_and_the_name_after(tmp_path, events):
    write_file(tmp_path / "a", "x")

    kinds = [kind for kind, _ in events]
    assert kinds == ["write", "fsync", "rename", "fsync"]
    assert events[-1] == ("fsync", tmp_path)


def test_a_folder_has_its_manifest_written_last_and_its_name_after_that(tmp_path, events):
    write_folder(tmp_path / "f", {"a": "1", "in/b": "2"})

    names = [(kind, path.name) for kind, path in events]
    manifest = names.index(("write", "MANIFEST.json"))
    assert max(i for i, (_, name) in enumerate(names) if name in "ab") < manifest
    assert ("fsync", "in") in names[:manifest]
    assert names[manifest + 1] == ("fsync", "MANIFEST.json")
    assert names[-2:] == [("rename", "f"), ("fsync", tmp_path.name)]
    assert faults(tmp_path / "f") == []
    assert sorted(read_manifest(tmp_path / "f")["files"]) == ["a", "in/b"]


def test_an_error_inside_leaves_nothing(tmp_path):
    def fail():
        with durable_folder(tmp_path / "f") as folder:
            (folder / "a").write_text("x")
            raise KeyError("no")

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []


def test_what_is_finished_is_never_written_to_again(tmp_path):
    write_folder(tmp_path / "f", {"a": "1"})

    with pytest.raises(StoreError, match="never written to again"):
        write_folder(tmp_path / "f", {"a": "2"})
    assert (tmp_path / "f" / "a").read_text() == "1"


def test_links_are_not_kept(tmp_path):
    def link():
        with durable_folder(tmp_path / "f") as folder:
            (folder / "a").symlink_to("/etc/hostname")

    with pytest.raises(StoreError, match="not a plain file"):
        link()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", range(6))
def test_a_full_disk_at_any_write_is_told_and_leaves_nothing(tmp_path, monkeypatch, place):
    write_folder(tmp_path / "before", {"a": "1"})
    count = iter(range(100))

    def full(kind, path):
        if kind in ("write", "fsync", "make") and next(count) == place:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(durable, "on_file_event", full)
        with pytest.raises(StoreError, match=r"disk \(or quota\) is full.*2\.0 MB.*same command"):
            fill(tmp_path / "f")

    assert os.listdir(tmp_path) == ["before"]
    assert faults(tmp_path / "before") == []


def fill(final):
    with durable_folder(final, needed_bytes=2_000_000) as folder:
        (folder / "a").write_text("x")
        durable.write_new(folder / "b", "x")


class LibraryError(Exception):
    """Stands for errors that carry the system's words in their text only."""


def test_a_library_that_rewords_a_full_disk_is_understood(tmp_path):
    def save():
        with durable_folder(tmp_path / "f"):
            raise LibraryError("I/O error: No space left on device (os error 28)")

    with pytest.raises(StoreError, match="full") as raised:
        save()
    assert isinstance(raised.value.__cause__, LibraryError)
    assert not durable.is_disk_full(LibraryError("other"))


def test_a_place_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(StoreError, match=r"cannot be written.*choose another"):
        write_folder(tmp_path / "file" / "f", {"a": "1"})


def test_what_cannot_fit_is_refused_before_it_starts(tmp_path):
    durable.check_space(tmp_path / "not" / "yet", 1, "step x")
    with pytest.raises(StoreError, match=r"step x needs \d+\.\d GB .* are free"):
        durable.check_space(tmp_path / "not" / "yet", 10**18, "step x")


def test_removing_takes_everything_and_follows_no_link(tmp_path):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "a").write_text("x")
    (tmp_path / "go" / "in").mkdir(parents=True)
    (tmp_path / "go" / "in" / "b").write_text("x")
    (tmp_path / "go" / "link").symlink_to(tmp_path / "keep")
    durable.remove_tree(tmp_path / "go")
    durable.remove_tree(tmp_path / "go")
    (tmp_path / "link").symlink_to(tmp_path / "keep")

    with pytest.raises(StoreError, match="is a link"):
        durable.remove_tree(tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["keep", "link"]
    assert (tmp_path / "keep" / "a").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"format": 2, "files": {}}',
        b'{"format": 1, "files": []}',
        manifest_bytes({"format": 1, "files": {"../a": {"bytes": 1, "sha256": "x"}}}),
        manifest_bytes({"format": 1, "files": {"/a": {"bytes": 1, "sha256": "x"}}}),
        manifest_bytes({"format": 1, "files": {"a": {"bytes": "1", "sha256": "x"}}}),
        manifest_bytes({"format": 1, "files": {}}).replace(b"files", b"filed"),
        b'{"format": 1, "files": {"a": {"bytes": NaN, "sha256": "x"}}}',
        b"[" * 100_000,
    ],
    ids=["empty", "list", "torn", "newer", "files", "up", "root", "size", "altered", "nan", "deep"],
)
def test_a_manifest_that_is_none_is_a_fault_and_never_leads_outside(tmp_path, content):
    (tmp_path / "MANIFEST.json").write_bytes(content)

    assert read_manifest(tmp_path) is None
    assert quick_faults(tmp_path) == faults(tmp_path) == ["MANIFEST.json is missing or damaged"]
