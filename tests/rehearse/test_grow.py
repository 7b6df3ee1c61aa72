"""Growing: order, size, filters, and the same corpus after any interruption."""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.errors import DataError, Interrupted, RecipeError
from retain.rehearse import grow
from retain.rehearse.corpus import Node
from retain.rehearse.grow import Grower
from retain.rehearse.log import Log, Text
from tests.rehearse.growing import NO_FILTERS, ToyPen, Twigs


def grown(corpus, pen=None, **options):
    return Grower(corpus, (), pen or ToyPen(), **options).grow()


def rows(found):
    return [document.row() for document in found.documents]


def test_a_tree_has_its_branching_and_every_line_its_parent():
    found = grown(Twigs(name="t", num_documents=9, branching=(3, 2)))
    names = [row["node"] for row in rows(found)]
    assert names == sorted(names)
    assert [row["depth"] for row in rows(found)] == [1, 2, 2] * 3
    by_name = {row["node"]: row for row in rows(found)}
    for row in rows(found):
        assert (row["parent"] is None) == (row["depth"] == 1)
        assert row["parent"] is None or by_name[row["parent"]]["depth"] == row["depth"] - 1
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]


def test_a_reply_is_asked_with_the_whole_dialogue_before_it():
    pen = ToyPen()
    grown(Twigs(name="t", num_documents=9), pen)
    deepest = pen.asked[-1][0][1]
    roles = [message["role"] for message in deepest.messages]
    assert roles == ["user", "assistant", "user"]


class Parrot(ToyPen):
    """Answers every other question with the question."""

    def text(self, key, ask):
        text = super().text(key, ask)
        if ask.writes == "assistant" and text.num_tokens % 2:
            return replace(text, text=ask.messages[-1]["content"])
        return text


def test_an_answer_that_repeats_its_question_is_asked_for_again():
    found = grown(Twigs(name="t", num_documents=9), Parrot())
    assert found.removed["assistant"]["repeats the question"] > 0
    for row in rows(found):
        question, answer = (message["content"] for message in row["messages"])
        assert question != answer


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 60),
    by_token=st.booleans(),
    branching=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 5),
)
def test_a_smaller_corpus_is_the_beginning_of_a_larger_one(size, by_token, branching, seed):
    def made(extra):
        asked = {"num_tokens" if by_token else "num_documents": size + extra}
        return grown(Twigs(name="t", branching=branching, **asked), seed=seed)

    small, large = made(0), made(9)
    first_tree = [row for row in rows(small) if row["node"].startswith("0.")]
    assert first_tree == rows(large)[: len(first_tree)]
    corpus = Twigs(name="t", **{"num_tokens" if by_token else "num_documents": 1})
    assert len(small.documents) == 1 or corpus.size(small.documents) <= size
    assert by_token or len(small.documents) == size


def test_what_a_filter_removes_is_asked_again_and_counted():
    found = grown(Twigs(name="t", num_documents=3, branching=(3,)), ToyPen(bad=("0.1/0", "0.1/1")))
    assert len(found.documents) == 3
    assert found.removed["user"] == {"empty": 2}
    assert found.num_written == {"user": 5, "assistant": 3}


def test_what_went_through_the_model_is_counted():
    class Embedding(ToyPen):
        def embed(self, texts):
            return np.ones((len(texts), 3))

    def passes(**options):
        found = grown(Twigs(name="t", num_documents=3, branching=(3,), **options), Embedding())
        questions = sum(document.num_tokens for document in found.documents)
        return found.token_passes - 10 * found.num_written.total(), found.tokens_written, questions

    counted, written, _ = passes()  # a toy reads ten tokens for each text
    assert counted == written
    counted, written, kept = passes(max_similarity=0.9)  # and questions are compared
    assert written < counted < written + kept


def test_a_place_that_stays_empty_is_given_up_and_the_next_tree_fills_up():
    pen = ToyPen(bad=("0.1/0", "0.1/1", "0.1/2"))
    found = grown(Twigs(name="t", num_documents=3, branching=(3,)), pen)
    assert [row["node"] for row in rows(found)] == ["0.0.0", "0.2.0", "1.0.0"]


def test_a_model_that_writes_nothing_is_stopped_and_shown():
    class Mute(ToyPen):
        def text(self, key, ask):
            return (
                super().text("", ask) if ask.writes == "user" else ToyPen(bad=("",)).text(key, ask)
            )

    with pytest.raises(
        DataError, match=r"t: the model wrote 96 texts; 0 of 4 documents(.|\n)*empty"
    ):
        grown(Twigs(name="t", num_documents=4, branching=(4,), filters=NO_FILTERS), Mute())


def test_a_model_that_falls_silent_is_stopped_soon_after():
    class Tired(ToyPen):
        def text(self, key, ask):
            return super().text(key, ask) if key.startswith("0/0.") else Text("", 1, finished=True)

    with pytest.raises(DataError, match=r"the model wrote 104 texts; \d+ of 5000 tokens"):
        grown(Twigs(name="t", num_tokens=5000, branching=(1,)), Tired())


def test_a_first_tree_of_which_nothing_is_kept_does_not_end_the_corpus():
    pen = ToyPen(bad=("0/0.0/0", "0/0.0/1", "0/0.0/2"))
    found = grown(Twigs(name="t", num_documents=2, branching=(1,)), pen)
    assert [row["node"] for row in rows(found)] == ["1.0.0", "2.0.0"]


