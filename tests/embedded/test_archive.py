"""Reading single files out of archives, and refusing what is not as it should be."""

import io
import os
import tarfile
from dataclasses import asdict, replace
from hashlib import sha256

import pytest

from retain.embedded import (
    Member,
    Package,
    fetch,
    join_members,
    read_deb,
    read_entry,
    read_member,
    source_archive,
)
from retain.embedded.debian import _record
from retain.embedded.table import TABLE
from retain.errors import EmbeddedError
from retain.steps.durable import write_file


def test_a_file_is_read_without_unpacking_the_wheel(wheel, cache):
    assert read_member(wheel, "tiny/words.txt") == b"four rows of text\n"
    assert [path.name for path in (cache / "packages").iterdir()] == [wheel.file]


def test_a_missing_file_is_named(wheel):
    with pytest.raises(EmbeddedError, match=r"tiny 1\.0: no file tiny/none\.txt in .*\.whl"):
        read_member(wheel, "tiny/none.txt")


def test_a_bomb_stops_at_the_limit(wheel_of):
    package = wheel_of({"zeros": b"\0" * 5_000_000})
    with pytest.raises(EmbeddedError, match=r"zeros is larger than the 1,000,000 bytes"):
        read_member(package, "zeros", limit=1_000_000)


def test_a_name_that_points_outside_writes_nothing_there(wheel_of, tmp_path):
    package = wheel_of({"../../outside.txt": b"evil"})
    assert read_member(package, "../../outside.txt") == b"evil"
    assert not list(tmp_path.rglob("outside.txt"))


def test_an_archive_that_is_no_archive_is_an_error(index):
    (index / "tiny-1.0-py3-none-any.whl").write_bytes(b"no zip")
    package = Package("tiny", "1.0", "pypi", "tiny-1.0-py3-none-any.whl", "", "MIT", 6)
    package = replace(package, sha256=sha256(b"no zip").hexdigest())
    with pytest.raises(EmbeddedError, match=r"does not read|could not fetch"):
        read_member(package, "x")


def test_a_damaged_file_inside_is_an_error(wheel, monkeypatch, cache):
    path = fetch(wheel)
    content = bytearray(path.read_bytes())
    start = content.index(b"four rows")
    content[start : start + 4] = b"five"
    changed = replace(wheel, sha256=sha256(content).hexdigest())
    path.write_bytes(content)
    with pytest.raises(EmbeddedError, match=r"words\.txt in .* does not read: Bad CRC-32"):
        read_member(changed, "tiny/words.txt")


def test_parts_are_joined_in_order(wheel_of, tmp_path):
    first = wheel_of({"part0": b"ab"}, "one")
    second = wheel_of({"part1": b"cd"}, "two")
    target = tmp_path / "whole"
    digest = join_members((Member(first, "part0"), Member(second, "part1")), target)
    assert target.read_bytes() == b"abcd"
    assert digest == sha256(b"abcd").hexdigest()


def test_an_entry_is_read_by_the_names_in_the_table(wheel_of):
    package = wheel_of({"a": b"1", "b": b"2", "c": b"3"})
    entry = replace(TABLE["piqa"], members=(Member(package, "c"), Member(package, "a")))
    assert read_entry(entry) == {"c": b"3", "a": b"1"}


@pytest.fixture
def deb(cache, program, monkeypatch) -> Package:
    """A package in the cache whose "deb" is a bare tar; dpkg-deb prints it as it is."""
    path = program("dpkg-deb", "import sys; sys.stdout.buffer.write(open(sys.argv[2],'rb').read())")
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in (
            ("./usr/share/locale/ne/LC_MESSAGES/a.mo", b"nepali"),
            ("./usr/share/locale/hi/LC_MESSAGES/a.mo", b"hindi"),
        ):
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/share/locale/ne/LC_MESSAGES/link.mo")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return _kept(cache, stream.getvalue())


