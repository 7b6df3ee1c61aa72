import sys
from dataclasses import dataclass
from random import Random
from subprocess import run

import pytest

from retain.errors import RecipeError
from retain.methods import REGISTRY, find, from_spec, known, load
from retain.methods.base import HOOKS, Method, MethodError, overrides
from retain.methods.given import DeclaredPast, Past, Source


@dataclass(frozen=True, kw_only=True)
class Noisy(Method):
    """A method of a third party."""

    name = "noisy"
    VERSION = 3

    strength: float = 1.0

    def faults(self):
        return [("strength", "must be at least 0")] * (self.strength < 0)

    def penalty(self, model, batch, hidden, head, memory):
        return hidden.norm() * self.strength


def test_the_base_does_nothing():
    method = Method()
    assert not any(overrides(method, hook) for hook in HOOKS)
    assert method.plan(()) is None
    assert method.rehearse(Past()) is None
    assert method.sources(Past(), (), Random(0)) == ()
    assert method.prepare(None, Random(0)) is None
    assert method.data() == {}
    assert not method.has_own_past


def test_overrides_names_the_hooks_that_act():
    assert [hook for hook in HOOKS if overrides(Noisy(), hook)] == ["penalty"]
    with pytest.raises(ValueError, match="no hook 'penalise'; the hooks are plan, rehearse"):
        overrides(Noisy(), "penalise")


def test_a_method_is_its_own_entry_and_fingerprint():
    method = Noisy(strength=2.0, phases=("hindi",))
    assert method.entry() == {"method": "noisy", "phases": ["hindi"], "strength": 2.0}
    assert method.spec() == {"method": "noisy", "strength": 2.0, "VERSION": 3}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_method_comes_back_from_its_spec(name):
    options = {
        "freeze": {"num_layers": 2, "names": ["a"]},
        "instruction_mixing": {"general": {"data": "embedded:siqa"}},
    }.get(name, {})
    method = load(name, options)
    assert from_spec(method.spec()).spec() == method.spec()
    assert hash(method) == hash(load(name, options))


def test_a_spec_of_another_version_is_refused():
    spec = load("none").spec() | {"VERSION": 7}
    with pytest.raises(RecipeError, match="made for version 7, version 1 is installed"):
        from_spec(spec)


def test_faults_are_all_named():
    with pytest.raises(MethodError, match=r"noisy\.strength: must be at least 0") as caught:
        Noisy(strength=-1.0)
    assert caught.value.faults == (("strength", "must be at least 0"),)


def test_an_unknown_name_brings_a_suggestion():
    with pytest.raises(RecipeError, match="Did you mean 'freeze'"):
        find("frieze")


def test_load_checks_keys_and_types():
    with pytest.raises(RecipeError, match=r"freeze: num_layers: .*integer; sharre: "):
        load("freeze", {"num_layers": "two", "sharre": 1})


class Point:
    def __init__(self, name, value):
        self.name, self.value = name, "package:Thing"
        self.load = lambda: value


@pytest.fixture
def installed(monkeypatch):
    """Pretends that other packages bring methods."""

    def install(*points):
        known.cache_clear()
        monkeypatch.setattr("retain.methods.entry_points", lambda group: points)

    yield install
    known.cache_clear()


def test_a_third_party_adds_a_method(installed):
    installed(Point("noisy", Noisy))
    assert load("noisy", {"strength": 0.5}) == Noisy(strength=0.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("noisy", Random, "is not a Method class"),
        ("quiet", Noisy, "calls itself 'noisy'"),
        ("none", type("Taken", (Method,), {"name": "none"}), "takes a name that"),
    ],
)
def test_a_broken_entry_point_is_named(installed, name, value, message):
    installed(Point(name, value))
    with pytest.raises(RecipeError, match=message):
        known()


def test_sources_may_be_written_short():
    short = DeclaredPast(data="embedded:xsum")
    assert short == DeclaredPast(data=[{"source": "embedded:xsum"}])
    assert short.data == (Source(source="embedded:xsum"),)


@pytest.mark.parametrize(
    ("past", "role"),
    [
        ({"data": "embedded:xsum"}, "extra:xsum"),
        ({"data": "data/my general.jsonl#100"}, "extra:my-general.jsonl"),
        ({"data": "org/set"}, "extra:set"),
        ({"data": "org/set", "name": "english"}, "extra:english"),
    ],
)
def test_a_declared_past_has_a_role(past, role):
    assert DeclaredPast(**past).role == role


def test_methods_are_read_without_torch():
    code = "import retain.methods, retain.recipe, sys; print('torch' in sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
