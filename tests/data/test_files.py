import json

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from retain.data import files
from retain.data.fault import Fault
from retain.data.files import Row, read_file


def read(path):
    return list(read_file(path, path.name))


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def faults_of(found):
    return [(one.where, one.kind) for one in found if isinstance(one, Fault)]


def test_jsonl_lines_are_numbered_and_blank_ones_passed_over(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "one"}\n\n  \n{"text": "दो"}')
    assert read(path) == [
        Row("a.jsonl:1", {"text": "one"}, "a.jsonl"),
        Row("a.jsonl:4", {"text": "दो"}, "a.jsonl"),
    ]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"text": "a"', "bad JSON"),
        (b'{"text": "a",}', "bad JSON"),
        (b'{"text": NaN}', "bad JSON"),
        (b"[" * 100_000, "bad JSON"),
        (b'{"n": ' + b"1" * 5000 + b"}", "bad JSON"),
        (b'{"text": "\\ud800"}', "bad JSON"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b'"only a string"', "wrong type"),
        (b"[1, 2]", "wrong type"),
        (b"null", "wrong type"),
    ],
)
def test_a_broken_line_is_named_and_the_rest_read(tmp_path, line, kind):
    good = b'{"text": "fine"}\n'
    path = write(tmp_path, "a.jsonl", good * 16 + line + b"\n" + good)
    found = read(path)
    assert faults_of(found) == [("a.jsonl:17", kind)]
    assert len(found) == 18


def test_a_byte_order_mark_is_a_fault_and_the_line_is_read(tmp_path):
    path = write(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n')
    found = read(path)
    assert faults_of(found) == [("a.jsonl:1", "BOM")]
    assert found[1] == Row("a.jsonl:1", {"text": "a"}, "a.jsonl")


def test_an_empty_file_is_a_fault(tmp_path):
    assert faults_of(read(write(tmp_path, "a.jsonl", ""))) == [("a.jsonl", "empty")]


def test_a_line_of_ten_megabytes_is_read(tmp_path):
    text = "x" * 10_000_000
    [row] = read(write(tmp_path, "a.jsonl", json.dumps({"text": text}) + "\n"))
    assert row.values["text"] == text


def test_a_line_without_end_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 2**20)
    long = b'{"text": "' + b"x" * 3_500_000 + b'"}\n'
    found = read(write(tmp_path, "a.jsonl", b'{"a": 1}\n' + long + b'{"b": 2}\n'))
    assert faults_of(found) == [("a.jsonl:2", "over-long")]
    assert found[2] == Row("a.jsonl:3", {"b": 2}, "a.jsonl")


def test_a_json_array_gives_each_element_its_line(tmp_path):
    path = write(tmp_path, "a.json", '[\n {"a": 1},\n\n {"a":\n 2}\n , {"a": 3}\n]\n')
    assert [(row.where, row.values["a"]) for row in read(path)] == [
        ("a.json:2", 1),
        ("a.json:4", 2),
        ("a.json:6", 3),
    ]
    assert read(write(tmp_path, "b.json", "[]")) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[\n{"a": 1}\n{"a": 2}]', "a.json:3"),
        ('[\n{"a": 1},\n{"a": }]', "a.json:3"),
        ('[\n{"a": 1},\n', "a.json:3"),
        ('[\n{"a": 1}\n', "a.json:3"),
        ('[{"a": "\\ud800"}]', "a.json:1"),
    ],
)
def test_a_broken_array_names_the_line(tmp_path, text, where):
    assert faults_of(read(write(tmp_path, "a.json", text))) == [(where, "bad JSON")]


def test_a_json_array_that_is_not_utf8_names_the_line(tmp_path):
    path = write(tmp_path, "a.json", b'[\n{"a": "\xff"}]')
    assert faults_of(read(path)) == [("a.json:2", "not UTF-8")]


def test_a_json_array_with_a_byte_order_mark_is_read(tmp_path):
    found = read(write(tmp_path, "a.json", b'\xef\xbb\xbf[{"a": 1}]'))
    assert faults_of(found) == [("a.json:1", "BOM")]
    assert len(found) == 2


def test_json_lines_under_the_ending_json(tmp_path):
    path = write(tmp_path, "a.json", '{"a": 1}\n{"a": 2}\n')
    assert [row.where for row in read(path)] == ["a.json:1", "a.json:2"]


def test_csv_reads_lists_and_counts_lines_of_quoted_cells(tmp_path):
    path = write(
        tmp_path,
        "a.csv",
        'question,choices,answer\n"two\nlines","[""a"", ""b""]",b\nnext,[broken,\n',
    )
    assert read(path) == [
        Row("a.csv:2", {"question": "two\nlines", "choices": ["a", "b"], "answer": "b"}, "a.csv"),
        Row("a.csv:4", {"question": "next", "choices": "[broken", "answer": None}, "a.csv"),
    ]


def test_tsv(tmp_path):
    [row] = read(write(tmp_path, "a.tsv", "prompt\tcompletion\na, b\tc\n"))
    assert row.values == {"prompt": "a, b", "completion": "c"}


def test_csv_faults(tmp_path):
    path = write(tmp_path, "a.csv", b"\xef\xbb\xbfa,b\n1\n\xff,2\n1,2\n")
    assert faults_of(read(path)) == [
        ("a.csv:1", "BOM"),
        ("a.csv:2", "missing column"),
        ("a.csv:3", "not UTF-8"),
    ]
    assert faults_of(read(write(tmp_path, "b.csv", 'a,b\n"1"x,2\n'))) == [("b.csv:2", "wrong type")]


def test_parquet_rows_are_plain_values(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"messages": [{"role": "user", "content": "हाँ"}], "n": 1}, {"messages": [], "n": None}]
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    assert [row.values for row in read(path)] == rows
    assert [row.where for row in read(path)] == ["a.parquet:1", "a.parquet:2"]


def test_a_broken_parquet_file_is_a_fault(tmp_path):
    assert faults_of(read(write(tmp_path, "a.parquet", "PAR1 no"))) == [
        ("a.parquet:1", "wrong type")
    ]
