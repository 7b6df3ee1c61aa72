"""Adapters in whole train steps: what moves, what is handed over, and that plain PEFT opens it."""

import json
import shutil

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM

from retain.errors import Interrupted, ModelError, TrainingError
from retain.methods.freeze import Freeze
from retain.model import adapter_folder, adapters, cache
from retain.model.adapters import Adapter
from retain.model.auto_class import auto_class
from retain.model.load import load, load_quantised
from retain.steps.step import Step
from retain.train import step, trainable_step
from retain.train.settings import Settings
from tests.conftest import make_model
from tests.train.families import FAMILIES, WITH_ENCODER, bloom, t5
from tests.train.phases import make_row, make_stream, same, weights
from tests.train.test_train_step import REFERENCE, SETTINGS, Bench

KINDS = ("lora", "dora", "rslora", "ia3")
IDS = torch.from_numpy(make_row("x", 30).input_ids)[None]
SMALL = {"lora_r": 4, "lora_alpha": 8.0}


@pytest.fixture(autouse=True)
def _no_model_is_kept():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def bench(tmp_path, tiny_model_folder):
    return Bench(tmp_path / "steps", tiny_model_folder)


def options(kind):
    return {"tuning": kind} | ({} if kind == "ia3" else SMALL)


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def in_plain_peft(folder):
    """The model as somebody without us opens it."""
    return AutoPeftModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_the_adapter_opens_in_plain_peft_with_equal_logits(bench, kind):
    folder = bench.store.path(bench.train(**options(kind))) / "model"
    kept = cache.get(folder, precision="fp32").model
    opened = in_plain_peft(folder)
    assert torch.equal(logits(kept), logits(opened))
    assert not torch.allclose(logits(opened), logits(make_model()), atol=1e-3)
    names = {path.name for path in folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    facts = json.loads((folder.parent / "facts.json").read_text())
    assert 0 < facts["trainable_parameters"] < 0.2 * facts["total_parameters"]


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_lines_of_the_card_open_the_model_that_was_trained(bench, kind):
    folder = bench.store.path(bench.train(**options(kind))) / "model"
    lines = (folder / "README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    opened = {}
    exec(lines.replace("path/to/this/folder", str(folder)), opened)
    kept = cache.get(folder, precision="fp32").model
    assert torch.equal(logits(kept), logits(opened["model"]))
    assert auto_class(folder) == type_named(lines)


def type_named(lines):
    """The class whose ``from_pretrained`` gives the model."""
    return lines.partition("model = ")[2].partition(".from_pretrained")[0]


def test_nothing_below_the_adapter_moves(bench):
    folder = bench.store.path(bench.train(**options("lora"))) / "model"
    below = in_plain_peft(folder).unload()
    assert same(weights(below), weights(make_model()))


@pytest.mark.parametrize("kept", [True, False])
def test_an_adapter_after_full_tuning_stands_on_the_weights_that_it_left(bench, kept):
    """Not on those of the base model, though the model is still in memory."""
    first = bench.train()
    if not kept:
        cache.clear()
    folder = bench.store.path(bench.train({"model": first}, **options("lora"))) / "model"
    found = logits(cache.get(folder, precision="fp32").model)
    assert torch.equal(logits(in_plain_peft(folder)), found)
    assert adapter_folder.base_folder(folder) == (bench.store.path(first) / "model").resolve()


@pytest.mark.parametrize("kept", [True, False])
def test_the_same_adapter_goes_on(bench, kept):
    first = bench.train(**options("lora"))
    if not kept:
        cache.clear()
    second = bench.train({"model": first}, **options("lora"), handover="continue_adapter")
    one, two = (in_plain_peft(bench.store.path(s) / "model") for s in (first, second))
    assert one.peft_config["default"].r == two.peft_config["default"].r == 4
    moved = [n for n, p in one.named_parameters() if not torch.equal(p, two.get_parameter(n))]
    assert moved
    assert all("lora_" in name for name in moved)


def test_a_new_adapter_leaves_the_first_as_it_is_and_both_are_saved_as_one(bench):
    first = bench.train(**options("lora"))
    one = logits(in_plain_peft(bench.store.path(first) / "model"))
    second = bench.train({"model": first}, tuning="lora", lora_r=2, lora_alpha=4.0,
                         handover="new_adapter")  # fmt: skip
    folder = bench.store.path(second) / "model"
    joined = in_plain_peft(folder)
    assert joined.peft_config["default"].r == 4 + 2
    assert torch.allclose(
        logits(cache.get(folder, precision="fp32").model), logits(joined), atol=1e-5
    )
    assert not torch.allclose(logits(joined), one, atol=1e-3)
    first_a = in_plain_peft(bench.store.path(first) / "model").state_dict()
    name = next(n for n in first_a if "q_proj.lora_A" in n)
    scaling = 8.0 / 4
    assert torch.allclose(joined.state_dict()[name][:4], scaling * first_a[name], rtol=1e-6)


@pytest.mark.parametrize("handover", ["continue_adapter", "new_adapter"])
def test_after_two_adapters_became_one_the_next_phase_goes_on_from_the_one(bench, handover):
    """What moves is what was saved, not a part that is still in memory."""
    first = bench.train(**options("lora"))
    second = bench.train({"model": first}, **options("lora"), handover="new_adapter")
    rank = {"continue_adapter": 8, "new_adapter": 4}[handover]
    values = {"tuning": "lora", "lora_r": rank, "lora_alpha": float(rank), "handover": handover}
    third = bench.train({"model": second}, **values)
    before, after = (
        in_plain_peft(bench.store.path(one) / "model").state_dict() for one in (second, third)
    )
    name = next(n for n in before if "q_proj.lora_B" in n)
    moved = not torch.equal(before[name], after[name][:, :8])
    assert after[name].shape[1] == {"continue_adapter": 8, "new_adapter": 12}[handover]
    assert moved == (handover == "continue_adapter")


def test_a_merged_adapter_is_in_the_weights_below_the_next(bench):
    first = bench.train(**options("lora"))
    second = bench.train({"model": first}, **options("lora"), handover="merge_then_new")
    folder = bench.store.path(second) / "model"
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    merged = in_plain_peft(bench.store.path(first) / "model").merge_and_unload()
    assert torch.allclose(logits(base), logits(merged), atol=1e-5)
    opened = PeftModel.from_pretrained(base, folder)
    kept = cache.get(folder, precision="fp32").model
    assert torch.allclose(logits(opened), logits(kept), atol=1e-5)


def test_full_tuning_after_an_adapter_asks_for_a_merge(bench):
    first = bench.train(**options("lora"))
    with pytest.raises(TrainingError, match="handover: merge_then_new"):
        bench.train({"model": first})
    second = bench.train({"model": first}, handover="merge_then_new")
    folder = bench.store.path(second) / "model"
    assert (folder / "model.safetensors").is_file()
    AutoModelForCausalLM.from_pretrained(folder)


def test_what_moves_after_a_merge_is_chosen_among_the_weights_below_the_adapter(bench):
    first = bench.train(**options("lora"))
    method = Freeze(select="first", num_layers=1)
    values = {"methods": [method.spec()], "seed": 0, "phase": "p1", "history": []}
    choice = Step("trainable", "p1", 1, values, {"model": first})
    bench.run(choice, lambda work: trainable_step.run(work, base=bench.base, method=method))
    second = bench.train({"model": first, "trainable": choice}, handover="merge_then_new")
    merged = weights(in_plain_peft(bench.store.path(first) / "model").merge_and_unload())
    after = weights(AutoModelForCausalLM.from_pretrained(bench.store.path(second) / "model"))
    held = [name for name in merged if ".layers.0." in name or "embed_tokens" in name]
    assert all(torch.allclose(merged[name], after[name], atol=1e-6) for name in held)
    assert not any(torch.equal(merged[name], after[name]) for name in set(after) - set(held))


def test_another_rank_does_not_go_on_silently(bench):
    first = bench.train(**options("lora"))
    with pytest.raises(TrainingError, match=r"has r 4 \(asked: 8\); ask for the same"):
        bench.train({"model": first}, tuning="lora", lora_r=8, lora_alpha=8.0)


@pytest.mark.parametrize("kind", ["dora", "ia3"])
def test_adapters_that_cannot_be_joined_are_refused(bench, kind):
    first = bench.train(**options(kind))
    with pytest.raises(ModelError, match=f"two {kind} adapters cannot be saved as one"):
        bench.train({"model": first}, **options(kind), handover="new_adapter")


@pytest.mark.parametrize(
    ("target", "modules"),
    [
        (r".*layers\.0\..*_proj", {"0"}),
        (("q_proj", "v_proj"), {"0", "1"}),
        ("all-linear", {"0", "1"}),
    ],
)
def test_modules_are_meant_by_name_pattern_or_all(target, modules):
    model = adapters.attach(make_model(), Adapter(kind="lora", r=2, target_modules=target))
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert {name.split(".layers.")[1].split(".")[0] for name in names} == modules
    assert not any("lm_head" in name for name in names)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ModelError, match="target_modules 'nothing"):
        adapters.attach(make_model(), Adapter(kind="lora", target_modules="nothing.*"))


def test_embeddings_are_trained_whole_by_their_own_switch(bench):
    folder = bench.store.path(bench.train(**options("lora"), train_embeddings=True)) / "model"
    opened = in_plain_peft(folder)
    assert torch.equal(logits(cache.get(folder, precision="fp32").model), logits(opened))
    assert not torch.equal(
        opened.get_input_embeddings().weight, make_model().get_input_embeddings().weight
    )


def test_a_store_that_was_moved_still_opens(bench, tmp_path):
    first = bench.train(**options("lora"))
    second = bench.train({"model": first}, **options("lora"), handover="merge_then_new")
    folder = bench.store.path(second) / "model"
    expected = logits(load(str(folder), precision="fp32").model)
    moved = tmp_path / "elsewhere"
    shutil.move(bench.store.root, moved)
    found = load(str(moved / folder.relative_to(bench.store.root)), precision="fp32").model
    assert torch.equal(logits(found), expected)


def test_a_copy_takes_a_base_of_the_store_along(bench, tmp_path):
    first = bench.train(**options("lora"))
    second = bench.train({"model": first}, **options("lora"), handover="merge_then_new")
    folder = bench.store.path(second) / "model"
    expected = logits(load(str(folder), precision="fp32").model)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    adapter_folder.take_along(folder, copy, copy, bench.store.root)
    shutil.rmtree(bench.store.root)
    assert torch.equal(logits(load(str(copy), precision="fp32").model), expected)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(copy)), expected)