def test_prompts_whose_answers_are_all_removed_are_not_called_nothing_to_ask():
    class Once(Twigs):
        def expand(self, node, examples, rng):
            return super().expand(node, examples, rng) if node.path[0] == 0 else ()

    class Mute(ToyPen):
        def text(self, key, ask):
            return Text("", 1, finished=True)

    with pytest.raises(DataError, match="the model wrote 3 texts; 0 of 2 documents"):
        grown(Once(name="t", num_documents=2, branching=(1,)), Mute())


@pytest.mark.parametrize("size", [{}, {"num_documents": 0}, {"num_documents": 3, "num_tokens": 9}])
def test_a_corpus_has_one_size(size):
    with pytest.raises(RecipeError, match="t: a corpus has either num_documents or num_tokens"):
        Twigs(name="t", **size)


def test_what_does_not_fit_into_the_model_ends_its_branch():
    class Narrow(ToyPen):
        def fits(self, ask):
            return len(ask.messages) < 2

    found = grown(Twigs(name="t", num_documents=4, branching=(4, 2)), Narrow())
    assert [row["depth"] for row in rows(found)] == [1] * 4
    assert found.removed["user"][grow.TOO_LONG] == 8


def test_a_model_without_room_for_a_first_question_is_told_and_not_asked_for_ever():
    class Narrow(ToyPen):
        def fits(self, ask):
            return False

    with pytest.raises(DataError, match=r"wrote 0 texts.* too long for the model 100(.|\n)*Lower"):
        grown(Twigs(name="t", num_documents=4, branching=(4, 2)), Narrow())


def test_nothing_to_ask_is_an_error():
    class Silent(Twigs):
        def expand(self, node, examples, rng):
            return ()

    with pytest.raises(DataError, match="nothing to ask the model"):
        grown(Silent(name="t", num_documents=4))


def test_a_stop_anywhere_and_a_second_start_give_the_same_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(grow, "PORTION", 4)
    corpus = Twigs(name="t", num_documents=30, branching=(3, 2))
    whole_pen = ToyPen()
    whole = grown(corpus, whole_pen)
    for num_portions in range(len(whole_pen.asked)):
        path = tmp_path / f"{num_portions}.jsonl"
        pen = ToyPen()
        with pytest.raises(Interrupted):
            grown(
                corpus,
                pen,
                log=Log(path, "a"),
                stop=lambda n=num_portions, p=pen: len(p.asked) >= n,
            )
        with path.open("ab") as stream:  # torn by a kill
            stream.write(b'{"key": "0.0/0", "te')
        rest = ToyPen()
        again = grown(corpus, rest, log=Log(path, "a"))
        assert (rows(again), again.token_passes) == (rows(whole), whole.token_passes)
        assert pen.asked + rest.asked == whole_pen.asked


def test_a_log_of_something_else_is_begun_anew(tmp_path):
    corpus, path = Twigs(name="t", num_documents=9), tmp_path / "log.jsonl"
    grown(corpus, log=Log(path, "a"))
    pen = ToyPen()
    grown(corpus, pen, log=Log(path, "b"))
    assert pen.asked


def test_progress_reaches_its_end_and_never_turns_back():
    class Mumbling(ToyPen):
        """A third of what it writes is of no use."""

        def text(self, key, ask):
            useless = sha256(key.encode()).digest()[0] % 3 == 0
            return Text("", 5, finished=True) if useless else super().text(key, ask)

    seen = []
    corpus = Twigs(name="t", num_tokens=400, branching=(3, 2))
    grown(corpus, Mumbling(), progress=lambda done, total, *of: seen.append((done, total, of[-1])))
    assert {total for _, total, _ in seen} == {400}
    assert {unit for *_, unit in seen} == {"tokens"}
    how_far = [done for done, *_ in seen]
    assert how_far == sorted(how_far)
    assert how_far[-1] == 400
    assert how_far[len(how_far) // 2] < 300  # what filters remove is no progress


def test_the_examples_come_in_an_order_of_the_seed():
    orders = []

    class Looking(Twigs):
        def expand(self, node, examples, rng):
            if node == Node(path=(0,)):
                orders.append(tuple(examples))
            return super().expand(node, examples, rng)

    for seed in (0, 0, 1):
        Grower(Looking(name="t", num_documents=3), range(20), ToyPen(), seed=seed).grow()
    assert orders[0] == orders[1] != orders[2]


def test_an_answer_that_is_cut_off_is_trimmed_or_dropped():
    class Breathless(ToyPen):
        def text(self, key, ask):
            found = super().text(key, ask)
            if ask.writes == "user":
                return found
            whole = key.startswith("0/0.0.")
            end = "" if whole else ", which mea"
            return replace(found, text=f"{found.text} And{end}", finished=False)

    def endings(cut_off):
        corpus = Twigs(name="t", num_documents=2, branching=(2,), cut_off=cut_off)
        found = grown(corpus, Breathless())
        return [document.messages[-1]["content"][-1] for document in found.documents]

    assert endings("trim") == [".", "."]
    with pytest.raises(DataError, match="cut off 36"):
        endings("drop")


def test_a_question_that_was_asked_in_other_words_does_not_grow_on():
    class Repeating(ToyPen):
        def embed(self, texts):
            return np.array([[float(len(text) % 2 == 0), 1.0, 0.0] for text in texts])

    corpus = Twigs(name="t", num_documents=16, branching=(24,), max_similarity=0.99)
    found = grown(corpus, Repeating())
    assert len(found.documents) == 16
    assert found.removed["user"][grow.SAID_BEFORE] == 3 * 8
