"""Objects: put, read, and every way a store can refuse."""

import pytest

from retain.errors import StoreError
from retain.remote import Objects, objects
from retain.remote.objects import ATTEMPTS, MissingObjectError, ShortObjectError, is_address
from retain.steps import Journal, read_journal
from tests.remote.conftest import SECRET


@pytest.fixture
def store(url, tmp_path):
    made = Objects(url)
    made.journal = Journal(tmp_path / "journal.jsonl")
    return made


def once(*faults):
    """Each of these faults one time, then none."""
    left = list(faults)
    return lambda method, path: left.pop(0) if left else None


def test_what_is_put_is_read(store):
    store.put("in/a", b"one")
    store.put("in/a", b"two")
    store.put("in/b/c", b"")
    assert store.get("in/a") == b"two"
    assert store.get("in/b/c", 0) == b""
    assert store.sizes("in") == {"a": 3, "b/c": 0}
    assert store.sizes("nothing") == {}
    assert store.folders() == ["in"]
    store.remove(["in/a", "in/a"])
    with pytest.raises(MissingObjectError):
        store.get("in/a")


def test_one_of_two_is_first(store):
    assert store.create("owner", b"one")
    assert not store.create("owner", b"two")
    assert store.create("owner", b"one")
    assert store.get("owner") == b"one"


@pytest.mark.parametrize("fault", ["500", "throttled", "cut", "cut before"])
@pytest.mark.parametrize("verb", ["put", "create", "get", "sizes", "remove"])
def test_a_fault_is_tried_again_and_named(store, door, verb, fault):
    store.put("there", b"x" * 100)
    do = {
        "put": lambda: store.put("new", b"y"),
        "create": lambda: store.create("new", b"y"),
        "get": lambda: store.get("there"),
        "sizes": lambda: store.sizes(""),
        "remove": lambda: store.remove(["there"]),
    }[verb]
    wanted = {"create": True, "get": b"x" * 100, "sizes": {"there": 100}}.get(verb)
    door.fault = once(*[fault] * 3)  # two may be met below, on connections that were kept open
    assert do() == wanted
    retries = [e for e in read_journal(store.journal.path) if e["event"] == "store retry"]
    assert [event["attempt"] for event in retries] in ([1], [1, 2], [1, 2, 3])
    assert all(event["attempts"] == ATTEMPTS and event["reason"] for event in retries)
    if verb in ("put", "create"):
        assert store.get("new") == b"y"


@pytest.mark.parametrize(
    ("fault", "said"),
    [("500", "InternalError|internal error"), ("throttled", "request rate"), ("full", "is full")],
)
def test_attempts_are_bounded(store, door, fault, said):
    door.fault = lambda method, path: fault
    with pytest.raises(StoreError, match=f"(?s)tried {ATTEMPTS} times .*{said}.*same command"):
        store.put("a", b"x")
    assert [method for method, _ in door.seen].count("PUT") == ATTEMPTS + 1  # one made the bucket


def test_a_slow_store_is_waited_for(store, door):
    door.fault = once("slow")
    store.put("a", b"x")
    assert store.get("a") == b"x"


def test_a_store_that_never_answers_is_left(url, door, monkeypatch):
    short = {"s3": {"config_kwargs": {"read_timeout": 0.1, "retries": {"total_max_attempts": 1}}}}
    monkeypatch.setattr(objects, "OPTIONS", short)
    monkeypatch.setattr(objects, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(objects, "ATTEMPTS", 2)
    monkeypatch.setattr("tests.remote.server.SLOW_SECONDS", 3.0)  # a busy machine is late itself
    door.fault = lambda method, path: "slow"
    with pytest.raises(StoreError, match="tried 2 times"):
        Objects(url).put("a", b"x")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("skew", "clock is wrong"),
        ("denied", "credentials of the environment"),
        ("wrong", "credentials of the environment"),
    ],
)
def test_what_no_attempt_helps_is_said_at_once(store, door, fault, said):
    before = len(door.seen)
    door.fault = lambda method, path: fault
    with pytest.raises(StoreError, match=said) as caught:
        store.put("a", b"x")
    assert SECRET not in str(caught.value)
    assert len(door.seen) == before + 1


def test_no_credentials(url, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setitem(objects.OPTIONS, "s3", {"skip_instance_cache": True})
    with pytest.raises(StoreError, match="Set the store's credentials in the environment"):
        Objects(url).put("a", b"x")


def test_no_bucket(url):
    with pytest.raises(StoreError, match=r"no-such-bucket/runs/a: is not there"):
        Objects("s3://no-such-bucket/runs").put("a", b"x")
    with pytest.raises(StoreError, match="is not there"):
        Objects("s3://no-such-bucket/runs").sizes(".steps")


def test_an_object_of_another_size_is_not_read(store):
    store.put("a", b"12345")
    with pytest.raises(ShortObjectError, match="5 bytes instead of 6"):
        store.get("a", 6)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://", "give a folder, or a bucket"),
        ("file:///runs", "give a folder, or a bucket"),
        ("s4://bucket/runs", "unknown kind of store 's4'. Did you mean 's3'?"),
        (f"s3://me:{SECRET}@bucket/runs", "holds no credentials"),
    ],
)
def test_bad_addresses(url, address, said):
    with pytest.raises(StoreError) as caught:
        Objects(address)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_addresses_and_folders():
    assert is_address("s3://bucket/runs")
    assert not any(map(is_address, ("runs", "s3:/bucket", "/a/b", "C:\\runs")))


def test_what_speaks_to_the_store_is_missing(monkeypatch):
    def missing(*arguments, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(StoreError, match=r"pip install 'retain\[s3\]'"):
        Objects("s3://bucket/runs")
