"""What a run's steps took, for whom, and what weighed much."""

import json
from types import SimpleNamespace

from retain.pipeline.graph import Row
from retain.report.collect import _trials
from retain.report.facts import Curve
from retain.report.made import climbs, heavy_tokens, paid_before, seconds_before
from retain.report.scores import Checkpoint
from retain.steps.step import Step

SECONDS = {"rehearse": 100.0, "trainable": 10.0, "boundary": 1.0}


class Records:
    """Every step of a kind took as long; a corpus was killed in between."""

    def record(self, step):
        facts = {"seconds": 1000.0} if step.kind == "rehearse" else {}
        return {"seconds": SECONDS[step.kind], "facts": facts}


def row(arm, phase, *, choice=None, kept=None):
    written = Step("rehearse", "base", 1, {})
    sift = Step("sift", "base", 1, {}, inputs={"written": written})
    mix = Step("mix", f"{arm}-{phase}", 1, {"phase": phase}, inputs={"rehearsed:t": sift})
    inputs = {"mix": mix} | {step.kind: step for step in (choice, kept) if step}
    train = Step("train", f"{arm}-{phase}", 1, {"phase": phase}, inputs=inputs)
    return Row("default", arm, 0, phase, str(phase), train=train, mix=mix)


def test_a_corpus_is_paid_once_by_each_arm_that_reads_it_and_choices_when_they_are_made():
    choice = Step("trainable", "c", 1, {"phase": 3})
    kept = Step("boundary", "c", 1, {"phase": 3})
    rows = [
        row("tree", 2),
        row("tree", 3),
        row("both", 2),
        row("both", 3, choice=choice, kept=kept),
    ]
    found = [seconds_before(one, Records(), paid) for one, paid in paid_before(rows)]
    assert found == [1000, 0, 1000, 11]


def test_unlike_numbers_of_trials_are_told():
    def cells(**arms):
        made = [
            SimpleNamespace(variant="default", base_arm=arm, arm=f"{arm}@{n}")
            for arm, num in arms.items()
            for n in range(num)
        ]  # fmt: skip
        return SimpleNamespace(cells=made)

    [told] = _trials(cells(none=3, replay=3, freeze=1))
    assert "1 of freeze; 3 of none, replay" in told
    assert not list(_trials(cells(none=1, freeze=1)))


def test_few_tokens_that_hold_much_of_the_loss_are_told(tmp_path):
    def source(examples, trained_tokens, loss_weight):
        values = {"examples": examples, "trained_tokens": trained_tokens}
        return values | {"loss_weight": loss_weight}

    class Mixes:
        def open(self, step, name):
            path = tmp_path / name
            spread = source(8, 400, 960.0) if "tree" in step.name else source(8, 22, 962.0)
            sources = {"new": source(144, 18000, 18000.0), "past:skill": spread}
            path.write_text(json.dumps({"sources": sources}))
            return path

    [told] = heavy_tokens([row("replay", 2), row("tree", 2), row("replay", 2)], Mixes())
    assert told.startswith("replay, 2: a trained token of past:skill weighs 44 times a new one")
    assert "8 examples, 22 trained tokens" in told


def curve(arm, losses):
    return Curve(
        checkpoint=Checkpoint("default", arm, 0, 1), phase="a", steps=range(len(losses)),
        losses=losses,
    )  # fmt: skip


def test_a_loss_that_ends_above_its_beginning_is_told_once():
    noise = [0.1, -0.1, 0.0] * 10
    up = [2 + step / 10 + one for step, one in enumerate(noise)]
    [line] = climbs([curve("none", up), curve("replay", list(up))])
    assert line.startswith("none, a: the loss ended above where it began (2.100 to 4.800 nats")
    assert list(climbs([curve("none", up[::-1])])) == []
    assert list(climbs([curve("none", [2 + one for one in noise])])) == []
    assert list(climbs([curve("none", [1.0, 9.0])])) == []
