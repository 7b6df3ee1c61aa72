"""Minimal pairs: what they are, and that they are scored by likelihood alone."""

import pytest

from retain.evaluate import catalog
from retain.evaluate.api import make_task
from retain.evaluate.ledger import Ledger
from retain.evaluate.run import run as ask
from retain.evaluate.tasks.minimal_pairs import _PAIRS
from retain.measure.statistics import MIN_CLUSTERS


@pytest.fixture
def shipped():
    return catalog.resolve(["minimal_pairs"])


def test_the_group_has_a_task_for_each_kind_of_each_language(shipped):
    names = {f"minimal_pairs_{language}_{kind}" for language, kind in _PAIRS}
    assert {spec["name"] for spec in shipped} == names == set(catalog.MINIMAL_PAIRS)


@pytest.mark.parametrize("which", _PAIRS, ids=" ".join)
def test_the_two_of_a_pair_differ_in_one_word(which):
    pairs = list(_PAIRS[which]())
    assert len(pairs) >= 48
    assert len({right for _, right, _ in pairs}) == len(pairs)
    assert not {right for _, right, _ in pairs} & {wrong for _, _, wrong in pairs}
    for _, right, wrong in pairs:
        differing = [
            one for one in zip(right.split(), wrong.split(), strict=True) if one[0] != one[1]
        ]
        assert len(differing) == 1, (right, wrong)


def test_all_pairs_are_scored_and_frames_suffice_for_an_interval(shipped, engine):
    for spec in shipped:
        task = make_task(spec, engine, limit=None, compat=None)
        assert len(task.division.items) == len(task.documents) >= 48
        report = {one.source_item for one in task.division.items if one.role == "report"}
        assert len(report) >= MIN_CLUSTERS
        assert task.shots([0, 5]) == [0]
        answers = [document["answer"] for document in task.documents]
        assert sum(answers) == len(answers) / 2
        reviewed = "english" in spec["name"]
        assert any("native speaker" in note for note in task.notes) != reviewed


def test_the_likelier_sentence_is_taken(engine):
    [spec] = catalog.resolve(["minimal_pairs_english_case"])
    task = make_task(spec, engine, limit=6, compat=None)
    found = ask([task], engine, [0], Ledger())
    for row in found.items:
        logprobs, answer = row["choice_logprobs"], row["answer"]
        assert row["metric:acc"] == float(logprobs[answer] > logprobs[1 - answer])
    question = task.questions(0)[0]
    document = task.documents[question.item.index]
    whole = engine.rolling(document["choices"])
    assert question.calls[0].continuation == document["choices"][0]
    assert found.items[0]["choice_logprobs"] == pytest.approx(whole, rel=1e-4)
