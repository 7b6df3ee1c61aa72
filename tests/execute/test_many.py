"""The leader: what is given to whom, and what becomes of a step whose worker fails."""

import threading
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings

from retain.errors import DataError, Interrupted, RecipeError, RetainError, StoreError
from retain.execute import Memory, carry_out, carry_out_by, many, ordered, worker
from retain.execute import here as here_executor
from retain.execute.many import MAX_DEATHS
from retain.execute.told import Gone, Refused, UnforeseenError
from retain.execute.worker import Assignment
from retain.steps import Journal, Store, read_journal
from retain.steps.packed import pack, unpack
from tests.execute import toys
from tests.execute.test_waiting import graphs
from tests.execute.threads import Threads
from tests.execute.toys import toy


@pytest.fixture
def go(store, journal, heard):
    """Carry a graph out by threads; what the staff saw is kept in ``go.staff``."""

    def do(graph, most=2, run=toys.run, **more):
        assignment = Assignment(store.root, pack(ordered(graph)), run)
        do.staff = Threads(assignment, most)
        return carry_out_by(do.staff, graph, store, journal=journal, listener=heard, **more)

    return do


def events(journal, kind):
    return [event for event in read_journal(journal.path) if event["event"] == kind]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=graphs())
def test_many_workers_leave_what_one_process_leaves(steps, tmp_path_factory, journal, monkeypatch):
    for module in (here_executor, worker):  # it looks at every object of the tests
        monkeypatch.setattr(module, "give_back_memory", lambda: None)
    here, there = (Store(tmp_path_factory.mktemp("runs")) for _ in range(2))
    alone = carry_out(steps, here, run=toys.run, journal=journal)
    staff = Threads(Assignment(there.root, pack(ordered(steps)), toys.run), 3)
    together = carry_out_by(staff, steps, there, journal=journal)

    assert set(together.done) == set(alone.done) == set(steps)
    assert (together.reused, together.failed) == ((), {})
    for step in steps:
        texts = [store.open(step, "text").read_bytes() for store in (here, there)]
        assert texts[0] == texts[1]


@given(steps=graphs())
def test_a_packed_graph_is_the_same_graph(steps):
    found = unpack(pack(steps))

    assert found == steps
    assert [step.describe() for step in found] == [step.describe() for step in steps]


def test_a_long_chain_can_be_sent():
    steps = [toy("0")]
    for number in range(1, 3000):
        steps.append(toy(str(number), inputs=[steps[-1]]))

    assert unpack(pack(steps))[-1] == steps[-1]


def test_every_step_is_done_once_and_then_reused(go, journal, heard):
    a, b = toy("a"), toy("b")
    graph = [a, b, toy("c", inputs=[a, b])]
    first, second = go(graph), go(graph)

    assert set(first.done) == set(graph) == set(second.reused)
    assert (first.reused, second.done) == ((), ())
    assert go.staff.hired == []  # nothing to do, nobody hired
    started = events(journal, "step started")
    assert [event["step"] for event in started][2] == graph[2].folder
    assert {event["worker"].split()[0] for event in started} == {"thread"}
    assert {event["name"] for event in events(journal, "written")} == {"a", "b", "c"}
    assert ("start", "c", 3, 3) in heard.told
    assert ("progress", "c", 1, 1, "all", "names") in heard.told


