"""Debian's packages: what apt offers is recorded, and used from then on."""

import os
from hashlib import sha256

import pytest

from retain.embedded import Package, debian, fetch, identity
from retain.embedded.table import TABLE
from retain.errors import EmbeddedError

CONTENT = b"a deb"
WANTED = Package("words-ne", "", "debian", "", "", "GPL-2+", 0)
SHOW = """
import sys
if sys.argv[-1] != "words-ne":
    raise SystemExit("E: No packages found")
print('''Package: words-ne
Version: {version}
Description: some words
 Version: not a field
Filename: pool/w/words-ne_{version}_all.deb
Size: {size}
SHA256: {sha256}

Package: words-ne
Version: 0.9
''')
"""
DOWNLOAD = """
import sys
assert sys.argv[1:] == ["-q", "download", "words-ne={version}"], sys.argv
open("words-ne_1%3a{version}_all.deb", "wb").write({content!r})
"""


@pytest.fixture
def apt(program, monkeypatch):
    """Put programs in the place of apt's; the only ones on the path."""
    debian._ask.cache_clear()

    def offer(version: str = "1", content: bytes = CONTENT, *, download: str = DOWNLOAD) -> None:
        fields = {"size": len(CONTENT), "sha256": sha256(CONTENT).hexdigest(), "version": version}
        folder = program("apt-cache", SHOW.format(**fields)).parent
        program("apt-get", download.format(version=version, content=content))
        program("dpkg-deb", "")
        monkeypatch.setenv("PATH", str(folder))
        debian._ask.cache_clear()

    yield offer
    debian._ask.cache_clear()


def test_the_version_that_apt_offers_is_fetched_and_recorded(apt, cache):
    apt()
    path = fetch(WANTED)
    assert path.read_bytes() == CONTENT
    assert path.name == "words-ne_1_all.deb"
    kept = debian.offered(WANTED)
    assert (kept.version, kept.sha256) == ("1", sha256(CONTENT).hexdigest())


def test_a_newer_version_does_not_replace_the_recorded_one(apt):
    apt("1")
    path = fetch(WANTED)
    apt("2", download="raise SystemExit('not to be run')")
    assert debian.offered(WANTED).version == "1"
    assert fetch(WANTED) == path


def test_once_fetched_apt_is_not_needed(apt, monkeypatch):
    apt()
    path = fetch(WANTED)
    monkeypatch.setenv("PATH", "/nowhere")
    assert fetch(WANTED) == path
    assert debian.available((WANTED,))[1] == []


def test_when_the_file_is_gone_apt_is_asked_anew(apt):
    apt("1")
    fetch(WANTED).unlink()
    apt("2")
    assert debian.offered(WANTED).version == "2"
    assert fetch(WANTED).name == "words-ne_2_all.deb"


def test_without_apt_there_is_a_clear_word(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found, notes = debian.available((WANTED,))
    assert found == []
    assert notes == ["left out, since apt-get is not on this machine: words-ne"]
    with pytest.raises(EmbeddedError, match=r"words-ne \(Debian\).*apt-get is not on this machine"):
        fetch(WANTED)


def test_a_package_that_apt_does_not_know_is_left_out_by_name(apt):
    apt()
    other = Package("other-ne", "", "debian", "", "", "", 0)
    found, notes = debian.available((other, WANTED))
    assert [package.name for package in found] == ["words-ne"]
    assert "apt-get update" in notes[0]
    assert notes[0].endswith(": other-ne")


def test_a_wrong_file_is_refused(apt):
    apt(content=b"other")
    with pytest.raises(EmbeddedError, match="not what it should be"):
        fetch(WANTED)


def test_apts_error_is_passed_on(apt):
    apt(download="raise SystemExit('E: Failed to fetch: 404')")
    with pytest.raises(EmbeddedError, match=r"words-ne 1: E: Failed to fetch: 404\n.*update"):
        fetch(WANTED)


def test_a_damaged_record_is_named(apt, cache):
    apt()
    fetch(WANTED)
    record = cache / "packages" / "words-ne.debian.json"
    record.write_text("{")
    with pytest.raises(EmbeddedError, match="delete it"):
        debian.offered(WANTED)


def test_identity_follows_what_apt_offers(apt, monkeypatch):
    names = TABLE["nepali-interface"].debian
    assert len({package.name for package in names}) == len(names)
    apt()
    monkeypatch.setattr(debian, "available", lambda packages: ([WANTED], []))
    one = identity("nepali-interface")
    monkeypatch.setattr(debian, "available", lambda packages: ([], ["no apt"]))
    assert identity("nepali-interface") != one


def test_apt_speaks_english_whatever_the_locale(apt, monkeypatch):
    monkeypatch.setenv("LC_ALL", "ne_NP.UTF-8")
    apt(download="import os; raise SystemExit('E: ' + os.environ['LC_ALL'])")
    with pytest.raises(EmbeddedError, match="E: C"):
        fetch(WANTED)
    assert os.environ["LC_ALL"] == "ne_NP.UTF-8"
