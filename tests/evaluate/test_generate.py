"""Generation: limits, stop strings, sampling, batches."""

import pytest
import torch

from retain.decode import writer
from retain.decode.live import LiveBatch
from retain.errors import Interrupted, TaskError
from retain.evaluate import generate
from retain.evaluate.engine import Engine
from retain.evaluate.generate import Prompt
from retain.evaluate.ledger import Ledger
from tests.evaluate.evaluation_models import ROWWISE, bloom, phimoe, qwen3, t5

TEXTS = ("the cat", "which one", "मेरो नाम एक", "a", "no yes " * 9)
GREEDY = {"max_gen_toks": 12}


def prompts(options, texts=TEXTS):
    return [Prompt(text, options) for text in texts]


def test_answers_do_not_depend_on_the_batch(engine):
    engine.generator.writer.num_slots = 1
    alone = engine.generate(prompts(GREEDY))
    engine.generator.writer.num_slots = 3
    assert engine.generate(prompts(GREEDY)) == alone
    assert engine.generate(prompts(GREEDY, TEXTS[::-1])) == alone[::-1]


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(engine):
    (whole,) = engine.generate(prompts({"max_gen_toks": 20}, ["the cat"]))
    stop = whole[len(whole) // 2 :][:2]
    (cut,) = engine.generate(prompts({"max_gen_toks": 20, "until": [stop]}, ["the cat"]))
    assert cut == whole.split(stop)[0]


def test_options_of_different_prompts_do_not_mix(engine):
    short, long = {"max_gen_toks": 2}, {"max_gen_toks": 12}
    mixed = engine.generate([Prompt("the cat", short), Prompt("the cat", long)])
    assert mixed == [engine.generate([Prompt("the cat", one)])[0] for one in (short, long)]


def test_sampling_is_seeded_and_leaves_the_global_generator(engine):

    options = {"max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = engine.generate(prompts(options))
    assert torch.equal(torch.get_rng_state(), before)
    assert engine.generate(prompts(options)) == first
    engine.generator.seed = 1
    assert engine.generate(prompts(options)) != first


def test_given_tokens_are_what_is_continued(engine):
    tokens = tuple(engine.tokenizer("the cat")["input_ids"])
    (by_text,) = engine.generate([Prompt("the cat", GREEDY)])
    assert engine.generate([Prompt("ignored", GREEDY, tokens=tokens)]) == [by_text]


def test_a_long_prompt_loses_its_beginning_and_is_counted(engine):
    engine.generate([Prompt("the dog " * 400, GREEDY)])
    assert engine.num_truncated == 1


def test_a_limit_that_leaves_no_room_is_refused(engine):
    with pytest.raises(TaskError, match="gsm8k, document 1: answers of up to 512 tokens leave no"):
        engine.generate([Prompt("the cat", {"max_gen_toks": 512}, "gsm8k, document 1")])


def test_a_stopped_generation_goes_on_with_what_it_has(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "PORTION", 2)
    whole = engine.generate(prompts(GREEDY))
    done = []
    ledger = Ledger(
        tmp_path,
        progress=lambda answers, *_: done.append(answers),
        stop=lambda: bool(done),  # after the first portion
    )
    with pytest.raises(Interrupted):
        engine.generate(prompts(GREEDY), ledger)
    assert done == [2]
    asked = []
    write = writer.write

    def counted(model, writings, *options):
        asked.extend(writings)
        write(model, writings, *options)

    monkeypatch.setattr(writer, "write", counted)
    assert engine.generate(prompts(GREEDY), Ledger(tmp_path)) == whole
    assert len(asked) == len(TEXTS) - 2


def test_a_stop_inside_a_portion_is_heard(engine):
    calls = iter([False] * 4)
    with pytest.raises(Interrupted, match=r"stopped inside a portion.*the same command goes on"):
        engine.generate(prompts(GREEDY), Ledger(stop=lambda: next(calls, True)))


# ---------------------------------------------------------------- the way taken


def by_transformers(engine, asked, limit):
    """Each prompt alone through ``transformers.generate``, greedily."""
    texts = []
    for text in asked:
        tokens = torch.tensor([engine.tokenizer(text)["input_ids"]])
        whole = engine.model.generate(tokens, max_new_tokens=limit, do_sample=False)
        texts.append(engine.tokenizer.decode(whole[0, tokens.shape[1] :], skip_special_tokens=True))
    return texts


def test_greedy_answers_are_those_of_transformers(engine):
    assert engine.generate(prompts(GREEDY)) == by_transformers(engine, TEXTS, 12)
    assert engine.generator.notes == []


def test_options_that_only_transformers_has_go_through_it_and_it_is_said(engine):
    options = GREEDY | {"repetition_penalty": 1.5}
    found = engine.generate(prompts(options))
    assert found != engine.generate(prompts(GREEDY))
    assert engine.generator.notes == [
        "answers written by transformers.generate because repetition_penalty is set"
    ]


def test_a_model_that_the_live_batch_does_not_fit_goes_through_transformers(tokenizer):
    engine = Engine(bloom(), tokenizer, max_length=128)
    assert engine.generate(prompts(GREEDY)) == by_transformers(engine, TEXTS, 12)
    assert "because a live batch is" in engine.generator.notes[0]


def test_where_memory_runs_out_fewer_are_written_at_a_time(engine, monkeypatch):
    expected = engine.generate(prompts(GREEDY))
    step = LiveBatch.step

    def limited(self, tokens):
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, tokens)

    monkeypatch.setattr(LiveBatch, "step", limited)
    assert engine.generate(prompts(GREEDY)) == expected
    assert engine.generator.writer.num_slots == 2
    assert "out of memory: going on with 2 answers at a time" in engine.generator.notes


def test_repeats_of_one_prompt_draw_apart(engine):
    options = {"max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    one, other = engine.generate(prompts(options, ["the cat", "the cat"]))
    assert one != other


# ---------------------------------------------------------------- what is refused, and by name


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_length": 70}, "max_length counts the prompt too"),
        ({"max_gen_toks": 0}, "max_gen_toks is 0"),
        ({"until": [""]}, "until holds an empty string"),
        ({"do_sample": True, "temperature": 0.0}, "temperature is 0.0; sampling needs more"),
        ({"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(engine, options, fault):
    with pytest.raises(TaskError, match=f"drop, document 3: {fault}"):
        engine.generate([Prompt("the cat", options, "drop, document 3")])


def test_an_option_that_nobody_knows_is_not_passed_over(engine):
    with pytest.raises(ValueError, match="do_smaple"):
        engine.generate([Prompt("the cat", GREEDY | {"do_smaple": True})])


def test_an_empty_prompt_is_refused_by_name(engine):
    with pytest.raises(TaskError, match="drop, document 3: the prompt has no token"):
        engine.generate([Prompt("the cat"), Prompt("", name="drop, document 3")])


@pytest.mark.parametrize("options", [GREEDY, GREEDY | {"repetition_penalty": 1.5}])
def test_nan_is_not_taken_for_an_answer(tokenizer, options):
    """Through the live batch and through transformers; neighbours are not blamed."""
    model = qwen3()
    bad = tokenizer(" Anatomy", add_special_tokens=False)["input_ids"][-1]
    with torch.no_grad():
        model.model.embed_tokens.weight[bad] = torch.nan
    asked = [Prompt(text, options, text) for text in ("the cat", "the Anatomy", "who is", "dog")]
    with pytest.raises(TaskError, match=r"^the Anatomy: the model answers NaN"):
        Engine(model, tokenizer).generate(asked)


# ---------------------------------------------------------------- models that look different


@pytest.mark.parametrize("name", ROWWISE)
def test_positions_that_depend_on_the_batch_are_written_one_by_one(tokenizer, name):
    engine = Engine(ROWWISE[name](), tokenizer, max_length=256)
    texts = ["the cat", "the dog ran " * 30, "who"]
    asked = prompts({"max_gen_toks": 20}, texts)
    alone = [Engine(ROWWISE[name](), tokenizer, max_length=256).generate([p])[0] for p in asked]
    assert engine.generate(asked) == alone
    assert "from 64 tokens on" in engine.generator.notes[0]


def test_the_live_batch_is_tried_again_where_texts_become_longer():
    from tests.evaluate.evaluation_models import make_tokenizer

    engine = Engine(phimoe(), make_tokenizer())
    engine.generate(prompts(GREEDY, ["the cat"]))
    assert engine.generator.notes == []
    asked = ["the dog ran " * 40]
    assert engine.generate(prompts(GREEDY, asked)) == by_transformers(engine, asked, 12)
    assert "because a live batch is off" in engine.generator.notes[0]


def test_the_answers_length_counts_for_the_trial(tokenizer):
    engine = Engine(phimoe(), tokenizer)
    engine.generate(prompts({"max_gen_toks": 100}, ["the cat"]))
    assert "because a live batch is off" in engine.generator.notes[0]


def test_sampling_draws_from_as_many_tokens_as_transformers_does(engine, monkeypatch):
    seen = []
    live = engine.generator.writer.live
    monkeypatch.setattr(
        engine.generator.writer,
        "live",
        lambda writings, sampling, stop: seen.append(sampling) or live(writings, sampling, stop),
    )
    sampled = {"max_gen_toks": 2, "do_sample": True, "temperature": 0.7}
    for options in (sampled, sampled | {"top_k": 0}, sampled | {"top_k": 7}):
        engine.generate(prompts(options))
    assert [one.top_k for one in seen] == [50, None, 7]


@pytest.mark.parametrize("asked", [None, False])
def test_an_encoder_reads_its_end_token(asked):
    """``add_bos_token`` is of decoders."""
    from tokenizers.processors import TemplateProcessing

    from tests.evaluate.evaluation_models import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", tokenizer.eos_token_id)]
    )
    engine = Engine(t5(), tokenizer, add_bos_token=asked)
    (found,) = engine.generate(prompts({"max_gen_toks": 9}, ["the cat"]))
    tokens = torch.tensor([tokenizer("the cat")["input_ids"]])
    assert tokens[0, -1] == tokenizer.eos_token_id
    whole = engine.model.generate(tokens, max_new_tokens=9, do_sample=False)
    assert found == tokenizer.decode(whole[0, 1:], skip_special_tokens=True)
