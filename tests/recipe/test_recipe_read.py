from textwrap import dedent

import pytest

from retain.errors import RecipeError
from retain.methods import load
from retain.recipe import Train, load_recipe, read_recipe, shipped
from tests.recipe.recipes import BASE, FREEZE, REPLAY, faults_of_text, raw, read

DESIGN = """
    name: quickstart
    model: embedded:smollm2-135m-instruct
    phases:
      - name: medicine
        data: embedded:medmcqa-subject
        train: {objective: sft, tuning: full, learning_rate: 2.0e-4, max_steps: 50, packing: true}
      - name: hindi
        data: embedded:hindi-prose
        train: {objective: pretrain, tuning: full, learning_rate: 3.0e-4, max_steps: 40}
    evaluate:
      tasks: [phases, general]
      groups: {general: [embedded_boolq, embedded_piqa, english_bits_per_byte]}
      num_fewshot: [0]
      limit: 200
      during_phase: 0
    arms:
      none: []
      low_rate: {train: {learning_rate: 1.0e-4}}
      replay: [{method: experience_replay, share: 0.05}]
      freeze: [{method: freeze, select: first, num_layers: 20, embeddings: true}]
    seeds: [0]
    budget: same_new_data
    choose: {learnt: ">= 0.9 of best", then: least change_from_base}
    fail_if: [{measure: change_from_base, task: embedded_boolq, arms: [replay], below: -0.02}]
    keep: {models: last, optimizer: until_phase_ends}
"""


@pytest.fixture
def design(tmp_path):
    """The recipe that the design shows, as a file."""
    path = tmp_path / "design.yaml"
    path.write_text(dedent(DESIGN), encoding="utf-8")
    return path


def test_the_recipe_of_the_design(design):
    recipe = load_recipe(design)
    assert recipe.phase_names == ("medicine", "hindi")
    assert recipe.phase("hindi").train.learning_rate == 3e-4
    assert recipe.phase("hindi").data[0].source == "embedded:hindi-prose"
    assert list(recipe.arms) == ["none", "low_rate", "replay", "freeze"]
    assert recipe.arms["replay"].methods == (load("experience_replay"),)
    assert recipe.choose.learnt_fraction == 0.9
    assert recipe.fail_if[0].below == -0.02
    assert recipe.task_names() == (
        "phase:medicine",
        "phase:hindi",
        "embedded_boolq",
        "embedded_piqa",
        "english_bits_per_byte",
    )


def test_what_is_resolved_reads_as_the_same_recipe(design, tmp_path):
    recipe = load_recipe(design)
    again = tmp_path / "recipe.resolved.yaml"
    again.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(again) == recipe
    assert load_recipe(again).resolved() == recipe.resolved()


def test_every_default_is_in_what_is_resolved():
    resolved = read().resolved()
    assert resolved["arms"] == {
        "none": {"methods": [], "train": {}, "budget": None, "from_phase": None}
    }
    assert resolved["seeds"] == [0]
    assert resolved["evaluate"]["groups"]["general"][0] == "embedded_boolq"
    assert resolved["phases"][0]["held_out"] == {"fraction": 0.1, "count": None, "group_by": None}
    assert resolved["phases"][0]["train"]["batch_size"] == 16
    assert resolved["phases"][0]["train"]["num_train_epochs"] is None
    assert set(resolved["phases"][0]["train"]) == set(Train.model_fields)


def test_shorthands_are_the_long_form():
    methods = [REPLAY, FREEZE]
    listed = read(arms={"a": methods, "b": {"methods": methods}})
    assert listed.arms["a"] == listed.arms["b"]
    forms = read(arms={"a": FREEZE, "b": [FREEZE], "c": None, "d": [], "e": ["none"], "f": "none"})
    assert forms.arms["a"] == forms.arms["b"]
    assert forms.arms["c"] == forms.arms["d"]
    assert forms.arms["e"] == forms.arms["f"]


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        read().name = "other"


def test_neither_epochs_nor_steps_means_one_epoch():
    train = Train()
    assert (train.num_train_epochs, train.max_steps, train.batch_size) == (1.0, None, 16)
    assert Train(batch_tokens=1024).batch_size is None


