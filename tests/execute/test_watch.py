"""The terminal while several steps run."""

from io import StringIO

import pytest
from rich.console import Console

from retain import terminal
from tests.execute.toys import toy


@pytest.fixture
def screen(monkeypatch):
    """What a terminal of a hundred columns got."""
    text = StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(
        terminal,
        "console",
        lambda: Console(file=text, force_terminal=True, width=100, highlight=False),
    )
    return text


def test_every_live_step_has_a_bar_of_its_own(screen):
    a, b = toy("first"), toy("second")
    with terminal.Watch() as watch:
        watch.start(a, 1, 2)
        watch.start(b, 2, 2)
        watch.progress(a, 3, 10, "loss 2.5", "steps")
        watch.progress(b, 7, 9, "", "items")
        watch._bars.refresh()
        both = screen.getvalue()
        watch.done(a, "finished", 3.0)
        watch.message("process 7 is [gone]\x1b[2J")
        shown = len(screen.getvalue())
        watch._bars.refresh()
        last = screen.getvalue()[shown:]
        watch.done(b, "interrupted", 1.0)

    assert all(text in both for text in ("1/2 toy first", "3/10", "loss 2.5", "2/2 toy second"))
    assert "second" in last
    assert "first" not in last
    assert "[gone]" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()
    assert watch._bar_of == {}


def test_where_there_is_no_terminal_progress_is_a_line_a_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(terminal, "monotonic", lambda: now[0])
    with terminal.bar("a model writes") as progress:
        for seconds, done in ((0, 10), (30, 20), (61, 40), (90, 50), (122, 70)):
            now[0] = seconds
            progress(done, 1000, "tree\x1b[2J 1", "tokens")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "a model writes: 40 of 1,000 tokens, tree 1, 33 min left",  # 30 in 61 s, 960 to go
        "a model writes: 70 of 1,000 tokens, tree 1, 32 min left",
    ]


def test_a_step_of_a_run_says_how_far_it_is_every_five_minutes(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(terminal, "monotonic", lambda: now[0])
    step = toy("long")
    with terminal.Watch() as watch:
        watch.start(step, 1, 2)
        for seconds, done in ((0, 0), (120, 1), (301, 3), (400, 4), (602, 6)):
            now[0] = seconds
            watch.progress(step, done, 12, "loss 2.5", "steps")
        watch.done(step, "finished", 700.0)
        watch.progress(step, 12, 12, "", "steps")
    out, err = capsys.readouterr()
    assert "700.0 s" in out
    assert err.splitlines() == [
        "1/2 toy long: 3 of 12 steps, loss 2.5, 15 min left",
        "1/2 toy long: 6 of 12 steps, loss 2.5, 10 min left",
    ]


def test_a_size_that_is_not_known_is_not_told(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0.0)
    with terminal.bar("reading") as progress:
        progress(3, 0)
    assert capsys.readouterr().err == "reading: 3\n"
