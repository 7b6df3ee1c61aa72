from hypothesis import given
from hypothesis import strategies as st

from retain.execute import by_urgency, ordered
from retain.execute.waiting import Waiting
from tests.execute.toys import toy


@st.composite
def graphs(draw):
    """Steps that each read some of those before."""
    steps = []
    for number in range(draw(st.integers(1, 12))):
        read = draw(st.lists(st.sampled_from(steps), unique=True, max_size=3)) if steps else []
        steps.append(toy(str(number), inputs=read))
    return steps


def all_of(waiting, near=lambda: ()):
    """Take and finish steps until none is left."""
    found = []
    while (step := waiting.best(near())) is not None:
        waiting.take(step)
        waiting.finished(step)
        found.append(step)
    return found


@given(graphs(), st.data())
def test_every_wanted_step_is_done_once_and_after_what_it_reads(steps, data):
    finished = set(data.draw(st.lists(st.sampled_from(steps), unique=True)))
    wanted = data.draw(st.lists(st.sampled_from(steps), unique=True))
    waiting = Waiting(by_urgency(steps), lambda step: step in finished)
    for step in wanted:
        waiting.want(step)
    found = all_of(waiting)

    assert len(found) == len(set(found))
    assert set(wanted) <= set(found)
    for place, step in enumerate(found):
        assert all(one in found[:place] or one in finished for one in step.inputs.values())


@given(graphs(), st.data())
def test_what_waits_for_a_dropped_step_is_dropped_and_nothing_else(steps, data):
    lost = data.draw(st.sampled_from(steps))
    waiting = Waiting(ordered(steps), lambda step: False)
    for step in steps:
        waiting.want(step)
    found = []
    while (step := waiting.best()) is not None:
        waiting.take(step)
        if step == lost:
            waiting.drop(step)
        else:
            waiting.finished(step)
            found.append(step)
    below = {lost}
    for step in steps:
        if below & set(step.inputs.values()):
            below.add(step)

    assert set(found) == set(steps) - below


def test_a_step_that_found_its_input_damaged_waits_until_that_is_done_again():
    a = toy("a")
    b, c = toy("b", inputs=[a]), toy("c", inputs=[a])
    done = {a}
    waiting = Waiting([a, b, c], lambda step: step in done)
    for step in (b, c):
        waiting.want(step)
        waiting.take(step)
    done.clear()
    waiting.again(b, after=[a])
    waiting.again(c, after=[a])

    assert all_of(waiting) == [a, b, c]


def test_what_is_at_hand_goes_before_what_is_urgent():
    a, b = toy("a"), toy("b")
    of_a, of_b = toy("of-a", inputs=[a]), toy("of-b", inputs=[b])
    waiting = Waiting([a, b, of_a, of_b], lambda step: step in (a, b))
    waiting.want(of_a)
    waiting.want(of_b)

    assert waiting.best() == of_a
    assert waiting.best(near=[b]) == of_b
    waiting.take(of_b)
    assert waiting.best(near=[b]) == of_a
    waiting.again(of_b)
    assert waiting.best(near=[b]) == of_b


def test_first_comes_what_the_longest_chain_waits_for():
    a = toy("a")
    score_a, b = toy("score-a", inputs=[a]), toy("b", inputs=[a])
    score_b, leak = toy("score-b", inputs=[b]), toy("leak")

    assert by_urgency([score_a, a, score_b]) == [a, b, score_a, score_b]
    assert by_urgency([score_a, a, leak], at_once=lambda step: step == leak)[0] == leak
