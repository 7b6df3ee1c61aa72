import errno
import os
import threading
import weakref

import pytest

from retain.errors import Interrupted, RecipeError, StoreError
from retain.execute import by_kind, carry_out, needed, ordered
from retain.steps import Step, Store, read_journal
from tests.execute.conftest import chain, write_name


@pytest.fixture
def go(store, journal, heard):
    def do(graph, run=write_name, **more):
        return carry_out(graph, store, run=run, journal=journal, listener=heard, **more)

    return do


def events(journal):
    return [
        (event["event"], event.get("step", "").split("-")[0])
        for event in read_journal(journal.path)
    ]


def test_every_step_is_done_once_and_then_reused(go, store, journal, heard):
    graph = chain("a", "b")
    first = go(graph)
    second = go(graph)

    assert (first.done, first.reused) == (tuple(graph), ())
    assert (second.done, second.reused) == ((), tuple(graph))
    assert store.open(graph[1], "text").read_text() == "ab"
    assert heard.told == [
        ("start", "a", 1, 2),
        ("progress", "a", 1, 1, "all", "names"),
        ("finished", "a"),
        ("start", "b", 2, 2),
        ("progress", "b", 1, 1, "all", "names"),
        ("finished", "b"),
        ("reused", "a"),
        ("reused", "b"),
    ]
    assert events(journal) == [
        ("step started", "toy/a"),
        ("step finished", "toy/a"),
        ("step started", "toy/b"),
        ("step finished", "toy/b"),
        ("step reused", "toy/a"),
        ("step reused", "toy/b"),
    ]
    finished = read_journal(journal.path)[1]
    assert finished["bytes"] > 0
    assert finished["seconds"] >= 0


def test_a_changed_value_recomputes_what_depends_on_it_and_nothing_else(go):
    a, b, c = chain("a", "b", "c")
    other = Step("toy", "z", 1, {})
    go([a, b, c, other])
    changed = Step("toy", "b", 1, {"name": "B"}, {"before": a})
    after = Step("toy", "c", 1, dict(c.settings), {"before": changed})

    assert go([a, changed, after, other]).done == (changed, after)


def test_inputs_come_first_and_else_the_given_order_stands():
    a, b, c = chain("a", "b", "c")
    y, z = (Step("toy", name, 1, {"name": name}) for name in "yz")

    assert ordered([c, z, a, b, y, z]) == [a, b, c, z, y]
    assert len(ordered(chain(*map(str, range(3000)))[-1:])) == 3000


def test_what_nothing_needs_is_not_computed_again(go, store):
    a, b, c = graph = chain("a", "b", "c")
    go(graph)
    store.remove(b.folder)

    assert needed(graph, store, [c]) == [c]
    assert go(graph, targets=[c]).done == ()
    assert go(graph).done == (b,)
    store.remove(c.folder)
    store.remove(b.folder)
    assert needed(graph, store, [c]) == [a, b, c]
    summary = go(graph, targets=[c])
    assert (summary.reused, summary.done) == ((a,), (b, c))


def test_a_damaged_input_is_said_and_computed_again(go, store, journal, heard):
    a, b = graph = chain("a", "b")
    go([a])
    (store.path(a) / "text").write_text("A")
    summary = carry_out(graph, Store(store.root), run=write_name, journal=journal, listener=heard)

    assert summary.done == (a, b)
    assert store.open(b, "text").read_text() == "ab"
    assert "toy/a" in next(told[1] for told in heard.told if told[0] == "message")
    assert ("step damaged", "toy/a") in events(journal)


def test_a_disk_that_damages_everything_ends_in_an_error(go, store, journal):
    a, b = chain("a", "b")

    def run(work):
        write_name(work)
        if work.step == b:
            raise AssertionError("never gets here")

    def run_badly(work):
        if work.step == b:
            (store.path(a) / "text").write_text("damaged!")
        run(work)

    with pytest.raises(StoreError, match=r"toy/a-.*damaged"):
        go([a, b], run_badly)
    assert [event for event, _ in events(journal)].count("step damaged") == 3


def test_a_failure_keeps_what_was_finished_and_says_which_step(go, store, journal, heard):
    a, b = graph = chain("a", "b")

    def fail(work):
        if work.step == b:
            raise RecipeError("no good")
        write_name(work)

    with pytest.raises(RecipeError, match="no good"):
        go(graph, fail)
    assert store.finished(a)
    assert heard.told[-1] == ("failed", "b")
    last = read_journal(journal.path)[-1]
    assert (last["event"], last["error"], last["message"]) == (
        "step failed",
        "RecipeError",
        "no good",
    )
    assert go(graph).done == (b,)


