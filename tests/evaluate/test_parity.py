"""Our engine against the harness's own model, on the same task files and the same weights."""

import contextlib
import io
import random

import lm_eval
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

import retain.evaluate
from retain.evaluate import catalog
from retain.evaluate.engine import Engine
from retain.evaluate.harness import RetainLM
from retain.evaluate.lm_eval_task import LmEvalTask
from retain.evaluate.run import run
from retain.evaluate.tokens import rolling_windows
from tests.evaluate.evaluation_models import TREES, make_tokenizer

TASKS = ["tiny_choices", "tiny_letters", "tiny_rolling", "tiny_generation"]
CONTEXTS = ("the cat", "the cat ", "", "which one\n", "मेरो नाम", "a b c?\n\n", "the dog " * 300)
ENDINGS = (" dog", " no yes", "Anatomy", "किताब है", "\n")
SAME = pytest.approx


def instances(kind, arguments):
    return [Instance(kind, {}, one, 0, ("task", number, 1)) for number, one in enumerate(arguments)]


@pytest.fixture(scope="module", params=sorted(TREES))
def pair(request, tokenizer):
    """The harness's model and ours, over the same weights."""
    model = TREES[request.param]()
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu")
    return theirs, RetainLM(Engine(model, tokenizer))


def quietly(call, *arguments, **options):
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return call(*arguments, **options)


def test_loglikelihoods(pair):
    theirs, ours = pair
    asked = instances("loglikelihood", [(c, e) for c in CONTEXTS for e in ENDINGS])
    expected = quietly(theirs.loglikelihood, asked)
    for one, other in zip(ours.loglikelihood(asked), expected, strict=True):
        assert one == (SAME(other[0], abs=1e-4), other[1])
    assert ours.engine.num_truncated > 0


