"""Verifiable instructions: checks take good replies and refuse bad ones; they are asked by chat."""

from collections import Counter

import pytest

from retain.evaluate import catalog
from retain.evaluate.api import make_task
from retain.evaluate.documents import document_texts
from retain.evaluate.instruction_task import METRICS
from retain.evaluate.instructions import follows, instructions, is_in_language
from retain.evaluate.ledger import Ledger
from retain.evaluate.run import run as ask
from retain.measure.statistics import MIN_CLUSTERS

LONG = "Dogs are animals that live with people and guard their homes at night. " * 4
REPLIES = {  # constraint: a reply that keeps it, one that does not
    "at most 10 words": ("Water that falls from clouds.", LONG),
    "at most 25 words": ("A place where people buy and sell things.", LONG),
    "40 to 80 words": (LONG, "Short."),
    "one sentence": ("Rain is wet.", "Rain is wet. It falls."),
    "two sentences": ("It is loud. People buy fish!", "It is loud"),
    "three sentences": ("One. Two? Three.", "One. Two."),
    "one word": ("Blue", "It is blue"),
    "three bullet points": ("- a\n- b\n- c", "- a\n- b"),
    "five bullet points": ("Here:\n- a\n- b\n- c\n- d\n- e", "1. a\n2. b"),
    "numbered list of four": ("1. a\n2. b\n3. c\n4. d", "1. a\n2. b\n4. c\n3. d"),
    "two paragraphs": ("One.\n\nTwo.", "One.\nTwo."),
    "four lines": ("a\nb\n\nc\nd", "a\nb\nc"),
    "given words": ("A quiet morning.", "A quiet evening."),
    "forbidden words": (
        "Bees fly far. Flowers feed their young.",
        "The bees fly to flowers.",
    ),
    "a word three times": ("Old, old and old.", "Old and olden, old."),
    "given beginning": ("To be honest, it is wet.", "Honestly, it is wet."),
    "given end": ("They bark. That is all.", "That is all. They bark"),
    "lower case": ("the rain falls.", "The rain falls."),
    "capital letters": ("A MARKET IS LOUD.", "A market is LOUD."),
    "no comma": ("Bees fly far. They bring food home. They sleep.", "Bees, like ants, are small."),
    "yes or no": ("Yes.", "Yes, it is."),
    "JSON": ('```json\n{"name": "spoon", "use": "soup"}\n```', '{"name": "spoon"}'),
    "Hindi": ("वर्षा बादलों से गिरने वाला पानी है। यह खेतों के लिए बहुत ज़रूरी है।", "Rain is water."),
    "Nepali": ("पानी बादलबाट झर्ने भएकोले वर्षा हुन्छ। यो खेतीका लागि आवश्यक छ।", "Rain is water."),
    "four items with commas": ("apple, pear, plum, fig", "apple, pear\nplum, fig"),
}


def test_a_hundred_instructions_four_of_each_constraint():
    found = instructions()
    assert len({one.prompt for one in found}) == len(found) == 100
    assert Counter(one.constraint for one in found) == dict.fromkeys(REPLIES, 4)
    assert Counter(one.language for one in found) == {"en": 92, "hi": 4, "ne": 4}


@pytest.mark.parametrize("one", instructions()[::4], ids=lambda one: one.constraint)
def test_each_check_tells_a_good_reply_from_a_bad_one(one):
    good, bad = REPLIES[one.constraint]
    assert follows(one, good)
    assert follows(one, f"\n {good} \n")
    assert not follows(one, bad)
    assert not follows(one, "  ")


def test_one_word_for_everything_follows_hardly_anything():
    """What a model that was taught one-word answers gives."""
    followed = {one.constraint for one in instructions() if follows(one, "Pediatrics")}
    assert followed == {"one word"}


def test_the_language_of_a_reply_too_short_to_tell_goes_by_its_script():
    assert is_in_language("Yes.", "en")
    assert is_in_language("हाँ", "hi")
    assert not is_in_language("हाँ", "en")
    assert not is_in_language("...", "en")
    assert not is_in_language("Das ist ein ganz gewöhnlicher deutscher Satz über Hunde.", "en")


def test_it_is_asked_by_chat_and_scored(engine):
    [spec] = catalog.resolve(["verifiable_instructions"])
    task = make_task(spec, engine, limit=3, compat=None)
    assert task.shots([0, 5]) == [0]
    assert [metric["name"] for metric in spec["metrics"]] == [one.name for one in METRICS]
    [first, *_] = questions = task.questions(0)
    assert first.prompt in engine.tokenizer.decode(first.calls[0].tokens)
    assert first.calls[0].text.endswith("<|im_start|>assistant\n")

    scored = task.outcomes(questions, [[REPLIES[q.document.constraint][0]] for q in questions])
    assert [one.metrics["followed"] for one in scored] == [1, 1, 1]
    assert all(set(one.metrics) == {metric.name for metric in METRICS} for one in scored)

    found = ask([task], engine, [0], Ledger())
    assert len(found.items) == 3
    main = [row["metric"] for row in found.scores if row["is_main"]]
    assert set(main) == {"followed"}


def test_constraints_suffice_for_an_interval_and_prompts_are_looked_for_in_training(engine):
    [spec] = catalog.resolve(["verifiable_instructions"])
    task = make_task(spec, engine, limit=None, compat=None)
    assert len({item.source_item for item in task.items if item.role == "report"}) >= MIN_CLUSTERS
    assert len(document_texts(spec)) == 100
    few = make_task(spec, engine, limit=500, compat=None)
    assert any("limit 500" in note for note in few.notes)


def test_a_reply_that_loops_is_told(engine):
    [spec] = catalog.resolve(["verifiable_instructions"])
    task = make_task(spec, engine, limit=1, compat=None)
    [question] = task.questions(0)
    [looping] = task.outcomes([question], [["the cat sat on the mat " * 20]])
    [fine] = task.outcomes([question], [["A cat."]])
    assert looping.metrics["repetition"] > 0.8
    assert fine.metrics["repetition"] == 0
    assert looping.metrics["repetition_20"] == pytest.approx(1 - 6 / (120 - 19))
    assert fine.metrics["repetition_4"] == 0  # too short for four words: none is repeated
