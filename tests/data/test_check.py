import subprocess
import sys
from pathlib import Path

import pytest

import retain.data
from retain.data.check import check, languages, quantiles
from retain.errors import DataError

ASKED = {"role": "user", "content": "which one sat?"}
SAID = {"role": "assistant", "content": "the cat"}


def places(report):
    return [(fault.where, fault.kind) for fault in report.faults]


def test_every_fault_is_named_with_its_line(tmp_path, tokenizer):
    path = tmp_path / "a.jsonl"
    lines = [
        b'\xef\xbb\xbf{"text": "the cat sat"}',
        b'{"text": "the dog ran"',
        b'{"text": "\xff"}',
        b'{"text": 5}',
        b'{"txt": "a"}',
        b'{"text": "  "}',
        b'{"text": "the cat sat"}',
        b'{"text": "' + b"the cat and the dog " * 20 + b'"}',
        b'{"text": "yes", "more": [1]}',
    ]
    path.write_bytes(b"\n".join(lines))
    report = check(str(path), tokenizer, max_length=32)
    assert places(report) == [
        ("a.jsonl:1", "BOM"),
        ("a.jsonl:2", "bad JSON"),
        ("a.jsonl:3", "not UTF-8"),
        ("a.jsonl:4", "wrong type"),
        ("a.jsonl:5", "missing column"),
        ("a.jsonl:6", "empty"),
        ("a.jsonl:7", "duplicate"),
        ("a.jsonl:8", "over-long"),
    ]
    assert "same content as a.jsonl:1" in str(report.faults[6])
    assert report.num_examples == 4


def test_masked_rows_are_named(tmp_path, tokenizer, write_jsonl):
    long = ASKED | {"content": "which one sat? " * 30}
    path = write_jsonl(
        tmp_path / "a.jsonl",
        [
            {"messages": [ASKED, SAID | {"train": False}]},
            {"messages": [long, SAID]},
            {"messages": [ASKED, SAID]},
        ],
    )
    report = check(str(path), tokenizer, max_length=48)
    assert places(report) == [
        ("a.jsonl:1", "all tokens masked"),
        ("a.jsonl:2", "all tokens masked"),
    ]
    assert "every trained token would be cut off" in report.faults[1].text
    assert check(str(path), tokenizer).faults == report.faults[:1]


def test_a_template_that_refuses_is_a_fault(tmp_path, with_template, write_jsonl):
    tokenizer = with_template("{{ raise_exception('only users') }}")
    path = write_jsonl(tmp_path / "a.jsonl", [{"messages": [ASKED, SAID]}])
    assert places(check(str(path), tokenizer)) == [("a.jsonl:1", "template")]


def test_statistics(tmp_path, tokenizer, write_jsonl):
    rows = [
        {"question": f"{n} sat?", "choices": ["a", "b"], "answer": n % 2, "label": str(n % 2)}
        | {"split": "train" if n < 8 else "dev", "license": "CC-BY-4.0"}
        for n in range(10)
    ]
    report = check(str(write_jsonl(tmp_path / "a.jsonl", rows)), tokenizer)
    assert report.faults == []
    assert report.num_examples == 10
    assert report.splits == {"train": 8, "dev": 2}
    assert report.formats == {"choices": 10}
    assert report.labels == {"0": 5, "1": 5}
    assert report.characters == {0: 8, 0.05: 8, 0.5: 8, 0.95: 8, 1: 8}
    assert report.num_trained_tokens == 20
    assert report.tokens[0.5] * 10 == pytest.approx(report.num_tokens, abs=10)
    assert report.tokens_per_word == report.num_tokens / 30
    assert report.licences == ["CC-BY-4.0"]
    dev = check({"source": str(tmp_path / "a.jsonl"), "split": "dev"})
    assert (dev.num_examples, dev.tokens, dev.tokens_per_word) == (2, {}, None)


def test_an_empty_source_is_a_fault(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    assert places(check(str(tmp_path / "a.jsonl"))) == [(str(tmp_path / "a.jsonl"), "empty")]
    with pytest.raises(DataError, match="no such file"):
        check(str(tmp_path / "b.jsonl"))


def test_a_line_of_ten_megabytes_is_checked(tmp_path, write_jsonl):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "the cat " * 1_250_000}, {"text": "a"}])
    report = check(str(path))
    assert report.faults == []
    assert report.characters[1] == 10_000_000


def test_languages():
    hindi = "यह एक किताब है और वह घर जा रहा है"
    english = "the cat sat on the mat while the dog ran to the sea"
    assert languages([hindi, hindi, hindi, english]) == {"hi": 0.75, "en": 0.25}
    assert languages([]) == {}


def test_quantiles():
    assert quantiles(range(101)) == {0: 0, 0.05: 5, 0.5: 50, 0.95: 95, 1: 100}
    assert quantiles([]) == {}


def test_nothing_heavy_is_loaded_by_import():
    folder = Path(retain.data.__file__).parent
    modules = sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")
    code = (
        f"import sys; [__import__('retain.data.' + name) for name in {modules}]; "
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'py3langid', 'jinja2'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