def test_rolling(pair):
    theirs, ours = pair
    asked = instances("loglikelihood_rolling", [(text,) for text in CONTEXTS if text])
    expected = quietly(theirs.loglikelihood_rolling, asked)
    # a text of several windows adds up hundreds of fp32 terms
    assert ours.loglikelihood_rolling(asked) == SAME(expected, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"until": ["\n"], "max_gen_toks": 20},
        {"until": ["न", "9"], "max_gen_toks": 30, "do_sample": False, "temperature": 0.0},
        {"max_gen_toks": 5},
        {"until": "the", "max_new_tokens": 9},
    ],
)
def test_generation(pair, options):
    theirs, ours = pair
    prompts = [text for text in CONTEXTS if text]
    expected = quietly(
        theirs.generate_until, instances("generate_until", [(p, dict(options)) for p in prompts])
    )
    assert (
        ours.generate_until(instances("generate_until", [(p, dict(options)) for p in prompts]))
        == expected
    )


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("asked", [None, False, True])
def test_beginnings_of_texts_follow_the_same_rules(sharp_llama, adds, asked):
    """Whether the tokenizer adds BOS by itself, and whether one is asked for or written out."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    if adds:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
        )
    theirs = HFLM(pretrained=sharp_llama, tokenizer=tokenizer, device="cpu", add_bos_token=asked)
    ours = RetainLM(Engine(sharp_llama, tokenizer, add_bos_token=asked))
    texts = ("the cat", "<|im_start|>the cat", "")
    for text in texts:
        assert ours.tok_encode(text) == theirs.tok_encode(text)
        assert ours.tok_encode(text, False) == theirs.tok_encode(text, False)
    pairs = instances("loglikelihood", [(text, end) for text in texts for end in (" sat", "dog")])
    expected = quietly(theirs.loglikelihood, pairs)
    for one, other in zip(ours.loglikelihood(pairs), expected, strict=True):
        assert one == (SAME(other[0], abs=1e-4), other[1])
    whole = instances("loglikelihood_rolling", [(text,) for text in texts[:2]])
    expected = quietly(theirs.loglikelihood_rolling, whole)
    assert ours.loglikelihood_rolling(whole) == SAME(expected, abs=1e-4)


@given(tokens=st.lists(st.integers(0, 99), max_size=60).map(tuple), max_length=st.integers(1, 20))
def test_windows_are_the_harness_windows(tokens, max_length):
    windows = get_rolling_token_windows(list(tokens), 7, max_length, 1)
    expected = [tuple(map(tuple, make_disjoint_window(window))) for window in windows]
    assert rolling_windows(tokens, 7, max_length) == expected


# ---------------------------------------------------------------- whole evaluations


def harness_scores(model, task_folder, shots, limit):
    manager = TaskManager(include_path=str(task_folder), include_defaults=False)
    return quietly(
        lm_eval.simple_evaluate,
        model=model,
        tasks=list(TASKS),
        task_manager=manager,
        num_fewshot=shots,
        limit=limit,
        bootstrap_iters=0,
    )


def items_of(samples):
    """doc_id and responses of each sample, log-likelihoods as numbers."""
    return [(one["doc_id"], one["filtered_resps"]) for one in samples]


@pytest.mark.parametrize("shots", [0, 2])
def test_the_harness_gets_the_same_results_from_both(pair, task_folder, shots):
    theirs, ours = pair
    expected = harness_scores(theirs, task_folder, shots, 10)
    found = harness_scores(ours, task_folder, shots, 10)
    for task in TASKS:
        for name, value in expected["results"][task].items():
            if isinstance(value, float):
                assert found["results"][task][name] == SAME(value, abs=1e-4, rel=1e-5), (task, name)


@pytest.mark.parametrize("shots", [0, 2])
def test_compat_gives_the_harness_accuracies(pair, task_folder, shots):
    theirs, ours = pair
    expected = harness_scores(theirs, task_folder, shots, 10)
    specs = catalog.resolve(TASKS, include_path=[task_folder])
    ready = [LmEvalTask(spec, 10, "lm-eval") for spec in specs]
    found = run(ready, ours.engine, [shots])
    assert {row["role"] for row in found.scores} == {"report", "all"}
    for row in found.scores:
        metric, _, kept = row["metric"].partition(",")
        value = expected["results"][row["task"]][f"{metric},{kept or 'none'}"]
        assert row["value"] == SAME(value, abs=1e-4, rel=1e-5), row
        assert row["num_items"] == 10
    choices = [item for item in found.items if item["task"] == "tiny_choices"]
    samples = expected["samples"]["tiny_choices"]
    for item, sample in zip(choices, samples, strict=True):
        wanted = [response[0] for response in sample["filtered_resps"]]
        assert item["choice_logprobs"] == SAME(wanted, abs=1e-4)


def test_other_shots_give_other_scores(engine, task_folder):
    """Negative control: were shots left out, the tests above would still pass at 0 shots."""
    (spec,) = catalog.resolve(["tiny_choices"], include_path=[task_folder])
    task = LmEvalTask(spec, 10)
    first = run([task], engine, [2]).items
    random.Random(3).shuffle(task._shots)
    task._asked.clear()
    second = run([task], engine, [2]).items
    assert [item["item"] for item in first] == [item["item"] for item in second]
    assert [i["choice_logprobs"] for i in first] != [i["choice_logprobs"] for i in second]


def test_lm_opens_a_folder(tiny_model_folder):
    model = retain.evaluate.lm(str(tiny_model_folder), max_length=64)
    assert isinstance(model, lm_eval.api.model.LM)
    assert model.max_length == 64
    (answer,) = model.loglikelihood(instances("loglikelihood", [("the cat", " sat")]))
    assert answer[0] < 0


def test_lm_knows_the_chat_template(engine):
    messages = [{"role": "user", "content": "who"}]
    assert RetainLM(engine).apply_chat_template(messages).endswith("<|im_start|>assistant\n")


def test_a_template_without_system_turns_is_asked_without_one(sharp_llama):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    theirs = HFLM(pretrained=sharp_llama, tokenizer=tokenizer, device="cpu")
    ours = RetainLM(Engine(sharp_llama, tokenizer))
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who"}]
    assert ours.apply_chat_template(messages) == theirs.apply_chat_template(messages)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(TemplateError, match="no"):
        ours.apply_chat_template(messages[1:])


@pytest.mark.slow
def test_a_real_model_on_real_tasks():
    """Needs the packages of SmolLM2 and of the data in the cache."""
    from benchmarks.parity import compare

    from retain.evaluate.api import open_engine

    engine = open_engine("embedded:smollm2-135m-instruct", precision="fp32")
    tasks = ("embedded_boolq", "embedded_piqa", "embedded_openbookqa")
    for row in compare(engine, tasks, limit=40, num_fewshot=0):
        assert row.ours == row.theirs
        assert row.num_items == 40
        assert row.largest_difference <= 1e-3
        assert row.num_other_choices == 0
