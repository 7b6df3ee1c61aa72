"""Training by TRL's ``SFTTrainer`` and by ours, side by side.

    python benchmarks/train.py [--rows NAME ...] [--rounds 3] [--steps 4] [--output FILE]

Both train the same model from the same weights on the same token sequences with the same targets,
effective batch, optimizer (fused AdamW) and precision (bf16 autocast, float32 weights, where the
machine's probe says so). TRL runs with its defaults, and tuned: no gradient checkpointing, the
fastest of a few batch sizes with accumulation, sequences grouped by length. Rounds go ours, TRL's
default, TRL tuned, ours; a round's ratio is the time of its TRL steps over the mean of ours around
them (data loading, set-up and saving are in neither). Printed: median and range of the ratios, the
largest difference of the losses step by step (TRL's defaults, same order of examples), our tokens
a second, and the share of the machine's rate: the best of square matrix products of 2,048 in the
training's dtype, timed before and after the row.

``--clock cpu`` counts the processor time of the process instead of the clock: on a machine with
other work, and with one thread, it is the steadier of the two.

Rows named ``frozen`` train the upper blocks for three epochs; ours keeps what the frozen ones give,
and the time it takes to make that is counted. Rows named ``evaluate`` score with and without it.
The row ``saving`` runs a phase with one snapshot and without, and says which part of a minute the
snapshot costs. The row ``memory`` compares the peak of fresh processes on a model with a vocabulary
of 262,144.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import torch

from retain.data.embedded import load_embedded
from retain.methods.freeze import Freeze
from retain.model import cache as models
from retain.model.facts import describe
from retain.model.precision import resolve as resolve_precision
from retain.model.reference import folder as model_folder
from retain.steps.step import Step
from retain.steps.store import Store
from retain.train import boundary_step, loop, step, trainable_step
from retain.train.estimate import Phase, training_flops
from retain.train.layers import layers

CLOCKS = {"wall": perf_counter, "cpu": process_time}
clock = perf_counter
SMOLLM, GEMMA = "embedded:smollm2-135m-instruct", "embedded:gemma3-270m"
RATE = 1e-5
MAX_TOKENS = 512
SAVE_SECONDS = 60  # between two snapshots, of which the cost of one is a part


@dataclass(frozen=True)
class Work:
    """A row of the table.

    Attributes:
        name: What it is called.
        data: Which sequences.
        batch: Examples in an optimizer step.
        frozen: Part of the blocks, from the first, that does not move.
        epochs: Passes over the same steps.
        floors: The least ratio wanted against TRL's defaults, and against TRL tuned.
    """

    name: str
    data: str
    batch: int
    frozen: float = 0.0
    epochs: int = 1
    floors: tuple[float, float] = (1.0, 1.0)


WORKS = (
    Work("full", "mixed", 8, floors=(2.5, 1.3)),
    Work("boolq", "boolq", 8, floors=(2.5, 1.5)),
    Work("frozen-half", "mixed", 8, 0.5, 3, (3.0, 2.0)),
    Work("frozen-4/5", "mixed", 8, 0.8, 3, (4.0, 2.5)),
)
EVALUATIONS = {"evaluate-half": (0.5, 1.6), "evaluate-4/5": (0.8, 3.0)}
Tokens = tuple[list[int], list[bool]]


# ---------------------------------------------------------------- the same sequences for both


@cache
def sequences(data: str, reference: str) -> list[Tokens]:
    """Token sequences with what is trained of each, in a seeded order."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder(reference))

    def plain(text: str) -> Tokens:
        tokens = tokenizer(text).input_ids[:MAX_TOKENS]
        return tokens, [False] + [True] * (len(tokens) - 1)

    if data == "boolq":
        rows = load_embedded("boolq")[:400]
        found = [
            _answer(
                tokenizer, f"{row['passage']}\n{row['question']}?", row["choices"][row["answer"]]
            )
            for row in rows
        ]
    elif data == "long":
        texts = [row["text"] for row in load_embedded("xsum")[:200]]
        found = [one for one in map(plain, texts) if len(one[0]) == MAX_TOKENS]
    else:  # articles, questions, word problems: lengths from 20 to 512
        found = [plain(row["text"]) for row in load_embedded("xsum")[:60]]
        found += [plain(row["question"]) for row in load_embedded("commonsenseqa")[:120]]
        found += [plain(f"{r['passage']} {r['question']}") for r in load_embedded("boolq")[:120]]
    Random(0).shuffle(found)
    return [one for one in found if len(one[0]) > 4]


def _answer(tokenizer: Any, prompt: str, answer: str) -> Tokens:
    before = tokenizer(prompt).input_ids[-(MAX_TOKENS - 8) :]
    after = tokenizer(f" {answer}").input_ids
    return before + after, [False] * len(before) + [True] * len(after)


