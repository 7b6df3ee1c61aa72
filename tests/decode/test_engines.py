"""What every engine that writes texts must do, tested on each that is there.

vLLM is one of them where it is installed and has its device; elsewhere its cases are not made.
"""

from collections import Counter
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
import torch

from retain.decode.choose import Sampling
from retain.decode.live import Writing
from retain.decode.writer import Ends, Writer
from retain.errors import Interrupted, TaskError
from retain.model import adapters
from retain.model.adapters import Adapter
from retain.model.load import load
from tests.conftest import make_model
from tests.evaluate.evaluation_models import sharp

LONGEST = 200
PROMPTS = [tuple(range(start, start + length)) for start, length in ((5, 3), (40, 30), (40, 31))]
STOP = " the"


@contextmanager
def in_memory(loaded):
    writer = Writer(loaded.model, loaded.tokenizer, LONGEST, loaded.autocast)
    writer.why_not_live(LONGEST)  # tries the live batch
    yield writer


def by_vllm(loaded):
    from retain.decode.vllm_engine import vllm_writer

    # whole prompts at once: its build for CPUs cannot divide one whose text has a seed (0.32)
    return vllm_writer(loaded, LONGEST, enforce_eager=True, max_num_batched_tokens=2**14)


def vllm_is_here():
    if find_spec("vllm") is None:
        return False
    from vllm.platforms import current_platform

    return torch.cuda.is_available() or current_platform.is_cpu()


ENGINES = {"retain": in_memory} | ({"vllm": by_vllm} if vllm_is_here() else {})
QUIET = {"vllm": [pytest.mark.filterwarnings("ignore")]}  # its imports warn
EACH = [pytest.param(name, marks=QUIET.get(name, [])) for name in ENGINES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A model with heads as wide as kernels ask for, and next tokens that are clear."""
    path = tmp_path_factory.mktemp("engines") / "model"
    sharp(make_model(hidden_size=256, intermediate_size=256)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=EACH)
def ready(request, folder):
    """A model, and what writes with it."""
    loaded = load(str(folder), precision="fp32")
    with torch.no_grad(), ENGINES[request.param](loaded) as writer:
        yield loaded, writer


def plainly(model, prompt, has_ended, limit):
    written = []
    while len(written) < limit and not (written and has_ended(written)):
        inputs = torch.tensor([[*prompt, *written]], device=model.device)
        written.append(int(model(inputs).logits[0, -1].argmax()))
    return written


GREEDY = Sampling()


def written(writer, writings, sampling=GREEDY):
    writer.live(writings, sampling)
    return [one.written for one in writings]


def test_the_likeliest_tokens_are_those_of_plain_calls_up_to_each_limit(ready):
    loaded, writer = ready
    ends = Ends(loaded.tokenizer)
    limits = (7, 1, 12)
    found = written(writer, [Writing(p, n, ends) for p, n in zip(PROMPTS, limits, strict=True)])
    assert found == [
        plainly(loaded.model, p, ends, n) for p, n in zip(PROMPTS, limits, strict=True)
    ]


def test_an_end_token_ends_a_text_and_stays_in_it(ready):
    loaded, writer = ready
    whole = plainly(loaded.model, PROMPTS[0], Ends(loaded.tokenizer), 12)
    ends = Ends(loaded.tokenizer, end_tokens={whole[4]})
    [found] = written(writer, [Writing(PROMPTS[0], 12, ends)])
    assert found == whole[: whole.index(whole[4]) + 1]


def test_a_stop_string_ends_a_text_with_the_token_that_completes_it(ready):
    loaded, writer = ready
    whole = plainly(loaded.model, PROMPTS[1], Ends(loaded.tokenizer), 16)
    stop = loaded.tokenizer.decode(whole[5:7])
    ends = Ends(loaded.tokenizer, (stop,))
    [found] = written(writer, [Writing(PROMPTS[1], 16, ends)])
    assert found == plainly(loaded.model, PROMPTS[1], ends, 16)
    assert len(found) <= 7


def test_what_is_drawn_depends_on_seed_and_key_alone(ready):
    loaded, writer = ready
    ends = Ends(loaded.tokenizer)

    def texts(keys, seed=0):
        asked = [Writing(PROMPTS[0], 8, ends, key) for key in keys]
        found = written(writer, asked, Sampling(2.0, None, 1.0, seed))
        return dict(zip(keys, map(tuple, found), strict=True))

    first = texts(["a", "b", "c", "d"])
    assert len(set(first.values())) == 4
    again = texts(["d", "b"])
    assert again == {key: first[key] for key in ("d", "b")}
    assert texts(["a"], seed=1)["a"] != first["a"]


@pytest.mark.parametrize(
    "sampling", [Sampling(1.5), Sampling(1.5, 3), Sampling(1.5, None, 0.6)], ids=str
)
def test_tokens_are_drawn_as_often_as_they_are_likely(ready, sampling):
    loaded, writer = ready
    asked = [Writing(PROMPTS[2], 1, Ends(loaded.tokenizer), str(n)) for n in range(600)]
    counts = Counter(token for [token] in written(writer, asked, sampling))
    inputs = torch.tensor([PROMPTS[2]], device=loaded.device)
    probabilities = (loaded.model(inputs).logits[0, -1].double() / sampling.temperature).softmax(-1)
    ordered, tokens = probabilities.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    kept = before < sampling.top_p
    if sampling.top_k:
        kept[sampling.top_k :] = False
    ordered = ordered * kept / (ordered * kept).sum()
    assert set(counts) <= set(tokens[kept].tolist())
    for token, probability in zip(tokens[:3].tolist(), ordered[:3].tolist(), strict=True):
        spread = 4 * (600 * probability * (1 - probability)) ** 0.5
        assert abs(counts[token] - 600 * probability) <= spread + 1e-9


def test_a_stop_is_heard(ready):
    def check_stop():
        raise Interrupted("stopped")

    loaded, writer = ready
    with pytest.raises(Interrupted):
        writer.live([Writing(PROMPTS[0], 9, Ends(loaded.tokenizer))], Sampling(), check_stop)


@pytest.mark.parametrize("engine", EACH)
def test_an_adapter_writes_what_it_says(tmp_path, folder, engine):
    loaded = load(str(folder), precision="fp32")
    model = adapters.attach(loaded.model, Adapter(kind="lora", r=4, alpha=64.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(name)))
    adapters.write(model, tmp_path / "adapter", folder, tmp_path / "adapter")
    loaded.tokenizer.save_pretrained(tmp_path / "adapter")
    adapted = load(str(tmp_path / "adapter"), precision="fp32")
    ends = Ends(adapted.tokenizer)
    with torch.no_grad(), ENGINES[engine](adapted) as writer:
        found = written(writer, [Writing(one, 6, ends) for one in PROMPTS])
        assert found == [plainly(adapted.model, one, ends, 6) for one in PROMPTS]
        plain = load(str(folder), precision="fp32").model
        assert found != [plainly(plain, one, ends, 6) for one in PROMPTS]


@pytest.mark.parametrize("engine", EACH)
def test_a_model_that_answers_nan_is_told_of(tmp_path, tokenizer, engine):
    model = make_model(hidden_size=256, intermediate_size=256)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load(str(tmp_path), precision="fp32")
    writing = Writing(PROMPTS[0], 3, Ends(tokenizer), name="its text")
    told = pytest.raises(TaskError, match="its text: the model answers NaN")
    with torch.no_grad(), ENGINES[engine](loaded) as writer, told:
        writer.live([writing], GREEDY)
