"""Scoring by lm-evaluation-harness's own Hugging Face model and by ours, side by side.

    python benchmarks/evaluate.py [--items 64] [--rows NAME ...] [--memory] [--output FILE]

Both get the same model object and the same tokens to score, in one process. The harness gets the
batch size that was fastest in a short sweep. Its work is cut into blocks; between two of them ours
does the whole work, so each block has a ratio of its own: the block's time, scaled to the whole by
its share of the operations, over the mean of our two runs beside it. Printed: the median of the
ratios and a 95 % bootstrap interval, the ratio of arithmetic operations (from token counts;
attention and head included), our share of the machine's matrix-product rate measured before and
after, and what differs in the results. Nothing is dropped; a noisy machine shows in the interval.

``--memory`` compares instead the peak of two fresh processes that score the same items, the
harness at batch size 8, above that of a process that only loads the model.
"""

import argparse
import json
import logging
import platform
import random
import resource
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lm_eval.api.instance import Instance

from retain.decode.prefix_tree import Request, Row
from retain.evaluate.api import make_task, open_engine
from retain.evaluate.catalog import resolve
from retain.evaluate.engine import Engine, Pair
from retain.evaluate.generate import Prompt

SMOLLM, GEMMA = "embedded:smollm2-135m-instruct", "embedded:gemma3-270m"
NUM_BLOCKS = 4
BATCH_SIZES = (4, 8, 16, 32)
RESAMPLES = 2000
ONES = 6  # answers by which batch size 1 is judged
GREEDY = {"until": [], "max_gen_toks": 96, "do_sample": False}


@dataclass(frozen=True)
class Work:
    """A row of the table.

    Attributes:
        name: What it is called.
        task: Whose items are scored.
        num_fewshot: At which numbers of shots, all in one job.
        floor: The least ratio wanted.
        aim: The ratio hoped for; None is 0.8 of the ratio of operations.
        model: Which model.
        dtype: Of its weights.
    """

    name: str
    task: str
    num_fewshot: tuple[int, ...]
    floor: float
    aim: float | None = None
    model: str = SMOLLM
    dtype: str = "float32"


WORKS = (
    Work("piqa-0", "embedded_piqa", (0,), 3),
    Work("commonsenseqa-0", "embedded_commonsenseqa_cloze", (0,), 3),
    Work("mmlu-5", "embedded_mmlu", (5,), 6),
    Work("piqa-5", "embedded_piqa", (5,), 6),
    Work("commonsenseqa-5", "embedded_commonsenseqa_cloze", (5,), 15),
    Work("openbookqa-10", "embedded_openbookqa", (10,), 12),
    Work("openbookqa-25", "embedded_openbookqa", (25,), 25, 60),
    Work("commonsenseqa-sweep", "embedded_commonsenseqa_cloze", (0, 1, 2, 4, 8), 10, 15),
    Work("commonsenseqa-5-bf16", "embedded_commonsenseqa_cloze", (5,), 15, dtype="bfloat16"),
    Work("gemma-commonsenseqa-5", "embedded_commonsenseqa_cloze", (5,), 10, model=GEMMA),
)


@dataclass(frozen=True)
class Result:
    """What a row came to.

    Attributes:
        name: The row.
        num_items: Items scored, at every number of shots.
        num_requests: Requests.
        ratio: Median over blocks of the harness's time over ours.
        low: Lower end of its interval.
        high: Upper end.
        operations: The harness's arithmetic operations over ours.
        floor: The least ratio wanted.
        aim: The ratio hoped for.
        share_of_peak: Our operations a second over the machine's in matrix products.
        batch_size: The harness's best.
        their_seconds: The whole work by the harness.
        our_seconds: The same by ours, median.
        largest_difference: Of any log-likelihood, in nats.
        other_choices: Items where the two prefer another choice.
        other_choices_beyond_margin: Those of them where the two best are more than 1e-3 apart.
    """

    name: str
    num_items: int
    num_requests: int
    ratio: float
    low: float
    high: float
    operations: float
    floor: float
    aim: float
    share_of_peak: float
    batch_size: int
    their_seconds: float
    our_seconds: float
    largest_difference: float
    other_choices: int
    other_choices_beyond_margin: int


