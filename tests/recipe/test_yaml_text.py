import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.recipe.yaml_text import MAX_BYTES, parse, write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("2.0e-4", 2e-4),
        (".5", 0.5),
        ("3", 3),
        ("-3", -3),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("none", "none"),
        ("'1e-4'", "1e-4"),
        ('"true"', "true"),
        (".nan", ".nan"),
        ("<<", "<<"),
    ],
)
def test_scalars_are_what_people_mean(text, value):
    found = parse(f"key: {text}").value["key"]
    assert (type(found), found) == (type(value), value)


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("C", "Z")), max_size=20),
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.lists(PLAIN, max_size=3)))
def test_what_is_written_comes_back(values):
    assert parse(write(values)).value == values
    assert yaml.safe_load(write(values)) == values


def test_text_that_looks_like_a_number_is_quoted():
    assert write({"name": "1e5", "code": "no", "rate": 1e-4}) == (
        "name: '1e5'\ncode: 'no'\nrate: 0.0001\n"
    )


def test_every_value_has_its_line():
    document = parse("a: 1\nb:\n  - c: 2\n    d: 3\n")
    assert document.lines[("a",)] == 1
    assert document.lines[("b",)] == 2
    assert document.lines[("b", 0, "d")] == 4


def test_an_empty_text_is_nothing():
    assert parse("").value is None
    assert parse("# only a comment\n").value is None


def test_a_key_given_twice_is_a_fault():
    assert parse("a: 1\nb: 2\na: 3\n").faults == [
        (3, "key 'a' is given twice; the first is on line 1")
    ]


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!!python/name:os.system", "!mine"])
def test_tags_are_faults_and_run_nothing(tag):
    [(line, fault)] = parse(f"a:\n  {tag} x\n").faults
    assert line == 2
    assert "a recipe has plain values only" in fault


def test_keys_are_text():
    [(line, fault)] = parse("a: 1\n? [b, c]\n: 2\n").faults
    assert (line, fault) == (2, "a key must be text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3", r"line 2: not YAML"),
        ("a: 1\n b: 2", r"line 2: not YAML"),
        ("a: *nothing", r"line 1: not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", r"not YAML: but found another document"),
        ("a: \x00", r"not YAML"),
        ("[" * 100_000, r"line 1: nested deeper than 40 levels"),
        ("x" * (MAX_BYTES + 1), r"256,001 bytes; a recipe has at most 256,000"),
        ("a: &a [*a]", r"more than 20,000 values|undefined alias"),
    ],
)
def test_what_is_not_yaml_or_too_much_is_refused(text, message):
    with pytest.raises(RecipeError, match=message):
        parse(text)


def test_aliases_that_unfold_without_end_are_refused():
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(RecipeError, match="more than 20,000 values, aliases unfolded"):
        parse("\n".join(["l0: &l0 x", *levels]))


def test_plain_aliases_work():
    assert parse("a: &t {x: 1}\nb: *t\n").value == {"a": {"x": 1}, "b": {"x": 1}}
