"""Readers of embedded data: the right rows, and the same rows for ever."""

import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest

from retain.data import embedded
from retain.data.embedded import READERS, embedded_facts, load_embedded
from retain.embedded import TABLE
from retain.embedded.table import SUBJECTS
from retain.errors import EmbeddedError

HASHES = {
    "boolq": "e76e9fd83b3c8c60fbb5e75afb3cca9fb7fb5b84f4e4fe8d583ffcc3d7acd79b",
    "piqa": "dd40b76b8cddb8f9e18798ac83dc485641f0f74097af5873f3b1375a81d4b5a2",
    "mmlu": "19bf8b4d2503f9e689da03d46b6a0336f2abd72698554f8c682ccde70f46abc8",
    "commonsenseqa": "92866c7d239174f337c30c392af77439619aa211f89dfc347114a8e5f5d3f68e",
    "openbookqa": "9b3055629fc8767eb39c008454085d826ce83451522ef239ca94056438e50ca6",
    "siqa": "6a20644b61b534e566c118ff799592562c914d41840a8b6447e599bea9d33f15",
    "asdiv": "e7d8a4afc9c73d020e99499fccbec85965e88d69ab935778d460c9230ac45cb2",
    "medmcqa": "38e44e63516f907e154d0af69c345a8f1f30733905e7612d6ae2eabfe7d0bda6",
    "medmcqa-subject": "68432b3a7d0460bcbfdd9e5a140922ba2629a2f0eb5a30ec32f0075f5a82f7cb",
    "pubmedqa": "f6df5f493c02c38c3eaf64a51368270ce81ad1ef11cad2f67621a765dbe36aae",
    "xsum": "27144b0a27fc02c30e271b8280223229b9af3b99d183bab273ca24ab8b8be843",
    "stereoset": "5d09111a45813a7bef7ff97472ce8e74cc9102b72d21414a9c665029a019d8c5",
    "crows-pairs": "7eeeb5383e57570b3fc54251aa32c26aa75bddb30de36a94e64c13f5e20ff748",
    "hindi-prose": "efac3ff3e3d9d0c4c2cabdae04e7e8950e6bf7e8b59d659dbc93ea90fcec9e76",
    "udhr-ne": "339a8ea07f3f0185c2b7360359ac4679e0081c4154ce960cb5a2ce9b536f1867",
}  # fmt: skip
"""sha256 over the rows of every data set that PyPI alone decides. A change of rows needs a higher
``version`` in the table, for it changes what is trained on; then this is changed too."""


@pytest.fixture
def read(monkeypatch):
    """Read given files instead of a package's."""
    monkeypatch.setattr(embedded, "available", lambda packages: ([], []))

    def rows(name: str, files: dict[str, object]) -> list[dict]:
        content = {path: _bytes(value) for path, value in files.items()}
        monkeypatch.setattr(embedded, "read_entry", lambda entry, progress: content)
        return load_embedded(name)

    return rows


def _bytes(value: object) -> bytes:
    if isinstance(value, list):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in value).encode()
    return value if isinstance(value, bytes) else str(value).encode()


def test_every_entry_has_a_reader_and_every_reader_an_entry():
    assert {entry.reader for entry in TABLE.values() if entry.kind == "data"} == set(READERS)


def test_options_become_choices(read):
    raw = {"question": "Which? ", "options": "\nA. one\nB. two\nlines\nC. 3", "answer": "B. two"}
    assert read("piqa", {"x/validation.jsonl": [raw]}) == [
        {
            "question": "Which?",
            "choices": ["one", "two\nlines", "3"],
            "answer": 1,
            "split": "validation",
            "item": sha256(b"Which?").hexdigest()[:16],
        }
    ]


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ("A. same\nB. same\nC. other", "A. same"),
        ("C. three\nD. four", "D. four"),
        ("no letters", "A. no"),
        ("A. one\nB. ", "A. one"),
        ("A. one\nB. two", "C. three"),
    ],
)
def test_an_item_without_one_right_answer_is_left_out(read, options, answer):
    good = {"question": "good", "options": "A. 1\nB. 2", "answer": "A. 1"}
    bad = {"question": "bad", "options": options, "answer": answer}
    assert [row["question"] for row in read("mmlu", {"test.jsonl": [bad, good]})] == ["good"]