def requests_of(engine: Engine, work: Work, num_items: int) -> tuple[list[list[Request]], int]:
    """The requests of each question, and how many items there are."""
    (spec,) = resolve([work.task])
    task = make_task(spec, engine, limit=num_items)
    questions = [question for k in work.num_fewshot for question in task.questions(k)]
    found = []
    for question in questions:
        pairs = [call for call in question.calls if isinstance(call, Pair)]
        tokens = engine.encoder.pairs([(pair.context, pair.continuation) for pair in pairs])
        found.append([Request(*both, pair.name) for both, pair in zip(tokens, pairs, strict=True)])
    return found, len(questions) // len(work.num_fewshot)


def measure(work: Work, num_items: int) -> Result:
    """Run one row."""
    engine = open_model(work.model, work.dtype)
    questions, found = requests_of(engine, work, num_items)
    requests = [request for question in questions for request in question]
    theirs = _harness(engine)
    batch_size = _best_batch_size(theirs, questions)
    theirs.batch_size_per_gpu = batch_size
    engine.scorer.loglikelihoods(requests[:8])  # finds its path, warms up
    shape = Shape.of(engine.model)
    order = list(range(len(questions)))
    random.Random(0).shuffle(order)
    blocks = [order[start::NUM_BLOCKS] for start in range(NUM_BLOCKS)]
    peaks = [peak(work.dtype)]
    their_answers: dict[int, list[float]] = {}
    ours: list[float] = []
    their_times: list[float] = []

    def run_ours() -> list[float]:
        start = perf_counter()
        answers = engine.scorer.loglikelihoods(requests)
        ours.append(perf_counter() - start)
        return [answer.loglikelihood for answer in answers]

    our_answers = run_ours()
    for block in blocks:
        asked = [request for index in block for request in questions[index]]
        start = perf_counter()
        answers = iter(theirs._loglikelihood_tokens(_as_theirs(asked), disable_tqdm=True))
        their_times.append(perf_counter() - start)
        for index in block:
            their_answers[index] = [next(answers)[0] for _ in questions[index]]
        run_ours()
    peaks.append(peak(work.dtype))
    per_block = [shape.harness([questions[index] for index in block]) for block in blocks]
    total = sum(per_block)
    ratios = [
        seconds * total / operations / statistics.mean(ours[number : number + 2])
        for number, (seconds, operations) in enumerate(zip(their_times, per_block, strict=True))
    ]
    plan = engine.scorer._path.plan(requests, engine.scorer.budget_tokens)
    operations = shape.ours(plan)
    low, high = interval(ratios)
    given = iter(our_answers)
    pairs = [(their_answers[i], [next(given) for _ in q]) for i, q in enumerate(questions)]
    margin = 1e-3 if work.dtype == "float32" else 0.1
    others = [one for one, other in pairs if _best(one) != _best(other)]
    return Result(
        name=work.name,
        num_items=found,
        num_requests=len(requests),
        ratio=statistics.median(ratios),
        low=low,
        high=high,
        operations=total / operations,
        floor=work.floor,
        aim=work.aim or 0.8 * total / operations,
        share_of_peak=operations / statistics.median(ours) / statistics.mean(peaks),
        batch_size=batch_size,
        their_seconds=sum(their_times),
        our_seconds=statistics.median(ours),
        largest_difference=max(
            abs(x - y) for one, other in pairs for x, y in zip(one, other, strict=True)
        ),
        other_choices=len(others),
        other_choices_beyond_margin=sum(_margin(one) > margin for one in others),
    )