def test_a_base_that_is_gone_is_named(bench, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(bench.store.path(bench.train(**options("lora"))) / "model", folder)
    (folder / "retain_base.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "gone")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"base model is not at .*gone"):
        load(str(folder))


@pytest.mark.parametrize(
    ("kind", "dropout"), [("lora", 0.0), ("lora", 0.1), ("dora", 0.1), ("qlora", 0.0)]
)
def test_a_stopped_phase_ends_with_the_same_bits(tmp_path, tiny_model_folder, kind, dropout):
    stream = make_stream(num_steps=4, epochs=2)
    values = options(kind) | {"lora_dropout": dropout, "save_steps": 1}

    def run(root, stops):
        bench = Bench(tmp_path / root, tiny_model_folder, stream)
        one = Step("train", "p1", 1, SETTINGS | REFERENCE | values, {"mix": bench.mix})
        for stop in stops:
            cache.clear()
            calls = iter(range(10**6))
            with pytest.raises(Interrupted):
                bench.run(
                    one,
                    lambda work: step.run(work, base=bench.base),
                    stop=lambda stop=stop, calls=calls: next(calls) >= stop,
                )
        cache.clear()
        bench.run(one, lambda work: step.run(work, base=bench.base))
        return (bench.store.path(one) / "model" / "adapter_model.safetensors").read_bytes()

    assert run("stopped", [4, 3, 1]) == run("whole", [])


def test_packed_adapters_train_as_one_by_one(tiny_model_folder):
    """Adapters do not change the way in which the model is called."""
    from retain.train.forward import make_forward

    model = adapters.attach(make_model(), Adapter(kind="lora", r=4))
    assert make_forward(model).packed


def test_an_adapter_is_counted_without_weights(tiny_model_folder):
    adapter = Adapter(kind="lora", r=4)
    model = adapters.attach(make_model(), adapter)
    moving = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert adapters.num_parameters(tiny_model_folder, adapter) == moving


def test_settings_know_the_adapter():
    assert Settings(learning_rate=1e-3).adapter is None
    made = Settings(learning_rate=1e-3, tuning="rslora", lora_r=2, lora_target_modules=["q_proj"])
    assert made.adapter == Adapter(kind="rslora", r=2, target_modules=("q_proj",))


# ---------------------------------------------------------------- 4 bits


def test_qlora_trains_an_adapter_on_weights_of_4_bits_and_plain_peft_agrees(bench):
    folder = bench.store.path(bench.train(**options("qlora"))) / "model"
    kept = cache.get(folder, precision="fp32")
    assert kept.quantisation == "nf4"
    found = logits(kept.model)
    base = load_quantised(bench.base, kept.device, "fp32")
    assert adapters.is_quantised(base)
    assert torch.allclose(logits(PeftModel.from_pretrained(base, folder)), found, atol=1e-5)
    cache.clear()
    assert torch.equal(logits(load(str(folder), precision="fp32").model), found)
    assert not torch.allclose(logits(load_quantised(bench.base, kept.device, "fp32")), found)


def test_the_card_of_a_4_bit_phase_opens_what_was_scored(bench):
    folder = bench.store.path(bench.train(**options("qlora"))) / "model"
    card = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    opened = {}
    exec(card.replace("path/to/this/folder", str(folder)), opened)
    model = opened["model"].train()  # in evaluation, bitsandbytes may pack 4 bits anew
    with torch.no_grad():
        found = model(input_ids=IDS).logits
    assert torch.allclose(found, logits(cache.get(folder, precision="fp32").model), atol=1e-5)


def test_a_4_bit_phase_is_merged_at_full_precision(bench):
    """In place, the merge would be quantised again and lose what was learnt."""
    first = bench.train(**options("qlora"))
    folder = bench.store.path(first) / "model"
    second = bench.train({"model": first}, handover="merge_then_new", learning_rate=1e-12)
    merged = AutoModelForCausalLM.from_pretrained(bench.store.path(second) / "model")
    exact = PeftModel.from_pretrained(make_model(), folder)
    assert torch.allclose(logits(merged), logits(exact), atol=1e-4)
    with pytest.raises(ModelError, match="4 bits is not merged in place"):
        adapters.merged(load(str(folder), precision="fp32").model)


def test_4_bits_after_full_precision_ask_for_a_merge(bench):
    first = bench.train(**options("lora"))
    with pytest.raises(TrainingError, match="qlora and another tuning follow each other"):
        bench.train({"model": first}, **options("qlora"))
    second = bench.train({"model": first}, **options("qlora"), handover="merge_then_new")
    folder = bench.store.path(second) / "model"
    assert load(str(folder), precision="fp32").quantisation == "nf4"
    assert (folder / "base" / "model.safetensors").is_file()


def test_without_bitsandbytes_the_command_to_install_it_is_named(bench, monkeypatch):
    monkeypatch.setattr("retain.model.load.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'retain\[qlora\]'"):
        bench.train(**options("qlora"))


def test_ways_to_call_4_bits_in_bf16_are_compared_in_float32(tiny_model_folder):
    """Their layers round to bf16, which must not be taken for a wrong way to call the model."""
    from retain.decode.prefix_tree import Request
    from retain.evaluate.scorer import Scorer
    from retain.train.forward import make_forward

    model = load_quantised(tiny_model_folder, torch.device("cpu"), "bf16")
    layers = [m for m in model.modules() if hasattr(m, "compute_dtype")]
    seen = []
    layers[0].register_forward_hook(lambda module, args, out: seen.append(module.compute_dtype))
    assert make_forward(model).packed
    assert set(seen) == {torch.float32}
    seen.clear()
    scorer = Scorer(model, 64)
    scorer.loglikelihoods([Request((5, 6, 7), (8, 9))])
    assert scorer.path == "tree"
    assert (seen[0], seen[-1]) == (torch.float32, torch.bfloat16)
    assert {layer.compute_dtype for layer in layers} == {torch.bfloat16}


def test_a_4_bit_model_is_scored_by_the_tree(bench):
    from retain.decode.prefix_tree import Request
    from retain.evaluate.scorer import Scorer

    folder = bench.store.path(bench.train(**options("qlora"))) / "model"
    model = load(str(folder), precision="fp32").model
    scorer = Scorer(model, 64)
    (answer,) = scorer.loglikelihoods([Request((5, 6, 7), (8, 9))])
    assert scorer.path == "tree"
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits[0].log_softmax(-1)
    assert answer.loglikelihood == pytest.approx(float(scores[2, 8] + scores[3, 9]), abs=1e-4)


# ---------------------------------------------------------------- two adapters, whole tables


def random_parts(kinds, **second):
    """Two adapters of random numbers side by side."""
    ranks = iter((4, 2))
    model = adapters.attach(make_model(), Adapter(kind=kinds[0], r=next(ranks), alpha=8.0))
    adapters.add_beside(model, Adapter(kind=kinds[1], r=next(ranks), alpha=4.0, **second))
    draw = torch.Generator().manual_seed(0)
    for name in adapters.move(model, (adapters.NAME, adapters.NEW)):
        parameter = model.get_parameter(name)
        parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model


@pytest.mark.parametrize("kinds", [("lora", "lora"), ("rslora", "rslora"), ("rslora", "lora"),
                                   ("lora", "rslora")])  # fmt: skip
@pytest.mark.parametrize("target", ["all-linear", ("q_proj", "v_proj")])
def test_what_is_saved_as_one_does_what_both_did(tmp_path, tiny_model_folder, kinds, target):
    model = random_parts(kinds, target_modules=target)
    both = logits(model)
    adapters.join(model)
    assert torch.allclose(logits(model), both, atol=1e-6)
    adapters.write(model, tmp_path, tiny_model_folder, tmp_path)
    assert torch.allclose(logits(in_plain_peft(tmp_path)), both, atol=1e-6)
    with in_plain_peft(tmp_path).disable_adapter() as _, torch.no_grad():
        assert not torch.allclose(both, logits(make_model()), atol=1e-2)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"kind": "dora"}, {"kind": "lora"}, "two dora adapters cannot be saved as one"),
        ({"kind": "ia3"}, {"kind": "lora"}, "two ia3 adapters cannot be saved as one"),
        ({"kind": "lora", "embeddings": True}, {"kind": "lora"}, "embeddings and head are trained"),
        (
            {"kind": "lora", "target_modules": r".*q_proj"},
            {"kind": "lora", "target_modules": ("v_proj",)},
            "PEFT cannot save the two as one",
        ),
    ],
)
def test_what_cannot_be_saved_as_one_is_refused_before_it_is_trained(first, second, message):
    model = adapters.attach(make_model(), Adapter(**first))
    with pytest.raises(ModelError, match=message):
        adapters.add_beside(model, Adapter(**second))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"train_embeddings": True},
            "no part at 1 modules that are asked for, such as model",
        ),
        ({"lora_target_modules": ["q_proj"]}, "12 modules that are not asked for, such as model"),
        ({"lora_dropout": 0.1}, r"lora_dropout 0.0 \(asked: 0.1\)"),
        ({"tuning": "dora"}, r"use_dora False \(asked: True\)"),
        ({"tuning": "ia3"}, r"kind lora \(asked: ia3\)"),
    ],
)
def test_an_adapter_that_is_not_what_is_asked_does_not_go_on(bench, asked, message):
    first = bench.train(**options("lora"))
    with pytest.raises(TrainingError, match=message):
        bench.train({"model": first}, **options("lora") | asked)


