"""Writing texts by transformers.generate and by ours, side by side.

    python benchmarks/rehearse.py [--texts 64] [--max-new-tokens 96] [--output FILE]

Answers of uneven length (each ends where the model ends it) to questions of embedded data, with the
same sampling. Ours writes in the precision that retain takes on this machine; transformers gets the
precision (float32, autocast, weights in bfloat16) and then the batch size that were fastest of a
few, its prompts sorted by length; and, for a part of the texts, a batch of one. A tree: children
of a few parents, whose dialogue is read once, against the same children behind beginnings of their
own. The decode limit: the products of 32 rows with every matrix of the model, and nothing else.
Compared are kept tokens (up to each text's end) a second of processor time, which other work on the
machine disturbs less than the clock; rounds alternate, and the median of their ratios is printed.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from retain.data.embedded import load_embedded
from retain.decode.choose import Sampling
from retain.decode.live import Writing
from retain.decode.writer import Ends, Writer, end_tokens
from retain.model.length import model_length
from retain.model.load import load
from retain.model.precision import autocast, resolve
from retain.rehearse.corpus import Ask
from retain.rehearse.pen import ModelPen

MODEL = "embedded:smollm2-135m-instruct"
QUESTIONS = "siqa"
BATCH_SIZES = (8, 16, 32)
SAMPLING = {"temperature": 0.7, "top_p": 0.95}
NUM_ROUNDS = 2
NUM_LIVE = 32  # sequences of the row against the decode limit
NUM_TRIED = 16  # texts by which a precision is judged
NUM_ALONE = 4  # texts by which batch 1 is judged
NUM_PARENTS, NUM_CHILDREN, NUM_TURNS = 2, 8, 4


def rows() -> Iterator[dict[str, Any]]:
    """What is asked about."""
    return (row for row in load_embedded(QUESTIONS) if row.get("passage"))


class Bench:
    """One model, and both ways to write."""

    def __init__(self, limit: int) -> None:
        self.precision = resolve("auto")
        loaded = load(MODEL, precision=self.precision)
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        half = deepcopy(self.model).to(torch.bfloat16)
        self.ways: dict[str, tuple[Any, AbstractContextManager[Any]]] = {
            "fp32": (self.model, nullcontext()),
            "bf16 autocast": (self.model, autocast("bf16", self.model.device)),
            "bf16 weights": (half, nullcontext()),
        }
        length = model_length(self.model, self.tokenizer)
        self.writer = Writer(self.model, self.tokenizer, length, loaded.autocast)
        self.pen = ModelPen(self.writer, loaded)
        self.limit = limit
        self.ends = Ends(
            self.tokenizer, (), end_tokens(self.model.generation_config, self.tokenizer)
        )
        if reason := self.writer.why_not_live(256):
            raise SystemExit(f"the live batch is not used: {reason}")

    def ours(self, prompts: Sequence[tuple[int, ...]]) -> float:
        """Kept tokens a second."""
        writings = [
            Writing(prompt, self.limit, self.ends, str(n)) for n, prompt in enumerate(prompts)
        ]
        started = process_time()
        self.writer.live(writings, Sampling(**SAMPLING))
        return sum(len(one.written) for one in writings) / (process_time() - started)

    def theirs(self, prompts: Sequence[tuple[int, ...]], batch_size: int, way: str) -> float:
        """Kept tokens a second of transformers.generate."""
        model, context = self.ways[way]
        ordered = sorted(prompts, key=len)
        pad = self.tokenizer.pad_token_id
        kept, started = 0, process_time()
        for at in range(0, len(ordered), batch_size):
            rows = ordered[at : at + batch_size]
            longest = max(map(len, rows))
            inputs = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            with torch.no_grad(), context:
                found = model.generate(
                    input_ids=inputs, attention_mask=mask, max_new_tokens=self.limit,
                    do_sample=True, top_k=0, pad_token_id=pad, **SAMPLING,
                )  # fmt: skip
            for row in found[:, longest:].tolist():
                ended = [place for place, token in enumerate(row) if self.ends([token])]
                kept += ended[0] + 1 if ended else len(row)
        return kept / (process_time() - started)

    def limit_of_decoding(self) -> float:
        """Tokens a second of all products with matrices alone, the fastest of a few of each."""
        linear = [one for one in self.model.modules() if isinstance(one, torch.nn.Linear)]
        seconds = 0.0
        with torch.no_grad(), self.writer.autocast():
            for one in linear:
                rows_BD = torch.randn(NUM_LIVE, one.in_features)
                seconds += min(_seconds(lambda m=one, x=rows_BD: m(x)) for _ in range(5))
        return NUM_LIVE / seconds

    def prompts(self, num: int) -> list[tuple[int, ...]]:
        """Open questions of embedded data."""
        turns = [f"{row['passage']} {row['question']}" for row in islice(rows(), num)]
        return [
            self.pen.tokens(Ask(writes="assistant", messages=({"role": "user", "content": turn},)))
            for turn in turns
        ]

    def tree(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Follow-up questions below shared parents, and the same with nothing shared."""
        texts = [row["passage"] for row in islice(rows(), 200)]
        shared, apart = [], []
        for parent in range(NUM_PARENTS):
            said = [
                {"role": ("user", "assistant")[n % 2], "content": texts[20 * parent + n]}
                for n in range(2 * NUM_TURNS)
            ]
            ask = Ask(writes="user", messages=tuple(said))
            for child in range(NUM_CHILDREN):
                shared.append(self.pen.tokens(ask))
                own = self.tokenizer(f"{parent}.{child} ").input_ids
                apart.append((*own, *shared[-1][len(own) :]))
        return shared, apart