@dataclass(frozen=True)
class Shape:
    """What decides how many operations a token costs.

    Attributes:
        body: Weights of all matrices below the head.
        head: Weights of the head.
        attention: Operations for each pair of a token and one that it sees, over all layers.
    """

    body: int
    head: int
    attention: int

    @classmethod
    def of(cls, model: Any) -> "Shape":
        """Counted on the model."""
        config = model.config.get_text_config()
        head = model.get_output_embeddings().weight
        matrices = [p.numel() for n, p in model.named_parameters() if p.dim() == 2]
        embeddings = {id(p): p.numel() for p in (head, model.get_input_embeddings().weight)}
        width = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
        return cls(
            sum(matrices) - sum(embeddings.values()),
            head.numel(),
            4 * config.num_hidden_layers * config.num_attention_heads * width,
        )

    def harness(self, questions: Sequence[Sequence[Request]]) -> float:
        """Every request in full, head everywhere; one-token answers of one context together.

        Padding is left out, in the harness's favour.
        """
        total = 0.0
        for question in questions:
            inputs = {request.context + request.continuation[:-1] for request in question}
            for length in map(len, inputs):
                total += length * 2 * (self.body + self.head) + self.attention * length**2 / 2
        return total

    def ours(self, plan: Sequence[Row]) -> float:
        """What the plan computes."""
        total = 0.0
        kept = {row.kept[:depth] for row in plan for depth in range(1, len(row.kept) + 1)}
        for stretches in kept:
            before = sum(map(len, stretches[:-1]))
            new = len(stretches[-1])
            total += new * 2 * self.body + self.attention * new * (before + new / 2)
        for row in plan:
            total += row.num_tokens * 2 * self.body
            for document in row.documents:
                depths: list[int] = []
                for parent, tokens in document.nodes:
                    above = document.seen if parent < 0 else depths[parent]
                    total += self.attention * len(tokens) * (above + len(tokens) / 2)
                    depths.append(above + len(tokens))
            total += 2 * self.head * _num_scored(row)
        return total


def _num_scored(row: Row) -> int:
    return sum(
        len({place for target in document.targets for place in target.positions})
        for document in row.documents
    )


def open_model(name: str, dtype: str) -> Engine:
    """The engine over a model whose weights have this dtype."""
    engine = open_engine(name, precision="fp32")
    if dtype != "float32":
        engine.model.to(getattr(torch, dtype))
    return engine


def _harness(engine: Engine) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=engine.model,
        tokenizer=engine.tokenizer,
        batch_size=BATCH_SIZES[0],
        device=str(engine.model.device),
    )


def _as_theirs(requests: Sequence[Request]) -> list[Any]:
    return [
        ((str(r.context), str(r.continuation)), list(r.context), list(r.continuation))
        for r in requests
    ]


def _best_batch_size(theirs: Any, questions: Sequence[Sequence[Request]]) -> int:
    """The fastest of a sweep over some questions."""
    few = [
        request for question in questions[:: max(1, len(questions) // 8)] for request in question
    ]
    times = {}
    for size in BATCH_SIZES:
        theirs.batch_size_per_gpu = size
        start = perf_counter()
        theirs._loglikelihood_tokens(_as_theirs(few[:40]), disable_tqdm=True)
        times[size] = perf_counter() - start
    return min(times, key=times.__getitem__)


def _best(numbers: Sequence[float]) -> int:
    return max(range(len(numbers)), key=numbers.__getitem__)


def _margin(numbers: Sequence[float]) -> float:
    best, second = sorted(numbers, reverse=True)[:2]
    return best - second


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """A 95 % bootstrap interval of the median."""
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES)
    )
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]


