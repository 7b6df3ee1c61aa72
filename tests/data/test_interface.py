"""Sets made of interface strings: no cluster on two sides, fair choices."""

from collections import Counter

import pytest

from retain.data import interface
from retain.data.interface import SPLITS, choices, clustered, definitions, documents, programs

CONSONANTS = "कखगघचछजझटठडढतथदधनपफबभमयरलवशषसह"


def word(number):
    base = len(CONSONANTS)
    return "".join(CONSONANTS[(number // base**k + 7 * k) % base] for k in range(4))


def rows(number=600):
    """Strings of five words, in two programs, each with its English."""
    return [
        {
            "text": " ".join(word(5 * n + k) for k in range(5)),
            "english": f"message about {chr(97 + n % 26)}{'xyz'[n % 3]}{'bcdfg'[n // 26 % 5]}"
            f"{'hjklm'[n // 130]} thing",
            "program": f"program{n % 2}",
        }
        for n in range(number)
    ]


def test_near_duplicates_of_either_side_are_one_cluster():
    one = {"program": "p", "english": "Open %s now", "text": "खोल्नुहोस् %s"}
    same_english = {"program": "q", "english": "open 2 now!", "text": "अर्को"}
    same_nepali = {"program": "q", "english": "Something else", "text": "अर्को…"}
    other = {"program": "q", "english": "Close", "text": "बन्द"}
    made = clustered([one, same_english, same_nepali, other])
    assert len({row["item"] for row in made[:3]}) == 1
    assert made[3]["item"] != made[0]["item"]
    assert [row["split"] for row in made[:3]] == [made[0]["split"]] * 3
    backwards = clustered([other, same_nepali, same_english, one])
    assert [row["item"] for row in backwards] == [row["item"] for row in reversed(made)]


def test_splits_hold_their_part():
    parts = Counter(row["split"] for row in clustered(rows()))
    assert set(parts) == set(SPLITS)
    assert 0.3 < parts["translation"] / 600 < 0.5


def test_documents_take_turns_and_use_each_string_once():
    made = list(documents(rows()))
    texts = {row["text"] for row in rows()}
    lines = [line for document in made for line in document["text"].split("\n")]
    assert len(lines) == len(set(lines))
    for document in made:
        turns = [line in texts for line in document["text"].split("\n")]
        assert turns == [place % 2 == 0 for place in range(len(turns))]


def test_choices_are_of_like_length_and_only_one_is_right():
    made = list(choices(rows()))
    right = {row["english"]: row["text"] for row in rows()}
    assert len(made) > 20
    for one in made:
        english = one["question"].rpartition("\n")[2]
        assert one["choices"][one["answer"]] == right[english]
        assert len(set(one["choices"])) == 4
        assert max(map(len, one["choices"])) <= 1.2 * min(map(len, one["choices"]))
    assert min(Counter(one["answer"] for one in made).values()) > 0.1 * len(made)


def test_a_choice_with_a_number_or_a_latin_word_is_left_out():
    marked = [row | {"text": row["text"] + " GTK 3"} for row in rows()]
    assert list(choices(marked)) == []


@pytest.mark.parametrize("side", ["english", "text"])
def test_programs_are_balanced_and_halves_share_no_item(side):
    made = list(programs(side)(rows()))
    counts = Counter(row["label"] for row in made)
    assert len(set(counts.values())) == 1
    halves = {half: {r["item"] for r in made if r["split"] == half} for half in ("first", "second")}
    assert all(halves.values())
    assert not halves["first"] & halves["second"]


def test_both_languages_ask_the_same_items():
    english, nepali = (list(programs(side)(rows())) for side in ("english", "text"))
    assert [row["item"] for row in english] == [row["item"] for row in nepali]


def test_a_dictionary_is_read():
    content = "UTF-8\nघर|2\n(नाम)|बस्ने ठाउँ|आवास\n(नाम)|परिवार\nबाटो|1\n(नाम)|बाटो\n".encode()
    assert [(row["word"], row["meaning"]) for row in definitions(content)] == [
        ("घर", "बस्ने ठाउँ"),
        ("घर", "आवास"),
        ("घर", "परिवार"),
    ]


def test_meanings_are_asked_with_three_others():
    rows = [
        {"word": word(n), "meaning": " ".join(word(9 * n + k) for k in range(5)), "item": str(n)}
        for n in range(40)
    ]
    made = list(interface.meanings(rows))
    assert len(made) == 40
    assert all(len(one["choices"]) == 4 for one in made)
