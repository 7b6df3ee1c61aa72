"""The shipped studies: sound, complete, planned without a download, and running on stand-ins."""

import re
from pathlib import Path

import pytest
import yaml

from retain import api
from retain.evaluate.task_files import find
from retain.recipe import about, load_recipe, shipped
from retain.recipe.read import SHIPPED
from retain.rehearse.pen import ModelPen
from tests.rehearse.growing import ToyPen
from tests.standing_in import stand_in
from tests.train.families import make_t5_folder

NAMES = ("two_phase_language", "self_decompression", "nepali", "instruction_stream")
PAPERS = [name for name in shipped() if re.search(r"/paper", name)]
HEADINGS = (
    "Question",
    "Protocol",
    "Benchmarks",
    "The paper's table",
    "Ours",
    "Findings",
    "Missing",
)


ENOUGH = {  # variants that a stand-in cannot tell from others are left out
    "studies/instruction_stream/paper": ("mt0_1b2",),
    "studies/two_phase_language/paper": ("mistral_openorca",),
    "studies/two_phase_language/paper-repairs": ("mistral",),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _folder(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("study", NAMES)
def test_a_study_is_complete(study):
    assert {f"studies/{study}/mini", f"studies/{study}/paper"} <= set(shipped())
    readme = (SHIPPED / "studies" / study / "README.md").read_text("utf-8")
    found = re.findall(r"^## (.+)$", readme, re.MULTILINE)
    assert [one for one in HEADINGS if one not in found] == []
    for recipe in re.findall(r"retain (?:run|plan) (studies/\S+)", readme):
        assert recipe in shipped()


def test_the_list_says_what_each_recipe_asks():
    listed = api.studies()
    for name in shipped():
        assert re.search(rf"^{name} +\S.*[.?]$", listed, re.MULTILINE), name
        assert 20 < len(about(name)) < 260


@pytest.mark.parametrize("name", [*PAPERS, "adapt-7b-24gb"])
def test_a_paper_is_planned_from_the_record(name):
    plan = api.plan_full_size(name)
    assert plan is not None
    assert all(one.steps > 10 and one.tokens >= one.trained_tokens > 0 for one in plan.phases)
    assert all(one.trainable_parameters > 1e6 for one in plan.phases)
    assert plan.hours("8x80GB") > plan.scoring_hours > 0
    assert plan.disk_bytes > 1e8
    assert not list(Path().iterdir()), "a plan leaves nothing where it was called"


def test_rank_128_on_every_linear_layer_of_llama_3_8b():
    """The paper's 335 million trainable parameters, from the configuration without weights."""
    plan = api.plan_full_size("studies/nepali/paper")
    assert {one.trainable_parameters for one in plan.phases} == {335_544_320}
    assert all(one.memory_bytes["1x80GB"] < 80e9 for one in plan.phases)


def test_seven_billion_weights_on_24_gigabytes():
    plan = api.plan_full_size("adapt-7b-24gb")
    assert all(one.memory_bytes["1x24GB"] < 24e9 for one in plan.phases)
    full = api.plan_full_size(
        "adapt-7b-24gb",
        ["phases.mine.train.tuning=full"]
        + [f"phases.mine.train.lora_{key}=null" for key in ("r", "alpha")],
    )
    assert all(
        one.memory_bytes["1x80GB"] > 80e9 > one.memory_bytes["8x80GB"] for one in full.phases
    )


def test_only_tasks_with_examples_take_longer_to_score():
    def hours(tasks, shots):
        asked = [f"evaluate.tasks={tasks}", f"evaluate.num_fewshot={shots}"]
        return api.plan_full_size("adapt-7b-24gb", asked).scoring_hours

    some = hours("[{name: embedded_piqa, num_fewshot: [0, 5]}, general]", [0])
    assert hours("[general]", [0]) < some < hours("[general]", [0, 5])


def test_what_is_here_is_planned_as_ever(tiny_model_folder):
    values = stand_in("adapt-7b-24gb", tiny_model_folder)
    assert api.plan_full_size(values) is None
    for strange in ("nobody/knows-this", "./not-here", "embedded:nothing"):
        assert api.plan_full_size(values | {"model": strange}) is None
        phase = values["phases"][0] | {"data": strange}
        assert api.plan_full_size(values | {"phases": [phase]}) is None


def test_mt0s_head_is_its_own():
    plan = api.plan_full_size("studies/instruction_stream/paper", ["arms.mixing=null"])
    counted = {one.model: one.trainable_parameters / 1e9 for one in plan.phases}
    assert counted["bigscience/mt0-large"] == pytest.approx(1.2, abs=0.05)
    assert counted["bigscience/mt0-xl"] == pytest.approx(3.7, abs=0.05)
    assert counted["bigscience/bloomz-7b1"] == pytest.approx(7.1, abs=0.05)


@pytest.mark.slow
def test_every_benchmark_is_one_of_lm_evals():
    for name in PAPERS:
        for task in load_recipe(name).task_names():
            if not task.startswith(("phase:", "minimal_pairs")):
                assert isinstance(find(task, []), list), task


@pytest.fixture
def _writes_sense(monkeypatch):
    """A random model writes nothing that filters keep: its words are those of a toy."""
    toy = ToyPen()
    monkeypatch.setattr(ModelPen, "write", lambda self, asked, stop: toy.write(asked, stop))


@pytest.mark.slow
@pytest.mark.usefixtures("_writes_sense")
@pytest.mark.parametrize("name", PAPERS)
def test_a_whole_paper_runs_on_stand_ins(name, tiny_model_folder, tmp_path):
    with_encoder = make_t5_folder(tmp_path / "t5")
    values = stand_in(
        name, tiny_model_folder, variants=ENOUGH.get(name), encoder_model=with_encoder
    )
    outcome = api.run(values)
    assert (outcome.folder / "report.html").is_file()
    scored = (outcome.folder / "scores.csv").read_text()
    for arm in values["arms"]:
        assert f",{arm},0," in scored, arm


def test_the_record_is_told_apart_from_guesses():
    record = yaml.safe_load((SHIPPED.parent / "estimate" / "recorded.yaml").read_text("utf-8"))
    for name, one in record["data"].items():
        assert one["from"], name
        assert one["trained_tokens"] <= one["tokens"], name
