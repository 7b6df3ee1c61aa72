import json

import pytest

from retain.data.sources import identity
from retain.data.step import read_examples, run
from retain.errors import DataError


def question(number):
    words = ("heart", "bones", "nerve")
    return {
        "question": f"what is the name of part number {number} of the human body?",
        "choices": list(words),
        "answer": number % 3,
        "license": "MIT",
    }


@pytest.fixture
def file(tmp_path, write_jsonl):
    return write_jsonl(tmp_path / "q.jsonl", [question(n) for n in range(300)])


@pytest.fixture
def done(tmp_path, fake_work):
    """Runs the step and gives its work; each time into a new folder."""

    def run_step(sources, settings=None, places=None, files=None):
        folder = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        given = {"sources": sources, "held_out": {}} | (settings or {})
        work = fake_work(folder, given, files=files)
        run(work, places)
        return work

    return run_step


def test_what_is_written(done, file):
    work = done([{"source": str(file)}])
    train, held_out = work.rows("train.jsonl"), work.rows("heldout.jsonl")
    assert (len(train), len(held_out)) == (270, 30)
    assert not {row["id"] for row in train} & {row["id"] for row in held_out}
    assert {row["role"] for row in held_out} == {"pool", "select", "report"}
    facts = work.json("facts.json")
    assert facts["counts"] == {
        "train": 270, "held_out": 30, "pool": 3, "select": 9, "report": 18, "items": 300,
        "repeated_across_sources": 0,
    }  # fmt: skip
    assert facts["label_counts"]["held_out"] == {"heart": 10, "bones": 10, "nerve": 10}
    assert facts["licences"] == ["MIT"]
    assert facts["kinds"] == {"choices": 300}
    assert facts["bytes"]["held_out"] > 1000
    assert facts["languages"]["en"] > 0.5
    assert work.facts == {"examples": 270, "held_out": 30}
    assert [e.id for e in read_examples(work.output / "train.jsonl")] == [r["id"] for r in train]


def test_the_result_follows_from_content_not_from_place_or_order(done, file, tmp_path, write_jsonl):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    moved = write_jsonl(tmp_path / "far" / "q.jsonl", rows[::-1])
    first, second = done([{"source": str(file)}]), done([{}], places=[str(moved)])
    assert first.rows("heldout.jsonl") == second.rows("heldout.jsonl")
    assert first.rows("train.jsonl") == second.rows("train.jsonl")[::-1]


def test_places_come_beside_the_settings(done, file):
    class Listed:
        source = str(file)

    work = done([{"sample": 40}], places=[Listed()])
    assert work.json("facts.json")["counts"]["train"] == 36
    with pytest.raises(ValueError, match=r"shorter|longer"):
        done([{}, {}], places=[Listed()])


def test_without_held_out_all_is_for_training(done, file):
    work = done([{"source": str(file)}], {"held_out": None})
    assert len(work.rows("train.jsonl")) == 300
    assert work.rows("heldout.jsonl") == []


def test_content_that_changed_since_planning_is_refused(done, file):
    files = {f"0:{label}": digest for label, digest in identity(str(file)).items()}
    done([{"source": str(file)}], files=files)
    file.write_text(file.read_text() + json.dumps(question(300)) + "\n")
    with pytest.raises(DataError, match=r"changed since the run was planned \(1 of"):
        done([{"source": str(file)}], files=files)


def test_several_sources_keep_their_names_and_shares(done, file, tmp_path, write_jsonl):
    other = write_jsonl(tmp_path / "else" / "q.jsonl", [question(n) for n in range(290, 320)])
    work = done([{"source": str(file)}, {"source": str(other), "share": 0.1}])
    facts = work.json("facts.json")
    assert facts["counts"]["repeated_across_sources"] == 10
    assert list(facts["sources"]) == ["q.jsonl", "q.jsonl (2)"]
    assert [of["share"] for of in facts["sources"].values()] == [None, 0.1]
    names = {row["source"] for row in work.rows("train.jsonl")}
    assert names == {"q.jsonl", "q.jsonl (2)"}


def test_max_items_nests(done, file):
    few, more = (done([{"source": str(file)}], {"max_items": n}) for n in (50, 100))
    ids = [
        {row["id"] for name in ("train.jsonl", "heldout.jsonl") for row in work.rows(name)}
        for work in (few, more)
    ]
    assert (len(ids[0]), len(ids[1])) == (50, 100)
    assert ids[0] < ids[1]


def test_items_are_read_from_the_column_that_is_named(done, tmp_path, write_jsonl):
    rows = [question(n) | {"patient": n // 10} for n in range(300)]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    work = done([{"source": str(path)}], {"held_out": {"fraction": 0.2, "group_by": "patient"}})
    trained = {row["item"] for row in work.rows("train.jsonl")}
    assert not trained & {row["item"] for row in work.rows("heldout.jsonl")}
    assert work.json("facts.json")["counts"]["items"] == 30


def test_notes_say_what_was_left_out(done, tmp_path, write_jsonl):
    rows = [question(n) | {"split": "train" if n % 4 else "dev"} for n in range(100)]
    rows = [row | {"pair": f"{n // 2}"} for n, row in enumerate(rows)]
    path = write_jsonl(tmp_path / "n.jsonl", [*rows, rows[1]])
    held_out = {"count": 11, "group_by": "pair"}
    facts = done([{"source": str(path)}], {"held_out": held_out}).json("facts.json")
    got = facts["counts"]["held_out"]
    assert got in (10, 11)
    assert facts["notes"] == [
        "n.jsonl: 1 rows repeat an earlier one and are left out",
        "n.jsonl: split train is used, not dev",
        *[f"11 examples were to be held out; whole items give {got}"] * (got != 11),
    ]


def test_broken_data_stops_before_anything_is_written(done, tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text('{"text": "fine"}\n' * 16 + "{broken\n")
    with pytest.raises(DataError, match=r"b.jsonl:17: bad JSON"):
        done([{"source": str(path)}])
    assert list((tmp_path / "out0").iterdir()) == []
