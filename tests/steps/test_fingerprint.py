import json
import math
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError, StoreError
from retain.steps.fingerprint import (
    MAX_DEPTH,
    canonical,
    sha256_bytes,
    sha256_file,
    sha256_folder,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | texts
scalars |= st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return tuple(reversed_keys(item) for item in value)
    return value


def exact(value):
    """The value with its types spelt out, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value).__name__, repr(value))


@given(values)
def test_key_order_and_tuples_do_not_matter_and_it_reads_back(value):
    spelt = canonical(value)

    assert canonical(reversed_keys(value)) == spelt
    assert exact(json.loads(spelt)) == exact(value)
    assert canonical(json.loads(spelt)) == spelt


@given(values, values)
def test_two_values_are_spelt_alike_only_if_they_are_equal(one, other):
    assert (canonical(one) == canonical(other)) == (exact(one) == exact(other))


def test_one_is_neither_one_point_nought_nor_true():
    assert len({canonical(1), canonical(1.0), canonical(True), canonical("1")}) == 4


def test_read_only_mappings_are_mappings():
    assert canonical(MappingProxyType({"a": 1})) == canonical({"a": 1})


class Number(float):
    pass


class Odd:
    pass


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        ({1, 2}, "set"),
        (b"x", "bytes"),
        (Path("x"), "Path"),
        (len, "builtin_function"),
        (Odd(), "Odd"),
        (Number(1), "Number"),
        ({1: "x"}, "keys are strings"),
        ("\ud800", "UTF-8"),
        (10**5000, "JSON"),
    ],
    ids=[
        "nan",
        "inf",
        "set",
        "bytes",
        "path",
        "callable",
        "object",
        "subclass",
        "key",
        "surrogate",
        "huge",
    ],
)
def test_what_has_no_single_spelling_is_refused_by_place(value, word):
    with pytest.raises(RecipeError, match=rf"settings\.arms\[1\]\.x.*{word}|settings.*{word}"):
        canonical({"arms": [0, {"x": value}]}, "settings")


def test_a_value_that_contains_itself_is_refused():
    value: list = []
    value.append(value)

    with pytest.raises(RecipeError, match=f"more than {MAX_DEPTH} deep"):
        canonical(value)


def test_files_and_folders(tmp_path):
    (tmp_path / "one" / "in").mkdir(parents=True)
    (tmp_path / "one" / "in" / "a").write_bytes(b"abc")
    (tmp_path / "one" / "b").write_bytes(b"")
    first = sha256_folder(tmp_path / "one")

    assert sha256_file(tmp_path / "one" / "in" / "a") == sha256_bytes(b"abc")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "in").symlink_to(tmp_path / "one" / "in")
    with pytest.raises(StoreError, match="a link to a folder"):
        sha256_folder(tmp_path / "two")
    (tmp_path / "one" / "b").rename(tmp_path / "one" / "c")
    assert sha256_folder(tmp_path / "one") != first


def test_links_to_files_count_as_their_content(tmp_path):
    (tmp_path / "blob").write_bytes(b"abc")
    for name in ("linked", "plain"):
        (tmp_path / name).mkdir()
    (tmp_path / "linked" / "a").symlink_to(tmp_path / "blob")
    (tmp_path / "plain" / "a").write_bytes(b"abc")

    assert sha256_folder(tmp_path / "linked") == sha256_folder(tmp_path / "plain")


def test_missing_and_empty_are_errors_not_hashes(tmp_path):
    with pytest.raises(StoreError, match="no-such: cannot be read"):
        sha256_file(tmp_path / "no-such")
    with pytest.raises(StoreError, match="not a folder"):
        sha256_folder(tmp_path / "no-such")
    with pytest.raises(StoreError, match="holds no file"):
        sha256_folder(tmp_path)
