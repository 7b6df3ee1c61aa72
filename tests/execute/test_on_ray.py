"""Ray as the place of workers; what needs a cluster needs Ray, the rest does not."""

import builtins
import pickle
import signal
from types import SimpleNamespace

import pytest

from retain.errors import RetainError
from retain.execute import carry_out_by, on_ray, ray_head
from retain.execute.on_ray import Hands, RayActors, Share, divide
from retain.execute.told import Ended, Gone, Ready, Refused
from retain.execute.worker import Assignment
from retain.steps import Store, read_journal
from retain.steps.lock import LockHeldError
from retain.steps.packed import pack
from retain.steps.record import installed_versions
from tests.execute import toys
from tests.execute.led import alive, counts, events, started, wait_for, workers

GB = 10**9


@pytest.fixture
def assignment(store):
    store.root.mkdir(parents=True)
    return Assignment(store.root, (), toys.run)


def node(cpus=8, gpus=0, memory=16 * GB):
    return {"CPU": cpus, "memory": memory} | ({"GPU": gpus} if gpus else {})


@pytest.mark.parametrize(
    ("nodes", "jobs", "cpus", "gpus", "most"),
    [
        ([node()], None, 8, 0, 1),
        ([node(), node(cpus=4)], None, 4, 0, 3),
        ([node()], 2, 4, 0, 2),
        ([node()], 3, 2, 0, 3),
        ([node(), node()], 2, 8, 0, 2),
        ([node()], 20, 1, 0, 8),
        ([node(gpus=4), node(cpus=64)], None, 2, 1, 4),
        ([node(gpus=4), node(cpus=16, gpus=2)], 3, 2, 1, 3),
        ([node(memory=5 * GB)], 4, 1, 0, 2),
    ],
)
def test_a_cluster_is_divided_fairly(monkeypatch, nodes, jobs, cpus, gpus, most):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert divide(nodes, jobs, 2 * GB) == (Share(cpus, gpus, 0 if gpus else 2 * GB), most)


def test_threads_that_the_user_set_are_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert divide([node()], None, GB) == (Share(3, 0, GB), 2)
    assert divide([node()], 4, GB) == (Share(3, 0, GB), 2)


@pytest.mark.parametrize("nodes", [[node(memory=GB)], []])
def test_a_cluster_without_the_resources_is_told_before_anything_starts(monkeypatch, nodes):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(RetainError, match=r"no node for a step that takes .* 2\.0 GB of memory"):
        divide(nodes, None, 2 * GB)
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    with pytest.raises(RetainError, match=r"takes 16 CPU\(s\) and 1 GPU\. It has:\n  8 CPU"):
        divide([node(gpus=1)], None, 2 * GB)


def test_without_ray_the_command_to_install_it_is_told(monkeypatch, assignment):
    real = builtins.__import__

    def without(name, *more):
        if name == "ray":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RetainError, match=r"not installed.*pip install 'retain\[ray\]'"):
        RayActors(assignment, None, GB)


# ---------------------------------------------------------------- the actor, without a cluster


@pytest.fixture
def hands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Hands(str(tmp_path), 1)


def begin(hands, assignment, **changes):
    return hands.begin(installed_versions() | changes, pickle.dumps(assignment))


def test_another_version_on_a_worker_is_refused(hands, assignment):
    [told] = begin(hands, assignment, torch="1.0", retain="9.9")
    assert isinstance(told, Refused)
    assert "torch" in told.reason
    assert "instead of 1.0" in told.reason
    assert "instead of 9.9" in told.reason


def test_a_node_that_does_not_see_the_folders_is_refused(tmp_path, hands, assignment):
    [told] = begin(Hands(str(tmp_path / "elsewhere"), 1), assignment)
    assert "does not see" in told.reason
    [told] = begin(hands, Assignment(tmp_path / "no" / ".steps", (), toys.run))
    assert "does not see" in told.reason