def test_two_wrong_choices_may_be_alike(read):
    raw = {"question": "q", "options": "A. same\nB. same\nC. right", "answer": "C. right"}
    assert read("mmlu", {"test.jsonl": [raw]})[0]["answer"] == 2


def test_repeated_rows_come_once_and_passages_stay_together(read):
    raw = {"passage": "P", "question": "q", "options": "A. 1\nB. 2", "answer": "A. 1"}
    rows = read("siqa", {"test.jsonl": [raw, raw, raw | {"question": "other"}]})
    assert [row["question"] for row in rows] == ["q", "other"]
    assert len({row["item"] for row in rows}) == 1
    assert rows[0]["passage"] == "P"


def test_a_line_separator_inside_a_text_does_not_break_the_line(read):
    raw = {"passage": "3 apples.\u2028", "question": "How many?", "answer": "3 apples"}
    assert read("asdiv", {"test.jsonl": [raw]})[0]["completion"] == "3 apples"


def test_boolq_knows_its_splits_and_leaves_out_what_has_no_label(read):
    combined = [
        {"question": "is it", "passage": "Sun -- It is.", "label": True, "idx": 0},
        {"question": "was it?", "passage": "Sun -- It was not.", "label": False, "idx": 1},
        {"question": "will it", "passage": "Moon -- Who knows.", "idx": 2},
    ]
    dev = [{"question": "is it", "title": "Sun", "passage": "It is.", "answer": "True"}]
    rows = read("boolq", {"a/combined.jsonl": combined, "a/dev.jsonl": dev})
    assert [(r["question"], r["answer"], r["label"], r["split"]) for r in rows] == [
        ("is it?", 1, "yes", "validation"),
        ("was it?", 0, "no", "train"),
    ]
    assert len({row["item"] for row in rows}) == 1, "one article"
    assert rows[0]["choices"][rows[0]["answer"]] == "yes"


def test_medmcqa_knows_the_subject(read):
    raw = {"question": "a\n  b", "options": "A. 1\nB. 2", "answer": "B. 2"}
    (row,) = read("medmcqa", {"x/Forensic_Medicine.jsonl": [raw]})
    assert (row["subject"], row["question"], row["answer"]) == ("Forensic Medicine", "a b", 1)


def _exam(subject: str, count: int) -> list[dict]:
    return [{"question": f"Which {subject} number {i}?", "options": ""} for i in range(count)]


def test_subjects_are_balanced_in_turns_and_questions_of_two_subjects_left_out(read):
    files = {f"x/{file}.jsonl": _exam(file, 5 + len(file)) for file in SUBJECTS}
    both = {"question": "A question that two subjects have", "options": ""}
    for file in ("Anatomy", "Dental"):
        files[f"x/{file}.jsonl"] = [*files[f"x/{file}.jsonl"], both]
    files["x/Dental.jsonl"] = [
        *files["x/Dental.jsonl"],
        {"question": "Too short", "options": ""},
        {"question": "long " * 60, "options": ""},
        {"question": "which DENTAL number 0 ?", "options": ""},
    ]
    rows = read("medmcqa-subject", files)
    assert Counter(row["label"] for row in rows) == dict.fromkeys(SUBJECTS.values(), 11)
    assert [row["answer"] for row in rows] == list(range(8)) * 11
    assert all(row["choices"][row["answer"]] == row["label"] == row["subject"] for row in rows)
    asked = [row["question"].split("\n\n") for row in rows]
    assert all(text.startswith("Subjects: Anatomy, ") for text, _ in asked)
    assert not any("two subjects" in question for _, question in asked)
    assert len({row["item"] for row in rows}) == len(rows)


def test_the_choice_of_questions_does_not_depend_on_their_order(read):
    files = {f"x/{file}.jsonl": _exam(file, 9) for file in SUBJECTS}
    files["x/Dental.jsonl"] = _exam("Dental", 40)
    turned = {path: rows[::-1] for path, rows in files.items()}
    assert read("medmcqa-subject", files) == read("medmcqa-subject", turned)


