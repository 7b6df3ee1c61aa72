"""Chat completions against a real server: what is sent, tried again, and told."""

import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from retain.errors import TaskError
from retain.evaluate.judge.chat import NUM_ATTEMPTS, Server
from tests.evaluate.judge.server import serving

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
KEY = "sk-very-secret"
ASK = [{"role": "user", "content": "नमस्ते <b>"}]
GOOD = json.dumps({"choices": [{"message": {"content": "Verdict: A"}}]})


@pytest.fixture(autouse=True)
def _proxy(monkeypatch):
    """One that nobody answers at: a server on this machine is asked without it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)


def server(address, waits=None, **changes):
    wait = (lambda seconds: None) if waits is None else waits.append
    return Server(
        **{"address": address, "model": "judge-1", "options": {"temperature": 0}, "key": KEY}
        | changes,
        wait=wait,
    )


def test_what_is_sent_and_read():
    with serving(lambda messages: "said: " + messages[0]["content"]) as there:
        assert server(there.address + "/").answer(ASK) == "said: नमस्ते <b>"
        assert server(there.address, key="").answer(ASK) == "said: नमस्ते <b>"
    (path, headers, body), (_, without, _) = there.seen
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in without
    assert body == {"model": "judge-1", "messages": ASK, "temperature": 0}


def test_a_server_that_is_busy_is_asked_again_when_it_says():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    scripted = [
        (429, {"Retry-After": "7"}, "slow down"),
        (503, {}, "starting"),
        (429, {"Retry-After": date}, ""),
        (200, {}, "<html>proxy</html>"),
    ]
    waits = []
    with serving(scripted=scripted) as there:
        assert server(there.address, waits).answer(ASK) == "Verdict: tie"
    assert waits[0] == 7
    assert waits[1] == 2
    assert 5 < waits[2] <= 9
    assert waits[3] == 8


def test_attempts_end():
    told = r"answers 500 .*'oops', in 5 attempts"
    with serving(scripted=[(500, {}, "oops")] * 5) as there, pytest.raises(TaskError, match=told):
        server(there.address).answer(ASK)
    assert len(there.seen) == NUM_ATTEMPTS


def test_a_long_wait_is_told_and_not_waited_for():
    waits = []
    told = r"asks to wait 3600 s.*run again then"
    busy = (429, {"Retry-After": "3600"}, "")
    with serving(scripted=[busy]) as there, pytest.raises(TaskError, match=told):
        server(there.address, waits).answer(ASK)
    assert not waits


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits = []
    with pytest.raises(TaskError, match=r"cannot be reached \(.*refused.*\), in 5 attempts"):
        server(f"http://127.0.0.1:{port}/v1", waits).answer(ASK)
    assert waits == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("scripted", "told"),
    [
        ((401, {}, "no"), "refuses the key it was given .401.; set .*RETAIN_JUDGE_API_KEY"),
        ((404, {}, "no model"), "does not know the model or the path .404.: 'no model'"),
        ((400, {}, f"bad: {KEY}\x1b[31m"), r"refuses the request: 400 .*'bad: \[key\] \[31m'"),
        ((307, {"Location": "http://evil.example/v1"}, ""), "points elsewhere .307, 'http://evil"),
        ((302, {"Location": "http://evil.example/v1"}, ""), "points elsewhere .302, 'http://evil"),
    ],
)
def test_what_trying_again_does_not_mend(scripted, told):
    with serving(scripted=[scripted]) as there, pytest.raises(TaskError, match=told) as raised:
        server(there.address).answer(ASK)
    assert len(there.seen) == 1
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"choices": []}',
        '{"choices": [{"message": {"content": 3}}]}',
        b"\xff\xfe",
        "[" * 200_000,
    ],
)
def test_an_answer_that_is_none(text):
    scripted = [(200, {}, text)] * NUM_ATTEMPTS
    told = "does not answer as chat completions do"
    with serving(scripted=scripted) as there, pytest.raises(TaskError, match=told):
        server(there.address).answer(ASK)


def test_an_answer_without_content_is_empty():
    empty = json.dumps({"choices": [{"message": {"content": None}}]})
    with serving(scripted=[(200, {}, empty)]) as there:
        assert server(there.address).answer(ASK) == ""


def test_an_answer_cut_short_is_asked_for_again():
    short = (200, {"Content-Length": "5000", "Connection": "close"}, GOOD[:20])
    with serving(scripted=[short]) as there:
        assert server(there.address).answer(ASK) == "Verdict: tie"


def test_the_key_is_in_no_representation():
    assert KEY not in repr(server("http://127.0.0.1/v1"))