def test_workers_that_die_as_they_start_do_not_end_those_that_work(go, journal, heard, monkeypatch):
    """A node that dies again and again is none of the others' business."""
    now = [0.0]
    monkeypatch.setattr(many, "time", SimpleNamespace(monotonic=lambda: now[0]))
    hire, hired = Threads.hire, []

    def hire_some(staff):
        hired.append(now[0])
        if len(hired) == 1 or len(hired) > MAX_DEATHS + 2:
            return hire(staff)
        dying = type("Dying", (), {"name": "dying"})()
        staff.told.put((dying, Gone("it cannot begin")))
        return dying

    def run(work):
        while work.step.name == "0" and len(hired) < MAX_DEATHS + 3:
            if len(hired) > MAX_DEATHS:
                now[0] += many.PAUSE_SECONDS / 50
            threading.Event().wait(0.01)
        toys.run(work)

    monkeypatch.setattr(Threads, "hire", hire_some)
    graph = [toy(str(number)) for number in range(8)]
    assert set(go(graph, run=run).done) == set(graph)
    assert len(events(journal, "worker lost")) == MAX_DEATHS + 1
    assert hired[MAX_DEATHS] < many.PAUSE_SECONDS  # in a row at first, then after a pause each
    for number in (MAX_DEATHS + 1, MAX_DEATHS + 2):
        assert hired[number] - hired[number - 1] >= many.PAUSE_SECONDS
    texts = [told[1] for told in heard.told if told[0] == "message"]
    assert "3 workers in a row died as they started: it cannot begin\nGoing on with 1" in texts[0]


def test_no_more_run_at_once_than_memory_allows(go, heard):
    graph = [toy(name, seconds=0.05) for name in "abcd"]
    memory = Memory(room_bytes=25, of=lambda step: 100 if step.name == "c" else 10)
    go(graph, most=4, memory=memory)
    running, most = set(), {}
    for told in heard.told:
        if told[0] == "start":
            running.add(told[1])
            most |= {name: max(most.get(name, 0), len(running)) for name in running}
        elif told[0] == "finished":
            running.remove(told[1])

    assert most == {"a": 2, "b": 2, "c": 1, "d": 1}


def test_a_worker_prefers_what_reads_the_model_it_has_in_memory(go):
    models = [toy(name) for name in "mn"]
    graph = [*models]
    for number in range(3):
        graph += [
            toys.Step("toy", f"{m.name}{number}", 1, {"number": number}, {"model": m})
            for m in models
        ]

    def run(work):
        (work.output / "text").write_text("x")

    go(graph, run=run, most=1)
    names = {step.fingerprint: step.name for step in graph}
    given = [names[fingerprint] for _, fingerprint in go.staff.given]

    assert given == ["m", "m0", "m1", "m2", "n", "n0", "n1", "n2"]


def test_an_error_ends_it_and_the_others_save(go, store, journal):
    saving, fails = toy("s", kind="saving"), toy("f", kind="fails")
    with pytest.raises(RecipeError, match="f cannot be"):
        go([saving, fails])
    assert (store.partial(saving) / "count").exists()
    assert [event["step"] for event in events(journal, "step interrupted")] == [saving.folder]
    assert go([saving]).done == (saving,)  # goes on from what was saved
    assert events(journal, "counting")[-1]["start"] > 0


def test_what_does_not_depend_on_a_failed_step_is_carried_out(go, journal, heard):
    a, fails = toy("a"), toy("b", kind="fails")
    after, other = toy("c", inputs=[fails]), toy("z", inputs=[a])
    asked = []
    summary = go([a, fails, after, other], goes_on=lambda f: not asked.append(list(f)))

    assert set(summary.done) == {a, other}
    assert {step: str(error) for step, error in summary.failed.items()} == {fails: "b cannot be"}
    assert asked == [[fails]]
    assert events(journal, "step failed")[0]["step"] == fails.folder
    assert not any(told[:2] == ("start", "c") for told in heard.told)
    assert any(told[0] == "message" and "b cannot be" in told[1] for told in heard.told)


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("bug", UnforeseenError, r"ZeroDivisionError in a worker: .*by zero\nTraceback"),
        ("broken_data", DataError, "line 3"),
        ("no_such", UnforeseenError, "KeyError"),
    ],
)
def test_any_error_of_a_worker_is_raised_here(go, kind, error, text):
    with pytest.raises(error, match=text):
        go([toy("x", kind=kind)])


def test_a_fault_of_the_store_ends_it_whatever_could_go_on(go):
    def run(work):
        raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="full"):
        go([toy("a"), toy("b")], run=run, goes_on=lambda failed: True)


