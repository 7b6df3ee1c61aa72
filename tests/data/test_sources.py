import sys
from dataclasses import dataclass
from types import ModuleType

import pytest

from retain.data.fault import Fault
from retain.data.sources import Source, identity, licence, load, read, rows
from retain.errors import DataError

TEXTS = [{"text": f"text {number}"} for number in range(30)]


def texts_of(loaded):
    return [example.text for example in loaded.examples]


@pytest.fixture
def file(tmp_path, write_jsonl):
    return write_jsonl(tmp_path / "a.jsonl", TEXTS)


def test_source_of_a_name_or_a_mapping():
    assert Source.of("a.jsonl") == Source("a.jsonl")
    assert Source.of("a.jsonl#20") == Source("a.jsonl", sample=20)
    assert Source.of({"source": "a", "split": "dev", "sample": 3}) == Source("a", "dev", sample=3)
    assert Source.of("a", "patient").item_column == "patient"
    assert Source.of(Source("a")) == Source("a")
    for bad in ("a.jsonl#0", "a.jsonl#many", "a.jsonl#"):
        with pytest.raises(DataError, match="number above 0"):
            Source.of(bad)


def test_a_file_is_loaded_in_order(file):
    loaded = load(str(file))
    assert texts_of(loaded) == [row["text"] for row in TEXTS]
    assert {example.source for example in loaded.examples} == {"a.jsonl"}


def test_a_folder_is_read_file_by_file_each_with_its_format(tmp_path, write_jsonl):
    write_jsonl(tmp_path / "d" / "b.jsonl", [{"prompt": "p", "completion": "c"}])
    write_jsonl(tmp_path / "d" / "a" / "one.jsonl", [{"text": "t"}])
    write_jsonl(tmp_path / "d" / ".hidden" / "x.jsonl", [{"text": "no"}])
    (tmp_path / "d" / "README.md").write_text("no")
    found = list(read(str(tmp_path / "d")))
    assert [one.where for one in found] == ["a/one.jsonl:1", "b.jsonl:1"]
    assert [one.example.text for one in found] == ["t", None]


def test_what_is_not_there_is_said(tmp_path, file):
    with pytest.raises(DataError, match=r"no such file. Did you mean '.*a.jsonl'"):
        load(str(tmp_path / "b.jsonl"))
    with pytest.raises(DataError, match=r"folder .* does not exist"):
        load(str(tmp_path / "no" / "b.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data file"):
        load(str(tmp_path / "empty"))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"unknown ending '.txt'. Known: .jsonl"):
        load(str(tmp_path / "a.txt"))


def test_identity_is_of_the_content_not_of_the_place(tmp_path, write_jsonl, file):
    moved = write_jsonl(tmp_path / "else" / "a.jsonl", TEXTS)
    assert identity(str(file)) == identity(str(moved))
    assert list(identity(str(file))) == ["a.jsonl"]
    assert list(identity(f"{file}#5")) == ["a.jsonl#5"]
    write_jsonl(moved, TEXTS[1:])
    assert identity(str(file)) != identity(str(moved))
    assert list(identity(str(tmp_path))) == ["a.jsonl", "else/a.jsonl"]


