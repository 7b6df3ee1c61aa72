"""The harness's own Hugging Face model against ours: same items, same weights, fp32.

    python benchmarks/parity.py [--model REFERENCE] [--limit 40] [--num-fewshot 0 5] [TASK ...]

The harness draws the shots and the documents, for both. Prints, for each task, items, accuracy (or
bits per byte, or exact match) of both, the largest difference of a log-likelihood, the same divided
by the bytes of its text, items where the two choose (or write) another answer, and seconds of both.
The harness adds up log-probabilities in fp32, we in fp64, so long texts differ by more: four news
articles of 250 tokens were within 8e-5 nats of the model in fp64 by ours, within 2.1e-3 by theirs.
"""

import argparse
import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from time import perf_counter
from typing import Any

from retain.evaluate.api import open_engine
from retain.evaluate.catalog import TASK_FILES
from retain.evaluate.engine import Engine
from retain.evaluate.harness import RetainLM

MODEL = "embedded:smollm2-135m-instruct"
TASKS = (
    "embedded_boolq",
    "embedded_piqa",
    "embedded_openbookqa",
    "embedded_siqa",
    "embedded_commonsenseqa_cloze",
    "embedded_commonsenseqa",
    "embedded_mmlu",
    "english_bits_per_byte",
    "embedded_asdiv",
)
METRICS = {
    "english_bits_per_byte": "bits_per_byte,none",
    "embedded_asdiv": "exact_match,first-number",
}
BATCH_SIZE = 8


@dataclass(frozen=True)
class Row:
    """One task on both sides.

    Attributes:
        task: Its name.
        num_items: Documents scored.
        theirs: The main metric by the harness's model.
        ours: The same by our engine.
        largest_difference: Of any log-likelihood, in nats.
        largest_per_byte: The same over the bytes of the text that is scored.
        num_other_choices: Items where the two prefer another choice, or write another answer.
        their_seconds: Scoring, without loading.
        our_seconds: The same.
    """

    task: str
    num_items: int
    theirs: float
    ours: float
    largest_difference: float
    largest_per_byte: float
    num_other_choices: int
    their_seconds: float
    our_seconds: float


def compare(engine: Engine, tasks: Sequence[str], limit: int, num_fewshot: int) -> list[Row]:
    """Score tasks through both, on the harness's first documents with the harness's shots."""
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(
        pretrained=engine.model,
        tokenizer=engine.tokenizer,
        batch_size=BATCH_SIZE,
        device=str(engine.model.device),
    )
    return [_row(task, theirs, RetainLM(engine), limit, num_fewshot) for task in tasks]


def _row(task: str, theirs: Any, ours: Any, limit: int, num_fewshot: int) -> Row:
    expected, their_seconds = _evaluated(theirs, task, limit, num_fewshot)
    found, our_seconds = _evaluated(ours, task, limit, num_fewshot)
    name = METRICS.get(task, "acc,none")
    samples = list(zip(expected["samples"][task], found["samples"][task], strict=True))
    if name.startswith("exact_match"):
        other = sum(one["resps"] != two["resps"] for one, two in samples)
        scores = (side["results"][task][name] for side in (expected, found))
        return Row(task, len(samples), *scores, 0.0, 0.0, other, their_seconds, our_seconds)
    pairs = [(_numbers(one), _numbers(other)) for one, other in samples]
    differences = [
        (abs(x - y), len(arguments[-1].encode()))
        for (one, other), (sample, _) in zip(pairs, samples, strict=True)
        for x, y, arguments in zip(one, other, sample["arguments"], strict=True)
    ]
    return Row(
        task,
        len(pairs),
        expected["results"][task][name],
        found["results"][task][name],
        max(difference for difference, _ in differences),
        max(difference / num_bytes for difference, num_bytes in differences),
        sum(one.index(max(one)) != other.index(max(other)) for one, other in pairs),
        their_seconds,
        our_seconds,
    )


def _numbers(sample: dict[str, Any]) -> list[float]:
    """The log-likelihoods of one document."""
    responses = sample["filtered_resps"]
    return [one if isinstance(one, float) else one[0] for one in responses]


def _evaluated(model: Any, task: str, limit: int, num_fewshot: int) -> tuple[Any, float]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    with _silence():
        manager = TaskManager(include_path=str(TASK_FILES), include_defaults=False)
        loaded = manager.load(task)
        start = perf_counter()
        results = lm_eval.simple_evaluate(
            model=model,
            tasks=list(loaded["tasks"].values()),
            task_manager=manager,
            num_fewshot=num_fewshot,
            limit=limit,
            bootstrap_iters=0,
        )
        return results, perf_counter() - start


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--num-fewshot", type=int, nargs="*", default=[0])
    given = parser.parse_args()
    engine = open_engine(given.model, precision="fp32")
    print(f"{given.model}, fp32, harness at batch size {BATCH_SIZE}")
    titles = (
        "task",
        "shots",
        "items",
        "theirs",
        "ours",
        "max |Δ|",
        "a byte",
        "other choice",
        "s theirs",
        "s ours",
    )
    print("{:<30}{:>6}{:>6}{:>10}{:>10}{:>10}{:>10}{:>14}{:>10}{:>8}".format(*titles))
    for shots, task in product(given.num_fewshot, given.tasks):
        if shots and task == "english_bits_per_byte":
            continue
        (row,) = compare(engine, [task], given.limit, shots)
        print(
            f"{row.task:<30}{shots:>6}{row.num_items:>6}{row.theirs:>10.4f}{row.ours:>10.4f}"
            f"{row.largest_difference:>10.1e}{row.largest_per_byte:>10.1e}"
            f"{row.num_other_choices:>14}"
            f"{row.their_seconds:>10.1f}{row.our_seconds:>8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
