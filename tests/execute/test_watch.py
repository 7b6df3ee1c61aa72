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
