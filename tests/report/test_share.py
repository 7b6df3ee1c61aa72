"""What may be shown to others: the figures, and none of the secrets planted everywhere else."""

import getpass
import socket
from dataclasses import replace

import pytest

from retain.api.report import is_public
from retain.errors import DataError
from retain.report.facts import Answer, DataFacts, Question
from retain.report.report import write_report
from retain.report.results import Arm, LostArm
from retain.report.share import OWN, shareable
from tests.report.reading import Reader
from tests.report.synthetic import RECIPE
from tests.report.test_judged import judged, pairs

SECRETS = (
    *("/home/alice/work", "alice", "bastion-7", "patient data.jsonl", "patients.jsonl"),
    *("s3cret-sentence", "the deltoid", "C:\\Users\\Alice", "file:///srv", "10.0.0.7"),
    *("alert(1)", "subject 1"),
)
FULL = " ".join(SECRETS)


def planted(results):
    """The run with secrets wherever a run can hold any."""
    phases = [
        {
            **RECIPE["phases"][0],
            "data": [{"source": "/home/alice/work/patients.jsonl", "split": None}],
        },
        {**RECIPE["phases"][1], "data": ["patients.jsonl#100"]},
    ]
    recipe = RECIPE | {
        "model": "/home/alice/work/model",
        "phases": phases,
        "evaluate": {
            "tasks": ["phases", {"name": "mine", "data": "./patients.jsonl", "metric": "chrf"}],
            "include_path": "/home/alice/work",
        },
        "arms": {
            "replay": {
                "methods": [
                    {
                        "method": "generative_replay",
                        "prompts": [FULL, "Tell me of s3cret-sentence."],
                        "past": {"data": ["/home/alice/work/old.jsonl"]},
                        "note": "C:\\Users\\Alice",
                    }
                ]
            }
        },
        "fail_if": [],
        "variants": {"other": {"phases.medicine.data": "patients", "model": "/home/alice/model"}},
    }
    own = DataFacts(
        role="phase medicine",
        source="/home/alice/work/patients.jsonl, embedded:hindi-prose",
        licence=FULL,
        num_train=5,
        num_held_out=5,
        sha256="5f" * 32,
        notes=(FULL,),
    )
    return replace(
        results,
        recipe=recipe,
        run_folder="/home/alice/work/runs/quickstart",
        variants=tuple(replace(one, model="/home/alice/work/model") for one in results.variants),
        arms=tuple(replace(arm, description=FULL) for arm in results.arms),
        models=dict.fromkeys(results.models, "/home/alice/work/models"),
        samples=tuple(
            replace(one, prompt=FULL, reference=FULL, response=FULL) for one in results.samples
        ),
        data=(own, results.data[1]),
        environment=results.environment | {"host": "bastion-7", "user": "alice", "path": FULL},
        command="cd /home/alice/work && retain run patients.yaml",
        notes=(FULL,),
        questions={
            key: dict.fromkeys(one, Question(FULL, FULL)) for key, one in results.questions.items()
        },
        answers={
            key: dict.fromkeys(one, Answer(FULL, 0.5)) for key, one in results.answers.items()
        },
        given={
            key: replace(one, names=tuple(f"{FULL} {n}" for n in range(len(one.names))))
            for key, one in results.given.items()
        },
        corpora=tuple(
            replace(
                one,
                samples=(FULL,),
                removed_samples=((FULL, FULL),),
                likeness=(("extra-patients.jsonl", 0.5, 0.75),),
            )
            for one in results.corpora
        ),
        lineage=tuple(
            replace(one, data=(*one.data, "data/extra-patients.jsonl-0123456789abcdef"))
            for one in results.lineage
        ),
        lost=(LostArm(arm=Arm(name="tree", description=FULL), reason=FULL),),
        judged=tuple(
            judged("pairwise", arm.name, 0, 2, [pairs(1, -1)] * 9, judge="/home/alice/judge")
            for arm in results.arms
        ),
    )


@pytest.fixture(scope="module")
def shared(results, tmp_path_factory):
    """The files that are written, by name."""
    folder = tmp_path_factory.mktemp("shared")
    write_report(shareable(planted(results), is_public), folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".csv", ".tex", ".png", ".svg"}
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("secret", [*SECRETS, "Alice", "5f5f5f5f", "prompts of"])
def test_no_secret_is_in_any_file(shared, secret):
    for name, content in shared.items():
        assert secret.encode() not in content, name


def test_the_figures_are_those_of_the_whole_report(results, shared, tmp_path):
    write_report(results, tmp_path / "whole")
    assert shared["scores.csv"] == (tmp_path / "whole" / "scores.csv").read_bytes()
    of_judge = b",judge_"
    told = [one for one in shared["measures.csv"].splitlines() if of_judge not in one]
    assert told == (tmp_path / "whole" / "measures.csv").read_bytes().splitlines()
    page = shared["report.html"].decode()
    reader = Reader(page)
    assert reader.faults == reader.live == []
    assert "Ship “low_rate”" in page
    assert "embedded:hindi-prose" in page
    assert OWN in reader.text
    assert "Answers before and after" not in page
    assert "data/extra-0123456789abcdef" in page
    assert "answer 1 1" in page.replace("\xa0", " ")
    assert "learning_rate: 0.0002" in page


@pytest.mark.parametrize("where", ["user", "machine"])
def test_a_name_of_this_place_in_an_arm_is_refused(results, monkeypatch, where):
    monkeypatch.setattr(getpass, "getuser", lambda: "alice" if where == "user" else "root")
    monkeypatch.setattr(socket, "gethostname", lambda: "bastion-7" if where == "machine" else "x")
    name = {"user": "for-alice", "machine": "BASTION-7"}[where]
    arms = (replace(results.arms[0], name=name), *results.arms[1:])
    with pytest.raises(DataError, match=f"nothing was shared: '{name}' holds the {where}'s name"):
        shareable(replace(results, arms=arms), is_public)
    shareable(results, is_public)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("embedded:hindi-prose", True),
        ("embedded:hindi-prose#100", True),
        ("org/set", True),
        ("hub:org/set", True),
        ("set", False),
        ("/srv/set", False),
        ("./org/set", False),
        ("~/set", False),
        ("data/set.jsonl", False),
        ("tests/report", False),
        ("models/x.gguf", False),
    ],
)
def test_what_anyone_may_get(reference, expected):
    assert is_public(reference) is expected