@pytest.mark.parametrize("kind", [*KINDS, "qlora"])
def test_an_adapter_goes_on_the_same_from_memory_and_from_its_folder(tmp_path, bench, kind):
    asked = options(kind) | ({} if kind == "ia3" else {"train_embeddings": True})
    folders = []
    for kept in (True, False):
        one = bench if kept else Bench(tmp_path / "again", bench.base)
        first = one.train(**asked)
        if not kept:
            cache.clear()
        second = one.train({"model": first}, **asked)
        folders.append(one.store.path(second) / "model" / "adapter_model.safetensors")
    assert folders[0].read_bytes() == folders[1].read_bytes()


@pytest.mark.parametrize("switch", [{"train_embeddings": True}, {"train_head": True}])
@pytest.mark.parametrize("family", ["llama", "llama_untied"])
def test_tables_that_are_trained_whole_stay_tied(tmp_path, tokenizer, family, switch):
    """In training, in plain PEFT, and when they are merged."""
    base = tmp_path / "base"
    FAMILIES[family]().save_pretrained(base)
    tokenizer.save_pretrained(base)
    bench = Bench(tmp_path / "steps", base)
    folder = bench.store.path(bench.train(**options("lora"), **switch)) / "model"
    found = cache.get(folder, precision="fp32").model
    opened = in_plain_peft(folder)
    assert torch.equal(logits(found), logits(opened))
    for model in (found, opened):
        tables = [plain_table(one) for one in (model.get_input_embeddings(), head_of(model))]
        assert torch.equal(*tables) == (family != "llama_untied")
    old = AutoModelForCausalLM.from_pretrained(base)
    changed = [
        not torch.equal(plain_table(one), other.weight)
        for one, other in (
            (opened.get_input_embeddings(), old.get_input_embeddings()),
            (head_of(opened), old.get_output_embeddings()),
        )
    ]
    tied = family != "llama_untied"
    assert changed == ([True, True] if tied else [key in switch for key in SWITCHES])
    merged = tmp_path / "merged"
    expected = logits(opened)
    opened.merge_and_unload().save_pretrained(merged)
    again = AutoModelForCausalLM.from_pretrained(merged)
    torch.testing.assert_close(logits(again), expected, atol=1e-5, rtol=1e-4)


SWITCHES = ("train_embeddings", "train_head")


def plain_table(module):
    return module.weight.detach()


def head_of(model):
    return adapters.plain(model).get_output_embeddings()


@pytest.mark.parametrize("build", [*WITH_ENCODER.values(), FAMILIES["gpt2"], bloom])
@pytest.mark.parametrize("switch", ["embeddings", "head"])
def test_a_table_that_peft_does_not_keep_together_is_refused(build, switch):
    with pytest.raises(ModelError, match="PEFT does not keep together"):
        adapters.attach(build(), Adapter(kind="lora", **{switch: True}))


def test_a_table_that_ia3_does_not_keep_together_is_refused():
    with pytest.raises(ModelError, match="the same table, would stay as it is"):
        adapters.attach(make_model(), Adapter(kind="ia3", embeddings=True))


def test_a_shared_table_below_a_head_of_its_own_is_refused_too():
    def with_a_head_of_its_own():
        model = t5()
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        return model

    with pytest.raises(ModelError, match="the same table, would stay as it is"):
        adapters.attach(with_a_head_of_its_own(), Adapter(kind="lora", embeddings=True))
    adapters.attach(with_a_head_of_its_own(), Adapter(kind="lora", head=True))