def test_a_changed_value_replaces_the_other_of_its_group():
    train = Train(num_train_epochs=3.0).changed({"max_steps": 5})
    assert (train.num_train_epochs, train.max_steps) == (None, 5)
    assert Train(max_steps=5).changed({"learning_rate": 1e-3}).max_steps == 5


# ---------------------------------------------------------------- overrides


def rate(recipe):
    return recipe.phase("hindi").train.learning_rate


def share(recipe):
    return recipe.arms["replay"].methods[0].share


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("phases.hindi.train.learning_rate=1e-4", lambda r: rate(r) == 1e-4),
        ("--phases.hindi.train.packing=false", lambda r: r.phases[1].train.packing is False),
        ("phases.1.name=nepali", None),
        ("seeds=[0, 1]", lambda r: r.seeds == (0, 1)),
        ("evaluate.limit=7", lambda r: r.evaluate.limit == 7),
        ("phases.hindi.train.num_train_epochs=2", lambda r: r.phases[1].train.max_steps is None),
        ("arms.replay.experience_replay.share=.2", lambda r: share(r) == 0.2),
        ("arms.replay.methods.experience_replay.share=.2", lambda r: share(r) == 0.2),
        ("arms.replay.train.max_steps=3", lambda r: r.arms["replay"].train == {"max_steps": 3}),
        ("arms.more={method: joint}", lambda r: r.arms["more"].methods[0].name == "joint"),
        ("arms.short.freeze.num_layers=3", lambda r: r.arms["short"].methods[0].num_layers == 3),
        ("phases.hindi.data=my f.jsonl", lambda r: r.phases[1].data[0].source == "my f.jsonl"),
    ],
)  # fmt: skip
def test_an_override_changes_one_value(override, value):
    values = raw(arms={"none": [], "replay": [REPLAY], "short": FREEZE})
    if value is None:
        with pytest.raises(RecipeError, match="unknown phase '1'"):
            read_recipe(values, [override])
    else:
        assert value(read_recipe(values, [override]))
    assert values == raw(arms={"none": [], "replay": [REPLAY], "short": FREEZE})


