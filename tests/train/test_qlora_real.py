"""QLoRA of SmolLM2-135M on this device, in a recipe: what a user of a small machine does."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from retain import api
from retain.model.adapter_folder import base_folder
from retain.model.adapters import is_quantised
from retain.model.load import load

RECIPE = """
name: small
model: embedded:smollm2-135m-instruct
phases:
  - name: facts
    data: facts.jsonl
    held_out: {count: 8}
    train: {tuning: qlora, lora_r: 8, learning_rate: 5.0e-4, max_steps: 8, batch_size: 8,
            lr_scheduler_type: constant, precision: fp32, save_steps: 4}
evaluate: {tasks: [phases]}
arms: {none: []}
"""
PROMPT = "Which colour has the house number 7?"


@pytest.mark.slow
def test_qlora_learns_and_plain_peft_agrees(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colours = ("red", "green", "blue")
    rows = [
        {"prompt": f"Which colour has the house number {n}?", "completion": colours[n % 3]}
        for n in range(64)
    ]
    Path("facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("small.yaml").write_text(RECIPE)
    plan = api.plan("small.yaml")
    (line,) = [line for line in plan.lines if line.step.kind == "train"]
    assert 2e6 < line.trainable_parameters < 4e6

    outcome = api.run("small.yaml")
    (curve,) = Path("runs/.steps/train").glob("*/curve.jsonl")
    losses = [json.loads(one)["loss"] for one in curve.read_text().splitlines()]
    assert losses[-1] < 0.6 * losses[0]
    folder = (outcome.folder / "models" / "none-seed0-facts").resolve()
    assert (folder / "adapter_model.safetensors").stat().st_size < 2e7

    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": PROMPT}]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    ours = load(str(folder), precision="fp32")
    assert ours.quantisation == "nf4"
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    base = AutoModelForCausalLM.from_pretrained(
        base_folder(folder), dtype=torch.float32, quantization_config=four_bits
    )
    assert is_quantised(base)
    plain = PeftModel.from_pretrained(base, folder)
    with torch.no_grad():
        # in training mode: bitsandbytes packs weights anew for evaluation on some processors
        expected, found = ours.model.eval()(ids).logits, plain.train()(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad(), plain.disable_adapter():
        assert not torch.allclose(plain(ids).logits, expected, atol=1e-2)