def _kept(cache, content: bytes) -> Package:
    digest = sha256(content).hexdigest()
    package = Package("words-ne", "2", "debian", "words-ne_2_all.deb", digest, "", len(content))
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    (cache / "packages" / package.file).write_bytes(content)
    import json

    write_file(_record(package), json.dumps(asdict(package)))
    return package


def test_matching_plain_files_of_a_deb_are_read(deb):
    found = read_deb(deb, "./usr/*/ne/LC_MESSAGES/*.mo")
    assert found == {"./usr/share/locale/ne/LC_MESSAGES/a.mo": b"nepali"}


def test_a_deb_that_does_not_read_is_an_error(deb, cache):
    broken = _kept(cache, b"not a tar at all" * 100)
    with pytest.raises(EmbeddedError, match="dpkg-deb cannot read it"):
        read_deb(broken, "*")


def test_a_deb_with_too_much_in_it_is_refused(deb, monkeypatch):
    monkeypatch.setattr("retain.embedded.archive.MAX_MEMBER_BYTES", 3)
    with pytest.raises(EmbeddedError, match="larger than the 3 bytes"):
        read_deb(deb, "./usr/*/ne/*.mo")


# ---------------------------------------------------------------- source archives


@pytest.fixture
def sdist(tmp_path, monkeypatch):
    """A source archive in an index that is a folder, and its row of the table."""
    folder = tmp_path / "simple" / "tiny"
    folder.mkdir(parents=True)
    path = folder / "tiny-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"tiny-1.0/setup.py": b"raise SystemExit", "tiny-1.0/a": b"A" * 9,
                              "tiny-1.0/b": b"B"}.items():  # fmt: skip
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    (folder / "index.html").write_text('<a href="tiny-1.0.tar.gz#sha256=0">tiny-1.0.tar.gz</a>')
    content = path.read_bytes()
    monkeypatch.setattr(source_archive, "_page", lambda index, name: f"{index}/{name}/index.html")
    monkeypatch.setenv("PIP_INDEX_URL", folder.parent.as_uri())
    digest = sha256(content).hexdigest()
    return Package("tiny", "1.0", "pypi", path.name, digest, "MIT", len(content))


def test_files_of_a_source_archive_are_kept_apart_and_nothing_of_it_is_run(sdist, cache):
    seen = []
    assert read_member(sdist, "tiny-1.0/b", progress=lambda *told: seen.append(told)) == b"B"
    assert seen[-1] == (sdist.size_bytes, sdist.size_bytes, "tiny 1.0")
    [kept] = (cache / "packages").glob("named-in-*.zip")
    (cache / "packages" / sdist.file).unlink()
    assert read_member(sdist, "tiny-1.0/b") == b"B", "the archive is not read again"
    kept.write_bytes(kept.read_bytes()[:50])
    assert read_member(sdist, "tiny-1.0/b") == b"B", "what a kill left is made again"
    with pytest.raises(EmbeddedError, match=r"tiny 1\.0: no file tiny-1\.0/c in .*tiny-1"):
        read_member(sdist, "tiny-1.0/c")


def test_a_source_archive_that_is_cut_is_an_error(sdist, cache):
    path = fetch(sdist)
    content = path.read_bytes()[:100]
    path.write_bytes(content)
    cut = replace(sdist, sha256=sha256(content).hexdigest(), size_bytes=len(content))
    with pytest.raises(EmbeddedError, match=r"tiny 1\.0: its archive does not read"):
        read_member(cut, "tiny-1.0/b")


def test_an_index_without_the_file_and_one_that_is_not_there(sdist, monkeypatch, tmp_path):
    other = replace(sdist, file="tiny-2.0.tar.gz", version="2.0")
    with pytest.raises(EmbeddedError, match=r"tiny 2\.0: .* does not offer tiny-2\.0\.tar\.gz"):
        fetch(other)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    with pytest.raises(EmbeddedError, match=r"127\.0\.0\.1 is not reached") as caught:
        fetch(sdist)
    assert "secret" not in str(caught.value)


def test_the_index_is_pips(monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert source_archive.index_url() == source_archive.PYPI
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror/simple")
    assert source_archive.index_url() == "https://mirror/simple"