def test_pubmedqa_reads_as_an_abstract(read):
    raw = {"question": "does it?", "passage": "Context (1): One.\nContext (2): Two.\n"}
    (row,) = read("pubmedqa", {"test.jsonl": [raw | {"answer": "maybe"}]})
    assert row["passage"] == "One.\nTwo."
    assert row["choices"][row["answer"]] == row["label"] == "maybe"


def test_xsum_without_a_text_is_left_out(read):
    raw = [
        {"id": "1", "document": " ", "summary": "s"},
        {"id": "2", "document": "Text.", "summary": "Short."},
    ]
    assert read("xsum", {"test.jsonl": raw}) == [
        {"text": "Text.", "summary": "Short.", "split": "train", "item": "2"}
    ]


def test_stereoset_has_three_continuations_and_no_answer(read):
    raw = {
        "type": "intersentence",
        "target": "T",
        "bias_type": "race",
        "context": "C.",
        "stereotype": "S.",
        "anti-stereotype": "A.",
        "unrelated": "U.",
    }
    (row,) = read("stereoset", {"test.jsonl": [raw]})
    assert row["choices"] == ["S.", "A.", "U."]
    assert "answer" not in row


def test_crows_pairs_differ_in_one_word(read):
    table = ',bias_type,sentence,mask1,mask2\n0,age,"Most [MASK] people, they say.",old,young\n'
    (row,) = read("crows-pairs", {"test.csv": table})
    assert row["choices"] == ["Most old people, they say.", "Most young people, they say."]


def test_interface_strings_are_nepali_clean_and_beside_their_english(read, monkeypatch):
    pairs = [
        ("Save the _current document", "हालको कागजात <b>बचत</b> गर्नुहोस्"),
        ("Copy", "प्रतिलिपि बनाउनुहोस् है त"),
        ("A long enough English text", "छोटो"),
        ("Another long English text", "Not translated at all"),
        ("The same thing said twice", "हालको  कागजात बचत गर्नुहोस्"),
    ]
    monkeypatch.setattr(embedded, "messages", lambda content, place: pairs)
    rows = read("nepali-interface", {"django.mo": b""})
    assert [(row["text"], row["english"]) for row in rows] == [
        ("हालको कागजात बचत गर्नुहोस्", "Save the current document")
    ]


def test_an_empty_set_is_an_error(read):
    with pytest.raises(EmbeddedError, match="no row that can be used"):
        read("xsum", {"test.jsonl": []})


def test_a_model_is_not_data():
    with pytest.raises(EmbeddedError, match="is a model, not data; give it as `model:`"):
        load_embedded("smollm2-135m-instruct")


def test_facts_say_licence_versions_and_what_is_left_out(monkeypatch):
    entry = TABLE["nepali-interface"]
    offered = replace(entry.debian[0], version="7", sha256="ab")
    monkeypatch.setattr(embedded, "available", lambda p: ([offered], ["left out: others"]))
    facts = embedded_facts("nepali-interface")
    assert [package["name"] for package in facts["packages"]] == ["Django", "libreoffice-l10n-ne"]
    assert facts["packages"][1]["version"] == "7"
    assert facts["notes"] == [entry.note, "left out: others"]
    assert embedded_facts("piqa")["notes"] == [TABLE["piqa"].note]


def rows_sha256(name: str) -> str:
    rows = load_embedded(name)
    return sha256(json.dumps(rows, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in TABLE if n in HASHES])
def test_the_real_rows_are_those_they_always_were(name):
    assert TABLE[name].num_rows in (0, len(load_embedded(name)))
    assert rows_sha256(name) == HASHES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in TABLE if n.startswith("udhr-")])
def test_every_language_has_enough_distinct_text(name):
    rows = load_embedded(name)
    assert sum(len(row["text"]) for row in rows) >= 600
    assert not any("\\" in row["text"] for row in rows)


@pytest.mark.slow
def test_the_real_interface_strings_are_there():
    rows = load_embedded("nepali-interface")
    assert len(rows) >= 200
    assert all(row["english"] and row["item"] for row in rows)