def test_an_actor_carries_out_steps_and_tells(store, tmp_path, hands):
    store.root.mkdir(parents=True)
    step, slow = toys.toy("a"), toys.toy("s", kind="saving")
    [told] = begin(hands, Assignment(store.root, pack([step, slow]), toys.run))
    assert isinstance(told, Ready)
    hands.give(step.fingerprint)
    assert outcome(hands) == "finished"
    assert Store(store.root).finished(step)
    hands.give(slow.fingerprint)
    hands.stop()
    assert outcome(hands) == "interrupted"
    hands._open.close()


def outcome(hands):
    while True:
        for told in hands.tell():
            if isinstance(told, Ended):
                return told.outcome


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:10001", "nowhere.invalid:1"])
def test_a_cluster_that_is_not_reached_is_told_soon(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    told = f"no Ray cluster of RAY_ADDRESS={address}: .*RAY_AUTH_MODE=token"
    with pytest.raises(RetainError, match=told):
        ray_head.connect(None)


def test_what_a_worker_cannot_import_is_refused_and_a_death_is_not():
    lost = "The actor died\n\tclass_name: Hands\nWorker exit type: SYSTEM_ERROR"
    assert on_ray._end_of(Exception(lost)) == Gone("Worker exit type: SYSTEM_ERROR")
    missing = "ray::Hands\nModuleNotFoundError: No module named 'retain'\nmore"
    assert "No module named 'retain'" in on_ray._end_of(Exception(missing)).reason


# ---------------------------------------------------------------- the leader, without a cluster


class FakeRay:
    """One actor that always has nothing to tell; ``lost`` is what never came to it."""

    class exceptions:  # noqa: N801 - as in Ray
        RayError = ConnectionError

    def __init__(self, lost=()):
        self.lost, self.killed = lost, []
        self.has = [node(cpus=1)]

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"Alive": True, "Resources": one} for one in self.has]

    def get_runtime_context(self):
        return SimpleNamespace(gcs_address="nowhere")

    def put(self, value):
        return value

    def options(self, **given):
        return SimpleNamespace(remote=lambda *given: self._actor())

    def _actor(self):
        names = ("begin", "tell", "give")
        return SimpleNamespace(**{name: SimpleNamespace(remote=self._call(name)) for name in names})

    def _call(self, name):
        return lambda *given: name

    def wait(self, references, num_returns=1, timeout=None):
        return references, []

    def get(self, reference):
        if reference in self.lost:
            raise ConnectionError("The actor is unavailable")
        return []

    def kill(self, handle):
        self.killed.append(handle)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ray = FakeRay()
    ray.remote = lambda what: ray
    monkeypatch.setattr(on_ray, "_imported", lambda: ray)
    monkeypatch.setattr(ray_head, "_check_reached", lambda address: None)
    return ray


def test_a_step_that_never_came_to_its_worker_is_given_to_another(fake, assignment):
    """Else both would wait for each other, with every later word arriving."""
    staff = RayActors(assignment, None, GB)
    actor = staff.hire()
    assert list(staff.listen(0)) == []
    actor.give("a step")
    assert list(staff.listen(0)) == []
    actor.give("a step")
    fake.lost = ("give",)
    assert list(staff.listen(0)) == [(actor, Gone("The actor is unavailable"))]
    assert len(fake.killed) == 1
    assert list(staff.listen(0)) == []