def _seconds(call: Callable[[], object]) -> float:
    """Processor time of a call, from ten of them."""
    started = process_time()
    for _ in range(10):
        call()
    return (process_time() - started) / 10


def rounds(one: Callable[[], float], other: Callable[[], float]) -> dict[str, Any]:
    """Two ways in turn: their rates, and the ratio of each round."""
    pairs = [(one(), other()) for _ in range(NUM_ROUNDS)]
    return {
        "ours": statistics.median(ours for ours, _ in pairs),
        "other": statistics.median(theirs for _, theirs in pairs),
        "ratios": [ours / theirs for ours, theirs in pairs],
    }


def measure(bench: Bench, num_texts: int) -> dict[str, Any]:
    """Every row, printed as soon as it is known."""
    prompts = bench.prompts(num_texts)
    bench.ours(prompts[:4])
    found: dict[str, Any] = {}

    def row(name: str, wanted: str, one: Callable[[], float], other: Callable[[], float]) -> None:
        result = found[name] = rounds(one, other) | {"wanted": wanted}
        low, high = min(result["ratios"]), max(result["ratios"])
        middle = statistics.median(result["ratios"])
        print(
            f"{name:24} {result['ours']:7.0f} {result['other']:7.0f}  ratio {middle:.2f} "
            f"({low:.2f} to {high:.2f}); wanted {wanted}",
            flush=True,
        )

    tried = {way: bench.theirs(prompts[:NUM_TRIED], NUM_TRIED, way) for way in bench.ways}
    way = max(tried, key=lambda one: tried[one])
    print(f"ours in {bench.precision}; transformers by precision: {tried}", flush=True)
    few = prompts[:NUM_ALONE]
    row(
        "against batch 1",
        "5, aim 10",
        lambda: bench.ours(prompts),
        lambda: bench.theirs(few, 1, way),
    )
    live = prompts[:NUM_LIVE]
    row("of the decode limit", "aim 0.4", lambda: bench.ours(live), bench.limit_of_decoding)
    shared, apart = bench.tree()
    row("shared parents", "1.5", lambda: bench.ours(shared), lambda: bench.ours(apart))
    swept = {size: bench.theirs(prompts, size, way) for size in BATCH_SIZES if size <= num_texts}
    best = max(swept, key=lambda size: swept[size])
    print(f"transformers by batch size: {swept}", flush=True)
    found["swept"] = {str(size): rate for size, rate in swept.items()}
    found["precision"] = {"ours": bench.precision, "other": way, "tried": tried}
    row(
        f"against batch {best}",
        "2, aim 4",
        lambda: bench.ours(prompts),
        lambda: bench.theirs(prompts, best, way),
    )
    return found


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    started = perf_counter()
    machine = (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads; "
        f"torch {version('torch')}, transformers {version('transformers')}; "
        f"{datetime.now(UTC):%Y-%m-%d}; {given.texts} texts, {given.max_new_tokens} tokens at most"
    )
    print(machine, "kept tokens a processor second: ours, the other", sep="\n", flush=True)
    found = {"machine": machine, "rows": measure(Bench(given.max_new_tokens), given.texts)}
    found["seconds"] = perf_counter() - started
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
