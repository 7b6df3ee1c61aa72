"""The callback in a real trainer of transformers."""

import csv

import pytest
import torch
from transformers import Trainer, TrainingArguments

import retain
from retain.model.reference import trust
from tests.conftest import make_model
from tests.evaluate.evaluation_task_files import write_task_files


@pytest.fixture
def task_folder(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(trust, "remote_code", True)  # its tasks call Python beside them
    return write_task_files(tmp_path_factory.mktemp("tasks"))


def rows_of_tokens(seed=0):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 400, (16, 12), generator=draw)
    return [{"input_ids": row, "labels": row} for row in tokens]


def trained(tmp_path, tokenizer, callback, epochs=2, resume=False, **options):
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "trainer"), num_train_epochs=epochs, use_cpu=True,
        per_device_train_batch_size=8, learning_rate=1e-2, report_to="none",
        disable_tqdm=True, logging_strategy="no", **{"save_strategy": "no"} | options,
    )  # fmt: skip
    trainer = Trainer(
        model=make_model(attention_dropout=0.1), args=arguments, train_dataset=rows_of_tokens(),
        eval_dataset=rows_of_tokens(seed=1), processing_class=tokenizer, callbacks=callback,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_a_trainer_learns_what_it_changed(tmp_path, tokenizer, task_folder):
    callback = retain.RetentionCallback(
        ["tiny_choices", "tiny_rolling"], limit=8, include_path=[task_folder],
        output=tmp_path / "scores",
    )  # fmt: skip
    trainer = trained(tmp_path, tokenizer, [callback])
    assert {row["step"] for row in callback.rows} == {0, 4}
    before, after = (
        next(r for r in callback.rows if r["step"] == step and r["metric"] == "bits_per_byte")
        for step in (0, 4)
    )
    assert before["difference"] == 0
    assert after["difference"] == pytest.approx(after["value"] - before["value"])
    assert after["difference"] != 0
    assert after["ci_low"] <= after["difference"] <= after["ci_high"]
    logged = [log for log in trainer.state.log_history if "retention/tiny_choices/acc" in log]
    assert [log["step"] for log in logged] == [0, 4]
    assert logged[1]["retention/tiny_rolling/bits_per_byte/change"] == after["difference"]
    with (tmp_path / "scores" / "step-4" / "comparison.csv").open() as file:
        assert {row["task"] for row in csv.DictReader(file)} == {"tiny_choices", "tiny_rolling"}
    after_us = retain.evaluate(
        trainer.model, "tiny_rolling", limit=8, tokenizer=tokenizer, include_path=[task_folder]
    )
    [value] = [r["value"] for r in after_us
               if r["role"] == "all" and r["metric"] == "bits_per_byte"]  # fmt: skip
    assert value == pytest.approx(after["value"])


def test_a_trainer_that_puts_a_forward_of_its_own_in_place_is_scored_too(
    tmp_path, tokenizer, task_folder
):
    """Accelerate does so for bf16, TRL's SFTTrainer always; it is bound to the whole model."""
    callback = retain.RetentionCallback(
        ["tiny_choices", "tiny_rolling"], limit=4, include_path=[task_folder]
    )
    trainer = trained(tmp_path, tokenizer, [callback], epochs=1, bf16=True)
    assert "forward" in vars(trainer.model)
    assert {row["step"] for row in callback.rows} == {0, 2}


def test_every_epoch_is_scored_once(tmp_path, tokenizer, task_folder):
    callback = retain.RetentionCallback(
        "tiny_rolling", limit=4, every="epoch", include_path=[task_folder]
    )
    trained(tmp_path, tokenizer, [callback], epochs=3)
    assert sorted({row["step"] for row in callback.rows}) == [0, 2, 4, 6]
    steps = [row["step"] for row in callback.rows if row["metric"] == "bits_per_byte"]
    assert steps == [0, 2, 4, 6]


def test_scoring_changes_nothing_in_the_training(tmp_path, tokenizer, task_folder):
    """Dropout draws the same, though a model was scored between."""
    callback = retain.RetentionCallback("tiny_choices", limit=4, include_path=[task_folder])
    scored = trained(tmp_path / "a", tokenizer, [callback]).model.state_dict()
    plain = trained(tmp_path / "b", tokenizer, []).model.state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in scored.items())


def test_the_last_rows_are_of_the_model_that_comes_out(tmp_path, tokenizer, task_folder):
    callback = retain.RetentionCallback(
        "tiny_rolling", limit=4, every="epoch", include_path=[task_folder]
    )
    trainer = trained(
        tmp_path, tokenizer, [callback], epochs=4, eval_strategy="epoch", save_strategy="epoch",
        load_best_model_at_end=True,
    )  # fmt: skip
    best = trainer.state.best_global_step
    assert best < trainer.state.global_step  # other random tokens are not learnt
    rows = [row for row in callback.rows if row["metric"] == "bits_per_byte"]
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 8, best]
    value = {row["step"]: row["value"] for row in rows}
    assert rows[-1]["value"] == next(row["value"] for row in rows if row["step"] == best)
    assert value[best] != value[8]


def test_a_resumed_training_says_since_when_it_counts(tmp_path, tokenizer, task_folder):
    trained(tmp_path, tokenizer, [], epochs=1, save_strategy="epoch")
    callback = retain.RetentionCallback("tiny_rolling", limit=4, include_path=[task_folder])
    with pytest.warns(UserWarning, match="training goes on at step 2"):
        trained(tmp_path, tokenizer, [callback], resume=True)
    assert {row["step"] for row in callback.rows} == {2, 4}


def test_another_rhythm_is_refused():
    with pytest.raises(ValueError, match="every 'step': allowed are train and epoch"):
        retain.RetentionCallback(every="step")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TRL's and its libraries' own
def test_an_adapter_in_trls_trainer_is_scored(tmp_path, tokenizer, task_folder):
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    callback = retain.RetentionCallback(
        ["tiny_choices", "tiny_rolling"], limit=4, include_path=[task_folder]
    )
    arguments = SFTConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=4, learning_rate=1e-2,
        report_to="none", use_cpu=True, bf16=True, save_strategy="no", logging_strategy="no",
        disable_tqdm=True, max_length=32,
    )  # fmt: skip
    rows = [{"text": f"the cat sat on the mat {number}"} for number in range(16)]
    trainer = SFTTrainer(
        model=make_model(), args=arguments, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, peft_config=LoraConfig(r=4, target_modules="all-linear"),
        callbacks=[callback],
    )  # fmt: skip
    trainer.train()
    assert {row["step"] for row in callback.rows} == {0, 2}
    assert any(row["difference"] for row in callback.rows if row["step"] == 2)