def test_the_twentieth_fault_stops_a_run_and_all_are_listed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "t"}\n' * 16 + '{"text": \n{"text": 5}\n')
    with pytest.raises(
        DataError, match=r"2 faults:\n  a.jsonl:17: bad JSON.*\n  a.jsonl:18: wrong"
    ):
        load(str(path))
    path.write_text('{"text": "t"}\n' + '{"text": 1}\n' * 100)
    with pytest.raises(DataError) as caught:
        load(str(path))
    assert "20 faults (the first ones)" in str(caught.value)
    assert "a.jsonl:21: wrong type" in str(caught.value)
    assert "a.jsonl:22" not in str(caught.value)


def test_an_empty_source_stops_a_run(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n")
    with pytest.raises(DataError, match="no rows at all"):
        load(str(path))


def test_the_first_row_that_fits_gives_the_format(tmp_path, write_jsonl):
    path = write_jsonl(tmp_path / "a.jsonl", [{"txt": "a"}, {"text": "b"}])
    first, second = read(str(path))
    assert isinstance(first, Fault)
    assert (first.where, first.kind) == ("a.jsonl:1", "missing column")
    assert second.example.text == "b"


def test_a_file_that_fits_no_format_is_one_fault(tmp_path, write_jsonl):
    write_jsonl(tmp_path / "d" / "a.jsonl", [{"body": "a"}] * 50)
    write_jsonl(tmp_path / "d" / "b.jsonl", [{"text": "b"}])
    fault, found = read(str(tmp_path / "d"))
    assert (fault.where, fault.kind) == ("a.jsonl:1", "unknown format")
    assert "(body) fit no known format" in fault.text
    assert found.example.text == "b"
    with pytest.raises(DataError, match="unknown format 'txt'"):
        list(read({"source": str(tmp_path), "format": "txt"}))


def test_columns_of_other_names_are_said_in_the_recipe(tmp_path, write_jsonl):
    row = {"frage": "2 + 2?", "antwort": "4", "prompt": "no"}
    path = write_jsonl(tmp_path / "a.jsonl", [row, {"frage": "3 + 3?"}])
    named = {"source": str(path), "columns": {"prompt": "frage", "completion": "antwort"}}
    found, fault = read(named)
    assert [message["content"] for message in found.example.messages] == ["2 + 2?", "4"]
    assert (fault.where, fault.kind) == ("a.jsonl:2", "missing column")
    assert "`antwort`, which is to be `completion`, is not there; columns: frage" in fault.text
    (without,) = read(str(path))
    assert "`columns: {prompt: NAME, completion: NAME}` says what yours are called" in without.text


def test_equal_content_is_kept_once(tmp_path, write_jsonl):
    path = write_jsonl(tmp_path / "a.jsonl", [*TEXTS, *TEXTS[:4]])
    loaded = load(str(path))
    assert (len(loaded.examples), loaded.num_read, loaded.num_duplicates) == (30, 34, 4)


def test_a_sample_follows_from_the_data_alone_and_nests(tmp_path, write_jsonl, file):
    ten, twenty = load(f"{file}#10"), load(f"{file}#20")
    assert len(ten.examples) == 10
    assert {e.id for e in ten.examples} < {e.id for e in twenty.examples}
    assert texts_of(ten) == sorted(texts_of(ten), key=lambda text: int(text.split()[1]))
    turned = write_jsonl(tmp_path / "b.jsonl", TEXTS[::-1])
    assert {e.id for e in load(f"{turned}#10").examples} == {e.id for e in ten.examples}
    with pytest.raises(DataError, match="asked for 31 examples, there are 30"):
        load(f"{file}#31")


def test_splits_by_column(tmp_path, write_jsonl):
    named = [row | {"split": "dev" if n % 3 == 0 else "train"} for n, row in enumerate(TEXTS)]
    path = write_jsonl(tmp_path / "a.jsonl", named)
    assert len(load(str(path)).examples) == 20
    assert load(str(path)).splits == {"dev": 10, "train": 20}
    assert len(load({"source": str(path), "split": "dev"}).examples) == 10
    with pytest.raises(DataError, match=r"no split 'test'. There: dev, train"):
        load({"source": str(path), "split": "test"})


def test_splits_by_file_name(tmp_path, write_jsonl):
    write_jsonl(tmp_path / "train.jsonl", TEXTS[:20])
    write_jsonl(tmp_path / "test.jsonl", TEXTS[20:])
    assert len(load(str(tmp_path)).examples) == 20
    assert len(load({"source": str(tmp_path), "split": "test"}).examples) == 10


def test_without_a_training_split_all_is_used(tmp_path, write_jsonl):
    write_jsonl(tmp_path / "dev.jsonl", TEXTS[:20])
    write_jsonl(tmp_path / "test.jsonl", TEXTS[10:])
    loaded = load(str(tmp_path))
    assert (len(loaded.examples), loaded.num_duplicates, loaded.split) == (30, 10, "")
    assert len(load(f"{tmp_path}#7").examples) == 7


def test_licences_of_rows(tmp_path, write_jsonl):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "license": "MIT"}, {"text": "b"}])
    assert load(str(path)).licences == ["MIT"]
    assert licence(str(path)) is None


@pytest.fixture
def embedded(monkeypatch):
    """A package of three rows in place of the real reader and table."""
    reader, package = ModuleType("retain.data.embedded"), ModuleType("retain.embedded")
    table = ModuleType("retain.embedded.table")
    reader.load_embedded = lambda name: [{"text": f"{name} {n}", "item": n} for n in range(3)]
    package.identity = lambda name: f"{len(name):064x}"

    @dataclass
    class Entry:
        licence: str = "CC0-1.0"

    table.lookup = lambda name: Entry()
    for module in (reader, package, table):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_an_embedded_question_with_the_same_choice_twice_is_not_learnt(embedded, monkeypatch):
    import sys

    asked = {"question": "which?", "answer": 0}
    given = [asked | {"choices": ["a", "b", "b"]}, asked | {"choices": ["a", "b", "c"]}]
    monkeypatch.setattr(sys.modules["retain.data.embedded"], "load_embedded", lambda name: given)
    [example] = load("embedded:tiny").examples
    assert example.choices == ("a", "b", "c")


def test_embedded_data(embedded):
    assert [row.where for row in rows("embedded:tiny")] == [
        f"embedded:tiny row {n}" for n in (1, 2, 3)
    ]
    loaded = load("embedded:tiny")
    assert texts_of(loaded) == ["tiny 0", "tiny 1", "tiny 2"]
    assert [example.item for example in loaded.examples] == ["0", "1", "2"]
    assert loaded.examples[0].source == "embedded:tiny"
    assert loaded.licences == ["CC0-1.0"]
    assert identity("embedded:tiny") == {"embedded:tiny": f"{4:064x}"}


def test_a_hundred_thousand_examples_load(tmp_path, write_jsonl):
    rows = ({"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(100_000))
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert len(load(str(path)).examples) == 100_000