def test_nodes_that_come_later_get_workers_and_those_that_left_do_not(
    fake, assignment, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr(on_ray, "time", SimpleNamespace(monotonic=lambda: now[0]))
    every, two = RayActors(assignment, None, GB), RayActors(assignment, 2, GB)
    assert (every.most, two.most) == (1, 1)
    for has, expected in (([node(), node()], (16, 2)), ([], (1, 1))):
        fake.has = has
        now[0] += on_ray.COUNT_SECONDS + 1
        assert (every.most, two.most) == expected


def test_a_head_that_is_gone_is_told_before_ray_ends_the_process(fake, assignment, monkeypatch):
    now, reached = [100.0], [True]

    def reach(address):
        if not reached[0]:
            raise ConnectionRefusedError("refused")

    monkeypatch.setattr(ray_head, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(ray_head, "_check_reached", reach)
    staff = RayActors(assignment, None, GB)
    for seconds, answers, most in ((5, True, 1), (25, False, 0), (4, True, 1), (20, False, 0)):
        now[0] += seconds
        reached[0] = answers
        assert staff.most == most
    now[0] += ray_head.HEAD_SECONDS
    with pytest.raises(RetainError, match=r"nowhere, has not .* 30 s \(refused\).*same command"):
        staff.most  # noqa: B018 - asking is what fails
    with staff:
        staff.hire()
    assert fake.killed == []  # it would wait for the head


# ---------------------------------------------------------------- with a cluster


@pytest.fixture(scope="module")
def cluster():
    """One node on this machine, started by somebody else."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=10**8,
        include_dashboard=False,
        logging_level="error",
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_actors_do_the_steps_and_a_dead_one_is_replaced(cluster, store, journal, heard, tmp_path):
    store.root.mkdir(parents=True)
    steps = [toys.toy(str(number), seconds=0.1) for number in range(4)]
    graph = [*steps, toys.toy("dies", kind="dies", deaths=1)]
    graph.append(toys.toy("last", inputs=graph))
    staff = RayActors(Assignment(store.root, pack(graph), toys.run), 2, 3 * 10**8)
    summary = carry_out_by(staff, graph, store, journal=journal, listener=heard)

    assert set(summary.done) == set(graph)
    events = read_journal(journal.path)
    [lost] = [event for event in events if event["event"] == "worker lost"]
    assert (lost["step"], lost["attempt"]) == (graph[4].folder, 1)
    assert "Ray actor, process" in lost["worker"]
    assert cluster.is_initialized()  # it is not ours to stop


@pytest.mark.slow
def test_a_cluster_says_what_is_missing_or_unlike(cluster, store, journal, monkeypatch):
    store.root.mkdir(parents=True)
    graph = [toys.toy("a")]
    assignment = Assignment(store.root, pack(graph), toys.run)
    with pytest.raises(RetainError, match=r"no node for a step .* 1000000\.0 GB.*\n  2 CPU"):
        RayActors(assignment, None, 10**15)
    monkeypatch.setattr(on_ray, "installed_versions", lambda: {"retain": "9.9", "torch": "9.9"})
    with pytest.raises(RetainError, match=r"instead of 9\.9.*install the same on every node"):
        carry_out_by(RayActors(assignment, 1, 10**6), graph, store, journal=journal)


@pytest.mark.slow
def test_a_signal_saves_and_a_killed_leader_takes_its_actors_along(tmp_path, start):
    process = start("saving", "saving", place="ray")
    wait_for(lambda: process.poll() or len(counts(tmp_path)) == 2, 240)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    journal = tmp_path / "journal.jsonl"
    assert {one["error"] for one in events(journal, "step interrupted")} == {"Interrupted"}
    wait_for(lambda: not any(map(alive, workers(tmp_path))), 60)

    saved = counts(tmp_path)
    process = start("saving", "deaf", place="ray")
    wait_for(lambda: process.poll() or len(started(tmp_path)) == 4, 240)
    process.kill()
    wait_for(lambda: not any(map(alive, workers(tmp_path))), 60)
    assert events(journal, "counting")[-1]["start"] in saved
    wait_for(lambda: is_free(Store(tmp_path / ".steps")), 60)  # of an actor just being made too


def is_free(store):
    try:
        with store.for_myself():
            return True
    except LockHeldError:
        return False


def test_a_cluster_that_cannot_be_started_here_is_told(monkeypatch):
    class Ray:
        def init(self, **settings):
            raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RetainError, match=r"could be started .*: .*timed out.*--jobs N"):
        ray_head.connect(Ray())
    assert signal.getsignal(signal.SIGTERM) == before