def test_a_damaged_input_is_said_and_computed_again(go, store, journal, heard):
    a = toy("a")
    readers = [toy(name, inputs=[a]) for name in "bc"]
    go([a])
    (store.path(a) / "text").write_text("A" * len("()a"))
    summary = go([a, *readers], goes_on=lambda failed: pytest.fail("nothing failed"))

    assert set(summary.done) == {a, *readers}
    assert summary.failed == {}
    assert store.open(readers[0], "text").read_text() == "(()a)b"
    assert any("damaged" in told[1] for told in heard.told if told[0] == "message")
    assert events(journal, "step damaged")[0]["step"] == a.folder


def test_a_disk_that_damages_everything_ends_in_an_error(go, store, journal):
    a = toy("a")
    b = toy("b", inputs=[a])

    def run(work):
        if work.step == b:
            (store.path(a) / "text").write_text("damaged!")
        toys.run(work)

    with pytest.raises(StoreError, match=r"toy/a-.*damaged"):
        go([a, b], run=run)
    assert len(events(journal, "step damaged")) == 3


def test_a_step_whose_workers_die_is_given_up_after_a_few(go, journal, heard):
    sick, other = toy("sick", seconds=30), toy("other")

    def run(work):
        if work.step == sick:
            hired = next(one for one in go.staff.hired if one.name == holders()[-1])
            hired.kill()
            work.check_stop()
            hired.worker.stop.wait(5)  # a thread that is dead to its leader, until the end
            raise Interrupted("dead")
        toys.run(work)

    def holders():
        return [name for name, fingerprint in go.staff.given if fingerprint == sick.fingerprint]

    def say(text):
        if "is gone" in text:  # frees the lock, as the death of a process does
            next(one for one in go.staff.hired if one.name == holders()[-1]).stop()

    heard.message = say
    summary = go([sick, other], run=run, goes_on=lambda failed: True)

    assert summary.done == (other,)
    assert "thread" in str(summary.failed[sick])
    lost = [(event["attempt"], event["attempts"]) for event in events(journal, "worker lost")]
    assert lost == [(number, MAX_DEATHS) for number in range(1, MAX_DEATHS + 1)]


def test_deaths_are_forgotten_where_the_step_gets_further_each_time(go, journal, heard):
    """A long step on machines that come and go is not given up."""
    step, deaths = toy("long"), 2 * MAX_DEATHS

    def run(work):
        attempt = len(go.staff.given)
        work.progress(attempt, deaths + 1, "", "steps")
        if attempt <= deaths:
            next(one for one in go.staff.hired if one.name == go.staff.given[-1][0]).kill()
            go.staff.hired[-1].worker.stop.wait(5)
            raise Interrupted("dead")
        toys.run(work)

    def say(text):
        if "is gone" in text:
            next(one for one in go.staff.hired if one.name == go.staff.given[-1][0]).stop()

    heard.message = say
    summary = go([step], most=1, run=run)

    assert summary.done == (step,)
    assert [event["attempt"] for event in events(journal, "worker lost")] == [1] * deaths


def test_who_refuses_ends_it(go, monkeypatch):
    def hire(staff):
        staff.told.put((None, Refused("another version")))

    monkeypatch.setattr(Threads, "hire", hire)
    with pytest.raises(RetainError, match="another version"):
        go([toy("a")])


def test_waiting_for_a_first_worker_is_said_once(go, heard, monkeypatch):
    monkeypatch.setattr(many, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(many, "POLL_SECONDS", 0.02)
    slow = Threads.hire

    def hire(staff):
        threading.Timer(0.5, slow, [staff]).start()
        return staff  # in place of the worker, which says more than this once it is there

    monkeypatch.setattr(Threads, "hire", hire)
    go([toy("a")], most=1)

    said = [told for told in heard.told if told[0] == "message"]
    assert said == [("message", "waiting for a first worker to start")]


def test_nobody_need_listen(store, tmp_path):
    graph = [toy("a")]
    staff = Threads(Assignment(store.root, pack(graph), toys.run), 2)
    journal = Journal(tmp_path / "journal.jsonl")

    assert carry_out_by(staff, graph, store, journal=journal).done == tuple(graph)