def test_names_with_dots_are_found():
    phases = [BASE["phases"][0] | {"name": "v1.5"}, BASE["phases"][1]]
    recipe = read_recipe(raw(phases=phases), ["phases.v1.5.train.max_steps=3"])
    assert recipe.phases[0].train.max_steps == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "phases.hindu.train.learning_rate=1e-4",
            "override 'phases.hindu.train.learning_rate': unknown phase 'hindu'. "
            "Did you mean 'hindi'? Known: medicine, hindi",
        ),
        ("arms.relpay.train.max_steps=3", "unknown arm 'relpay'"),
        (
            "phases.hindi.train.learning_rat=1e-4",
            "override 'phases.hindi.train.learning_rat=1e-4': phases.hindi.train.learning_rat: "
            "unknown key 'learning_rat'. Did you mean 'learning_rate'?",
        ),
        ("name.first=x", "'name.first': name is 'study', which has no 'first' inside"),
        ("learning_rate", "override 'learning_rate': write it as name.name=value"),
        ("=3", "override '=3': write it as name.name=value"),
        ("seeds=[0", "override 'seeds=[0': the value is line 1: not YAML"),
        ("seeds=!!python/name:os.system", "a recipe has plain values only"),
        ("nmae=x", "override 'nmae=x': nmae: unknown key 'nmae'. Did you mean 'name'?"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(RecipeError) as caught:
        read_recipe(raw(), [override])
    assert message in str(caught.value)


# ---------------------------------------------------------------- files and names


def test_shipped_recipes_are_found_by_name_and_are_sound():
    assert "quickstart" in shipped()
    for name in shipped():
        recipe = load_recipe(name)
        assert read_recipe(recipe.resolved()) == recipe


def test_shipped_recipes_may_lie_in_folders(tmp_path, monkeypatch, design):
    (tmp_path / "studies" / "order").mkdir(parents=True)
    (tmp_path / "studies" / "order" / "mini.yaml").write_text(design.read_text("utf-8"), "utf-8")
    monkeypatch.setattr("retain.recipe.read.SHIPPED", tmp_path)
    assert load_recipe("studies/order/mini").name == "quickstart"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "quickstrat",
            "no file 'quickstrat', and unknown shipped recipe 'quickstrat'. Did",
        ),
        ("../secret", "'../secret': neither a file nor the name of a shipped recipe"),
        ("missing.yaml", "missing.yaml: no such file"),
        (".", "is a folder"),
    ],
)
def test_what_is_not_there_is_said(name, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a recipe is a mapping with name, model and phases"),
        (b"- a\n- b\n", "holds ['a', 'b']; a recipe is a mapping"),
        (b"name: caf\xe9\n", "byte 9 is not UTF-8; save the file as UTF-8"),
        (b"name: [\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, content, message):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_task_may_have_its_own_numbers_of_shots():
    own = {"name": "mine", "data": "m.jsonl", "metric": "chrf"}
    tasks = [
        {"name": "embedded_piqa", "num_fewshot": [5]},
        {"name": "general", "num_fewshot": [0, 2]},
        "phases",
        own | {"num_fewshot": [1]},
        own | {"name": "other"},
    ]
    recipe = read_recipe(BASE | {"evaluate": {"tasks": tasks, "num_fewshot": [0, 3]}})
    assert recipe.evaluate.shots_by_task(recipe.phase_names) == {
        "embedded_piqa": (5,),  # the first entry that names it counts
        "embedded_boolq": (0, 2),
        "english_bits_per_byte": (0, 2),
        "verifiable_instructions": (0, 2),
        "phase:medicine": (0, 3),
        "phase:hindi": (0, 3),
        "mine": (1,),
        "other": (0, 3),
    }
    assert recipe.evaluate.groups["general"][0] == "embedded_boolq"
    assert read_recipe(recipe.resolved()) == recipe
    fewer = read_recipe(recipe.resolved(), ["evaluate.tasks.general.num_fewshot=[0]"])
    assert fewer.evaluate.shots_by_task(())["embedded_boolq"] == (0,)


def test_a_byte_order_mark_does_no_harm(design):
    design.write_bytes(b"\xef\xbb\xbf" + design.read_bytes().lstrip())
    assert load_recipe(design).name == "quickstart"


def test_the_message_lists_everything_with_lines(tmp_path):
    text = """\
        name: ../up
        model: m
        phases:
          - name: one
            data: a.jsonl
            train: {learning_rate: fast, max_steps: 5}
        arms:
          none: []
          replay: [{method: experience_reply}]
        seed: 3
        seeds: [0]
        seeds: [1]
        """
    assert faults_of_text(tmp_path, text, ["phases.two.train.max_steps=3"]) == dedent("""\
        recipe.yaml: 6 faults
          line 12: key 'seeds' is given twice; the first is on line 11
          override 'phases.two.train.max_steps': unknown phase 'two'. Known: one
          line 1, name: must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, without '..' and not beginning with '.'; got '../up'
          line 6, phases.one.train.learning_rate: must be a number; got 'fast'
          line 9, arms.replay.experience_reply.method: unknown method 'experience_reply'. Did you mean 'experience_replay'? Known: none, joint, experience_replay, instruction_mixing, generative_replay, tree_generation, freeze
          line 10, seed: unknown key 'seed': use seeds at the top of the recipe, a list""")  # noqa: E501


def test_values_shared_by_a_yaml_anchor_are_changed_apart(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(
        "name: toy\nmodel: x/y\nphases:\n"
        "  - {name: a, data: a.jsonl, train: &same {learning_rate: 1e-4}}\n"
        "  - {name: b, data: b.jsonl, train: *same}\n"
    )
    recipe = load_recipe(path, ["phases.b.train.learning_rate=2e-4"])
    assert [phase.train.learning_rate for phase in recipe.phases] == [1e-4, 2e-4]


@pytest.mark.parametrize("values", [None, [], "name: x"])
def test_values_that_are_no_mapping_are_refused(values):
    with pytest.raises(RecipeError, match="a recipe is a mapping of keys to values; got"):
        read_recipe(values)