def peak(dtype: str) -> float:
    """Operations a second of a matrix product, the best of a few."""
    one, other = (torch.randn(2048, 2048).to(getattr(torch, dtype)) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = perf_counter()
        one @ other
        best = min(best, perf_counter() - start)
    return 2 * 2048**3 / best


COLUMNS = (
    ("work", 24, lambda r: r.name),
    ("items", 6, lambda r: r.num_items),
    ("ratio", 7, lambda r: f"{r.ratio:.1f}"),
    ("interval", 14, lambda r: f"[{r.low:.1f}, {r.high:.1f}]"),
    ("operations", 11, lambda r: f"{r.operations:.1f}"),
    ("floor", 6, lambda r: f"{r.floor:g}"),
    ("aim", 6, lambda r: f"{r.aim:.1f}"),
    ("holds", 12, lambda r: _holds(r)),
    ("of peak", 8, lambda r: f"{r.share_of_peak:.0%}"),
    ("batch", 6, lambda r: r.batch_size),
    ("s theirs", 9, lambda r: f"{r.their_seconds:.1f}"),
    ("s ours", 7, lambda r: f"{r.our_seconds:.1f}"),
    ("max |Δ|", 9, lambda r: f"{r.largest_difference:.0e}"),
    ("other choice", 13, lambda r: f"{r.other_choices} ({r.other_choices_beyond_margin})"),
)  # type: tuple[tuple[str, int, Callable[[Result], Any]], ...]


def _holds(result: Result) -> str:
    """What the lower end of the interval is above: nothing where it is not above the floor."""
    if result.low <= result.floor:
        return "neither"
    return "floor, aim" if result.low > result.aim else "floor"


def line(result: Result | None) -> str:
    """A row of the table, or its head."""
    cells = [(title if result is None else get(result), width) for title, width, get in COLUMNS]
    first, *rest = cells
    return f"{first[0]:<{first[1]}}" + "".join(f"{cell!s:>{width}}" for cell, width in rest)


# ---------------------------------------------------------------- generation


@dataclass(frozen=True)
class Written:
    """What a row of generation came to.

    Attributes:
        name: The row.
        num_answers: How many.
        ratio: Median of the harness's time at its best batch size over ours.
        low: Lower end of its interval.
        high: Upper end.
        ratio_to_one: The same against batch size 1, over the first answers.
        floor: The least ratio wanted, and of batch size 1.
        batch_size: The harness's best.
        tokens_per_second: Ours, of what is written.
        share_of_limit: That over what memory and matrix products allow at 32 live sequences.
        equal: Answers that are the same text.
    """

    name: str
    num_answers: int
    ratio: float
    low: float
    high: float
    ratio_to_one: float
    floor: tuple[float, float]
    batch_size: int
    tokens_per_second: float
    share_of_limit: float
    equal: int


def measure_writing(num_answers: int, dtype: str = "float32") -> Written:
    """Answers of uneven length to grade-school questions, greedily, ABAB."""
    engine = open_model(SMOLLM, dtype)
    theirs = _harness(engine)
    asked = _questions(engine, num_answers)
    requests = [Instance("generate_until", {}, (text, dict(GREEDY)), 0) for text in asked]
    theirs.batch_size_per_gpu = 1
    ones = _timed(lambda: theirs.generate_until(requests[:ONES], disable_tqdm=True))[1]
    times = {}
    sweep = requests[:32]
    for size in BATCH_SIZES[1:]:
        theirs.batch_size_per_gpu = size
        times[size] = _timed(lambda: theirs.generate_until(sweep, disable_tqdm=True))[1]
    best = min(times, key=times.__getitem__)
    theirs.batch_size_per_gpu = best
    prompts = [Prompt(text, GREEDY) for text in asked]
    engine.generate(prompts[:2])
    peaks = [peak(dtype)]
    first_ours = _timed(lambda: engine.generate(prompts[:ONES]))[1]
    ours, theirs_times = [_timed(lambda: engine.generate(prompts))], []
    for _ in range(2):
        theirs_times.append(_timed(lambda: theirs.generate_until(requests, disable_tqdm=True)))
        ours.append(_timed(lambda: engine.generate(prompts)))
    peaks.append(peak(dtype))
    ratios = [
        seconds / beside[1]
        for number, (_, seconds) in enumerate(theirs_times)
        for beside in ours[number : number + 2]
    ]
    answers, seconds = ours[0][0], statistics.median(one[1] for one in ours)
    num_tokens = sum(map(len, engine.tokenizer(answers)["input_ids"])) + len(answers)
    low, high = interval(ratios)
    return Written(
        name=f"asdiv-greedy-{dtype}",
        num_answers=num_answers,
        ratio=statistics.median(ratios),
        low=low,
        high=high,
        ratio_to_one=ones / first_ours,
        floor=(2, 5),
        batch_size=best,
        tokens_per_second=num_tokens / seconds,
        share_of_limit=num_tokens / seconds / _decode_limit(engine.model, statistics.mean(peaks)),
        equal=sum(a == b for a, b in zip(answers, theirs_times[0][0], strict=True)),
    )


def _questions(engine: Engine, count: int) -> list[str]:
    from retain.data.sources import load

    examples = sorted(load("embedded:asdiv").examples, key=lambda one: one.id)[:count]
    return [
        engine.tokenizer.apply_chat_template(
            list(one.prompt), tokenize=False, add_generation_prompt=True
        )
        for one in examples
    ]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = perf_counter()
    found = work()
    return found, perf_counter() - start


def _decode_limit(model: Any, products: float, live: int = 32, context: int = 256) -> float:
    """Tokens a second that 32 sequences could be written at, by products and by memory."""
    shape = Shape.of(model)
    weights = shape.body + shape.head
    size = next(model.parameters()).element_size()
    big = torch.empty(2**27 // size, dtype=next(model.parameters()).dtype)
    seconds = min(_timed(big.sum)[1] for _ in range(5))
    bandwidth = big.nbytes / seconds
    config = model.config.get_text_config()
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * size
    by_memory = (size * weights + live * context * per_token) / bandwidth
    by_products = live * (2 * weights + shape.attention * context) / products
    return live / max(by_memory, by_products)


# ---------------------------------------------------------------- memory


MEMORY_BATCH_SIZE = 8


def memory(work: Work, num_items: int) -> dict[str, Any]:
    """Peak memory in GB of a fresh process each: model alone, the harness, ours."""
    peaks = {}
    for who in ("model", "theirs", "ours"):
        command = [sys.executable, __file__, "--items", str(num_items), "--rows", work.name]
        command += ["--peak", who]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[who] = float(lines.split()[-1])
    return {"row": work.name, "batch_size": MEMORY_BATCH_SIZE, "gigabytes": peaks}


def score_alone(who: str, work: Work, num_items: int) -> float:
    """Score by one of the two in this process; its peak in GB."""
    engine = open_model(work.model, work.dtype)
    questions, _ = requests_of(engine, work, num_items)
    requests = [request for question in questions for request in question]
    theirs = _harness(engine)
    theirs.batch_size_per_gpu = MEMORY_BATCH_SIZE
    if who == "theirs":
        theirs._loglikelihood_tokens(_as_theirs(requests), disable_tqdm=True)
    elif who == "ours":
        engine.scorer.loglikelihoods(requests)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print the table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rows", nargs="*", default=[work.name for work in WORKS])
    parser.add_argument("--no-writing", dest="writing", action="store_false")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", choices=("model", "theirs", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    works = [work for work in WORKS if work.name in given.rows]
    if given.peak:
        print(score_alone(given.peak, works[0], given.items))
        return
    machine = (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads; "
        f"torch {version('torch')}, transformers {version('transformers')}, "
        f"lm-eval {version('lm-eval')}; {datetime.now(UTC):%Y-%m-%d}"
    )
    if given.memory:
        print(machine, flush=True)
        for work in works:
            print(json.dumps(memory(work, given.items)), flush=True)
        return
    print(machine, line(None), sep="\n", flush=True)
    results = []
    for work in works:
        results.append(measure(work, given.items))
        print(line(results[-1]), flush=True)
    written = []
    for dtype in ("float32", "bfloat16") if given.writing else ():
        written.append(measure_writing(given.items, dtype))
        print(json.dumps(asdict(written[-1])), flush=True)
    if given.output:
        text = {
            "machine": machine,
            "rows": [asdict(result) for result in results],
            "generation": [asdict(one) for one in written],
        }
        given.output.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
