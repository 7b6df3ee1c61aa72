"""Generation: limits, stop strings, sampling, batches."""

import pytest

from retain.errors import Interrupted, TaskError
from retain.evaluate.generate import Prompt
from retain.evaluate.ledger import Ledger

TEXTS = ("the cat", "which one", "मेरो नाम एक", "a", "no yes " * 9)
GREEDY = {"max_gen_toks": 12}


def prompts(options, texts=TEXTS):
    return [Prompt(text, options) for text in texts]


def test_answers_do_not_depend_on_the_batch(engine):
    engine.generator.batch_size = 1
    alone = engine.generate(prompts(GREEDY))
    engine.generator.batch_size = 3
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
    import torch

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


def test_a_stopped_generation_goes_on_with_what_it_has(engine, tmp_path):
    engine.generator.batch_size = 2
    whole = engine.generate(prompts(GREEDY))
    calls = iter([False, True])
    with pytest.raises(Interrupted):
        engine.generate(prompts(GREEDY), Ledger(tmp_path, stop=lambda: next(calls)))
    asked = []
    ledger = Ledger(tmp_path, stop=lambda: asked.append(1) is not None)
    assert engine.generate(prompts(GREEDY), ledger) == whole
    assert len(asked) == 2