def test_a_full_disk_is_a_failure_that_can_be_mended(go, store):
    a, b = graph = chain("a", "b")

    def full(work):
        write_name(work)
        if work.step == b:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="disk"):
        go(graph, full)
    assert os.listdir(store.root / ".tmp") == []
    assert store.verify(a) == []
    assert go(graph).done == (b,)


def test_an_interrupted_step_goes_on_from_what_it_saved(go, journal, heard):
    (a,) = graph = chain("a")

    def stop(work):
        (work.partial / "half").write_text("a")
        raise Interrupted("stopped")

    def resume(work):
        (work.output / "text").write_text((work.partial / "half").read_text())

    with pytest.raises(Interrupted):
        go(graph, stop)
    assert heard.told[-1] == ("interrupted", "a")
    assert events(journal)[-1] == ("step interrupted", "toy/a")
    assert go(graph, resume).done == (a,)


def test_leftovers_of_the_dead_are_removed_and_said(go, store, journal, heard):
    (a,) = graph = chain("a")
    (store.root / ".tmp" / f"{a.key}.00").mkdir(parents=True)
    go(graph)

    assert heard.told[0] == (
        "message",
        f"removed .tmp/{a.key}.00, left behind by a process that was killed",
    )
    assert read_journal(journal.path)[0]["event"] == "leftover removed"


def test_a_step_of_another_process_is_waited_for_and_reused(store, journal, heard):
    (a,) = graph = chain("a")
    other = Store(store.root)
    inside, release = threading.Event(), threading.Event()

    def hold():
        with other.begin(a) as work:
            inside.set()
            release.wait(5)
            write_name(work)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(5)

    class Impatient(type(heard)):
        def message(self, text):
            super().message(text)
            release.set()

    listener = Impatient()
    summary = carry_out(graph, store, run=pytest.fail, journal=journal, listener=listener)
    thread.join()

    assert summary.reused == (a,)
    (_, text), last = listener.told
    assert text.startswith(f"{a.folder}: process {os.getpid()} on ")
    assert last == ("reused", "a")


def test_runners_are_found_by_kind_and_imported_late():
    run = by_kind({"toy": "test_here_no_such_module:run", "json": "json:dumps"})

    class Fake:
        step = Step("other", "x", 1, {})

    with pytest.raises(StoreError, match=r"unknown kind of step 'other'\."):
        run(Fake())
    Fake.step = Step("toy", "x", 1, {})
    with pytest.raises(ModuleNotFoundError):
        run(Fake())


def test_nobody_need_listen(store, journal):
    assert len(carry_out(chain("a", "b"), store, run=write_name, journal=journal).done) == 2


def fails_at(*names):
    def run(work):
        if work.step.name in names:
            raise RecipeError(f"{work.step.name} cannot be")
        write_name(work)

    return run


def test_what_does_not_depend_on_a_failed_step_is_carried_out(go, store, journal, heard):
    a, b, c = chain("a", "b", "c")
    other = Step("toy", "z", 1, {"name": "z"}, {"before": a})
    asked = []
    summary = go([a, b, c, other], fails_at("b"), goes_on=lambda f: not asked.append(list(f)))

    assert summary.done == (a, other)
    assert [str(error) for error in summary.failed.values()] == ["b cannot be"]
    assert list(summary.failed) == [b]
    assert asked == [[b]]
    assert ("start", "c", 3, 4) not in heard.told
    assert any(told[0] == "message" and "b cannot be" in told[1] for told in heard.told)
    assert ("step failed", "toy/b") in events(journal)
    assert go([a, b, c, other]).done == (b, c)  # the same call tries it again


def test_a_failed_step_keeps_nothing_of_its_work_in_memory(go):
    held = []

    class Weights:
        pass

    def run(work):
        weights = Weights()
        held.append(weakref.ref(weights))
        raise RecipeError("no")

    summary = go(chain("a"), run, goes_on=lambda failed: True)
    assert list(summary.failed)
    assert held[0]() is None


def test_without_leave_or_with_a_fault_of_the_store_it_ends_at_once(go):
    a, b = (Step("toy", name, 1, {"name": name}) for name in "ab")
    with pytest.raises(RecipeError, match="a cannot be"):
        go([a, b], fails_at("a"))

    def run(work):
        raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="full"):
        go([a, b], run, goes_on=lambda failed: True)