# ---------------------------------------------------------------- ours


class Ours:
    """The steps of a phase as a recipe runs them, in a store of their own."""

    def __init__(self, work: Work, steps: int, reference: str, precision: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="retain-bench-"))
        self.store = Store(self.root)
        self.base, self.precision, self.work = model_folder(reference), precision, work
        self.mix = Step("mix", "mix", 1, {})
        with self.store.begin(self.mix) as making:
            self._write(making.output / "stream.parquet", steps, sequences(work.data, reference))
        self.number = 0
        self.choice = self._freeze() if work.frozen else None

    def run(self, save_steps: int = 10**6) -> tuple[list[float], list[float]]:
        """Seconds and loss of every optimizer step; what is made before counts in the first."""
        self.number += 1
        settings = {"precision": self.precision, "seed": self.number}
        inputs = {"mix": self.mix}
        before = 0.0
        if self.choice is not None:
            inputs["trainable"] = self.choice
            values = {"precision": self.precision, "stored": self.precision, "n": self.number}
            kept = Step("boundary", "kept", 1, values, dict(inputs))
            models.get(self.base, precision=self.precision)
            started = clock()
            with self.store.begin(kept) as making:
                boundary_step.run(making, base=self.base)
            before = clock() - started
            inputs["boundary"] = kept
        rest = {"learning_rate": RATE, "lr_scheduler_type": "constant", "save_steps": save_steps}
        one = Step("train", "phase", 1, settings | rest, inputs)
        with self.store.begin(one) as making:
            step.run(making, base=self.base)
        folder = self.store.path(one)
        curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
        shutil.rmtree(folder)
        models.clear()
        seconds = [point["seconds"] for point in curve]
        seconds[0] += before
        return seconds, [point["loss"] for point in curve]

    def moving(self) -> list[str] | None:
        """Names of what moves; None for all."""
        if self.choice is None:
            return None
        path = self.store.path(self.choice) / "trainable.json"
        names: list[str] = json.loads(path.read_text())["names"]
        return names

    def _freeze(self) -> Step:
        method = Freeze(select="first", fraction=self.work.frozen)
        settings = {"methods": [method.spec()], "seed": 0, "phase": "p", "history": []}
        one = Step("trainable", "choice", 1, settings)
        with self.store.begin(one) as making:
            trainable_step.run(making, base=self.base, method=method)
        return one

    def _write(self, path: Path, steps: int, found: Sequence[Tokens]) -> None:
        batch, epochs = self.work.batch, self.work.epochs
        used = found[: steps * batch]
        number = [index // batch for index in range(len(used) * epochs)]
        rows = list(used) * epochs
        table = {
            "step": pa.array(number, pa.int32()),
            "example_id": [f"e{index % len(used)}" for index in range(len(rows))],
            "source": ["new"] * len(rows),
            "input_ids": pa.array([tokens for tokens, _ in rows], pa.list_(pa.int32())),
            "trained": pa.array([trained for _, trained in rows], pa.list_(pa.bool_())),
            "weight": pa.array([1.0] * len(rows), pa.float32()),
        }
        parquet.write_table(pa.table(table), path)


# ---------------------------------------------------------------- TRL


def trl_steps(
    work: Work,
    steps: int,
    reference: str,
    moving: Sequence[str] | None,
    options: dict[str, Any],
) -> tuple[list[float], list[float]]:
    """Seconds and loss of every optimizer step of ``SFTTrainer``."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.losses: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.started = clock()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds.append(clock() - self.started)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kw: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(logs["loss"])

    base = model_folder(reference)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if moving is not None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in set(moving))
    used = sequences(work.data, reference)[: steps * work.batch]
    rows = {
        "input_ids": [tokens for tokens, _ in used],
        "completion_mask": [[int(one) for one in trained] for _, trained in used],
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = SFTConfig(
            output_dir=folder,
            max_steps=steps * work.epochs,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            max_length=None,
            completion_only_loss=True,
            use_cpu=not torch.cuda.is_available(),
            **{"per_device_train_batch_size": work.batch, "train_sampling_strategy": "sequential"}
            | options,
        )
        watch = Clock()
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_dict(rows),
            processing_class=AutoTokenizer.from_pretrained(base),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return watch.seconds, watch.losses


def tuned_options(work: Work, reference: str, moving: Sequence[str] | None, bf16: bool) -> Any:
    """TRL's fastest settings: the best of a few batch sizes, each with accumulation."""
    found = {}
    for size in (1, 2, 4, 8):
        options = {
            "gradient_checkpointing": False,
            "bf16": bf16,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": work.batch // size,
            "train_sampling_strategy": "group_by_length",
        }
        one = Work(work.name, work.data, work.batch)
        seconds, _ = trl_steps(one, 2, reference, moving, options)
        found[sum(seconds[1:])] = options
    return found[min(found)]


# ---------------------------------------------------------------- the rows


def compare(work: Work, rounds: int, steps: int) -> dict[str, Any]:
    """One row of the table."""
    precision = resolve_precision("auto")
    ours = Ours(work, steps, SMOLLM, precision)
    moving = ours.moving()
    default = {"bf16": precision == "bf16"}
    tuned = tuned_options(work, SMOLLM, moving, precision == "bf16")
    ours.run()  # warm
    rates = [product_rate(precision)]
    ratios: dict[str, list[float]] = {"default": [], "tuned": []}
    spent: list[float] = []
    off = 0.0
    for _ in range(rounds):
        first, losses = ours.run()
        seconds, theirs = trl_steps(work, steps, SMOLLM, moving, default)
        best, _ = trl_steps(work, steps, SMOLLM, moving, tuned)
        last, _ = ours.run()
        mean = (sum(first) + sum(last)) / 2
        spent.append(mean)
        ratios["default"].append(sum(seconds) / mean)
        ratios["tuned"].append(sum(best) / mean)
        off = max(off, *(abs(a - b) for a, b in zip(losses, theirs, strict=True)))
    rates.append(product_rate(precision))
    shutil.rmtree(ours.root)
    used = sequences(work.data, SMOLLM)[: steps * work.batch]
    tokens = work.epochs * sum(len(one) for one, _ in used)
    trained = work.epochs * sum(sum(mask) for _, mask in used)
    return {
        "row": work.name,
        "rounds": rounds,
        "optimizer_steps": steps * work.epochs,
        "tokens": tokens,
        "trained_tokens": trained,
        "tokens_per_second": tokens / statistics.median(spent),
        "share_of_rate": _operations(work, used, moving, precision)
        / statistics.median(spent)
        / statistics.mean(rates),
        "loss_off_by": off,
        "tuned_batch_size": tuned["per_device_train_batch_size"],
        "precision": precision,
        **{name: _spread(values) for name, values in ratios.items()},
        "floors": work.floors,
    }


def _spread(values: Sequence[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def _operations(
    work: Work, used: Sequence[Tokens], moving: Sequence[str] | None, precision: str
) -> float:
    """Floating-point operations of the phase, as our own estimate counts them."""
    facts = describe(SMOLLM)
    tokens = sum(len(one) for one, _ in used)
    phase = Phase(
        num_steps=1,
        tokens=work.epochs * tokens,
        trained_tokens=work.epochs * sum(sum(mask) for _, mask in used),
        sequence_tokens=tokens / len(used),
        precision=precision,
        moving=None if moving is None else set(moving),
        kept_blocks=round(work.frozen * facts.num_layers),
    )
    return training_flops(facts, phase)


def product_rate(precision: str) -> float:
    """Operations a second of a matrix product of 2,048, the best of a few."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        started = clock()
        one @ other
        best = min(best, clock() - started)
    return 2 * 2048**3 / best


def evaluate(name: str, rounds: int) -> dict[str, Any]:
    """Scoring a checkpoint whose lowest blocks did not move, with and without what they gave."""
    from retain.evaluate.api import make_task, open_engine
    from retain.evaluate.below import Below, Recorder
    from retain.evaluate.catalog import resolve
    from retain.evaluate.ledger import Ledger
    from retain.evaluate.run import record, run
    from retain.model.boundary import Boundary
    from retain.model.states_file import StatesWriter

    part, floor = EVALUATIONS[name]
    precision = resolve_precision("auto")
    loaded = models.get(model_folder(SMOLLM), precision=precision)
    depth = round(part * len(layers(loaded.model).blocks))
    [spec] = resolve(["embedded_piqa"])
    ratios, off = [], 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        engine = open_engine(loaded.model, loaded.tokenizer, precision=precision)
        width = loaded.model.config.hidden_size
        recorder = Recorder(Boundary(loaded.model, depth), StatesWriter(folder, width, precision))
        task = make_task(spec, engine, limit=64)
        record(task, engine, [0], Ledger(), recorder)
        for _ in range(rounds):
            seconds, scores = [], []
            for kept in (False, True, True, False):
                engine = open_engine(loaded.model, loaded.tokenizer, precision=precision)
                engine.loglikelihoods(
                    [call for q in task.questions(0)[:1] for call in q.calls]
                )  # the trial of the path
                engine.scorer.below = Below(loaded.model, depth, folder) if kept else None
                started = clock()
                found = run([task], engine, [0])
                seconds.append(clock() - started)
                scores.append([item["choice_logprobs"] for item in found.items])
            ratios.append((seconds[0] + seconds[3]) / (seconds[1] + seconds[2]))
            off = max(off, float(np.abs(np.array(scores[0]) - np.array(scores[1])).max()))
    return {
        "row": name,
        "rounds": rounds,
        "uncached": _spread(ratios),
        "loglikelihood_off_by": off,
        "precision": precision,
        "floors": [floor],
    }


def saving(rounds: int) -> dict[str, Any]:
    """What a snapshot of full tuning costs, as a part of a minute; it is written after half."""
    steps = 12
    ours = Ours(WORKS[0], steps, SMOLLM, resolve_precision("auto"))
    ours.run()  # warm
    parts, plain = [], []
    for _ in range(rounds):
        spent = []
        for save_steps in (10**6, steps // 2 + 1, steps // 2 + 1, 10**6):
            started = clock()
            ours.run(save_steps)
            spent.append(clock() - started)
        parts.append((spent[1] + spent[2] - spent[0] - spent[3]) / 2 / SAVE_SECONDS)
        plain.append((spent[0] + spent[3]) / 2)
    shutil.rmtree(ours.root)
    return {
        "row": "saving",
        "rounds": rounds,
        "part_of_a_minute": _spread(parts),
        "seconds_without": statistics.median(plain),
        "floors": [0.05],
    }


def memory(rounds: int) -> dict[str, Any]:
    """Peak memory of a fresh process each, one optimizer step of 2,048 tokens on Gemma 3 270M."""
    peaks = {}
    for who in ("ours", "default", "tuned"):
        command = [sys.executable, __file__, "--peak", who]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[who] = float(lines.split()[-1])
    return {
        "row": "memory",
        "gigabytes": peaks,
        "of_default": peaks["ours"] / peaks["default"],
        "of_tuned": peaks["ours"] / peaks["tuned"],
        "floors": [0.6],
    }


def peak(who: str) -> None:
    """Do the step and print the peak of this process in GB."""
    work = Work("memory", "long", 4)
    precision = resolve_precision("auto")
    if who == "ours":
        Ours(work, 1, GEMMA, precision).run()
    else:
        tuned = {"gradient_checkpointing": False} if who == "tuned" else {}
        trl_steps(work, 1, GEMMA, None, {"bf16": precision == "bf16"} | tuned)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def shown(row: dict[str, Any]) -> str:
    """A row as a line of the table."""

    def ratio(name: str) -> str:
        middle, low, high = row[name]
        return f"{middle:.2f} [{low:.2f}, {high:.2f}]"

    if row["row"] == "memory":
        sizes = ", ".join(f"{who} {size:.2f} GB" for who, size in row["gigabytes"].items())
        of = f"{row['of_default']:.2f} of default, {row['of_tuned']:.2f} of tuned"
        return f"memory         {of} ({sizes})"
    if row["row"] == "saving":
        middle, low, high = row["part_of_a_minute"]
        return (
            f"saving         a snapshot a minute takes {middle:.1%} [{low:.1%}, {high:.1%}] "
            f"(at most 5%; the phase without {row['seconds_without']:.0f} s)"
        )
    if "uncached" in row:
        return (
            f"{row['row']:14} {ratio('uncached')} of uncached (floor {row['floors'][0]}); "
            f"log-likelihoods off by {row['loglikelihood_off_by']:.1e} ({row['precision']})"
        )
    return (
        f"{row['row']:14} default {ratio('default')} (floor {row['floors'][0]}), "
        f"tuned {ratio('tuned')} (floor {row['floors'][1]}, its batch {row['tuned_batch_size']}); "
        f"{row['tokens_per_second']:.0f} tok/s, {row['share_of_rate']:.0%} of the rate, "
        f"loss off by {row['loss_off_by']:.1e} ({row['precision']})"
    )


def main() -> None:
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    others = {"saving": saving, "memory": memory}
    names = [work.name for work in WORKS] + [*EVALUATIONS, *others]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak", choices=("ours", "default", "tuned"), help=argparse.SUPPRESS)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    args = parser.parse_args()
    global clock
    clock = loop.monotonic = CLOCKS[args.clock]
    if args.peak:
        peak(args.peak)
        return
    libraries = " ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    threads = f"{torch.get_num_threads()} threads, {args.clock} time"
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {threads}, {libraries}", flush=True)
    rows = []
    for work in WORKS:
        if work.name in args.rows:
            rows.append(compare(work, args.rounds, args.steps))
            print(shown(rows[-1]), flush=True)
    for name in (*EVALUATIONS, *others):
        if name in args.rows:
            measure = others.get(name, partial(evaluate, name))
            rows.append(measure(args.rounds))
            print(shown(rows[-1]), flush=True)
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
