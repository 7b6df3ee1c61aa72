"""The step of kind ``rehearse``: a model writes a corpus.

Inputs: ``model`` (the train or finish step before; absent where the base model writes), and by role
the data whose examples the corpus asks about.
Output: ``corpus.jsonl``, a document with its origin a line; ``facts.json``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from retain.data.example import Example
from retain.data.step import TRAIN, read_examples
from retain.decode.writer import Writer
from retain.model import cache
from retain.model.length import model_length
from retain.model.load import Loaded
from retain.model.threads import first_threads
from retain.rehearse.corpus import HERE, Corpus
from retain.rehearse.grow import Grower, Grown, Progress
from retain.rehearse.log import Log
from retain.rehearse.pen import ModelPen
from retain.rehearse.written import CORPUS, FACTS, facts_of_rows, write_rows
from retain.steps.work import Work

LOG = "log.jsonl"
MODEL = "model"


def run(work: Work, *, model_folder: Path, corpus: Corpus) -> None:
    """Have a model write a corpus; what is written survives a kill.

    Settings: ``methods`` (the one that declares the corpus), ``seed``, ``precision``.

    Args:
        work: The running step.
        model_folder: The model that writes.
        corpus: What it shall write.

    Raises:
        DataError: If there is nothing to ask, or hardly anything it writes can be used.
        ModelError: If the model does not open.
        Interrupted: On a signal; the same step goes on later.
    """
    settings, started = work.step.settings, monotonic()
    engine = str(settings.get("engine", HERE))
    roles = [role for role in work.step.inputs if role != MODEL]
    examples = [one for role in roles for one in read_examples(work.input(role, TRAIN))]
    before = work.step.inputs.get(MODEL)
    log = Log(work.partial / LOG, work.step.fingerprint)
    before_this_run = log.seconds
    writing = Writing(
        corpus=corpus,
        examples=examples,
        seed=int(settings["seed"]),
        precision=str(settings["precision"]),
        quantisation=settings.get("quantisation"),
        model=work.step.files[MODEL] if before is None else before.fingerprint,
        log=log,
        progress=work.progress,
        stop=work.stop,
        engine=engine,
    )
    with first_threads(work.partial) as threads:
        facts = writing.write(model_folder, work.output / CORPUS)
    text = json.dumps(facts, ensure_ascii=False, indent=1)
    (work.output / FACTS).write_text(text + "\n", encoding="utf-8")
    for note in facts["notes"]:
        work.event("note", text=note)
    work.note(
        seconds=before_this_run + monotonic() - started,
        threads=threads,
        documents=facts["num_documents"],
        tokens=facts["num_tokens"],
        tokens_written=facts["tokens_written"],
        engine=engine,
    )


@dataclass
class Writing:
    """A corpus about to be written.

    Attributes:
        corpus: What shall be written.
        examples: What its ``expand`` is given.
        seed: Of the run.
        precision: Of the matrix products.
        quantisation: ``nf4`` opens the weights in 4 bits.
        model: What the lines name as the model: a sha256.
        log: What was written before.
        progress: Told done, total, text, unit.
        stop: True ends with ``Interrupted``.
        engine: What writes: ``retain``, or ``vllm``.
    """

    corpus: Corpus
    model: str
    examples: Sequence[Example] = ()
    seed: int = 0
    precision: str = "fp32"
    quantisation: str | None = None
    log: Log = field(default_factory=lambda: Log(None))
    progress: Progress | None = None
    stop: Callable[[], bool] | None = None
    engine: str = HERE

    def write(self, model_folder: Path, path: Path) -> dict[str, Any]:
        """Write the corpus to a file; returns what can be said of it."""
        loaded = cache.get(model_folder, precision=self.precision, quantisation=self.quantisation)
        with _writer(loaded, self.engine) as writer:
            pen = ModelPen(writer, loaded)
            grower = Grower(self.corpus, self.examples, pen, self.seed, self.log)
            if self.progress is not None:
                shown = Shown(self.progress, self.corpus)
                grower.progress, pen.told = shown.grown, shown.written
            grower.stop = self.stop or grower.stop
            grown = grower.grow()
        rows = [document.row(model=self.model, seed=self.seed) for document in grown.documents]
        write_rows(path, rows)
        return facts_of(grown, rows) | {"notes": [*grown.notes, *writer.notes]}


@contextmanager
def _writer(loaded: Loaded, engine: str) -> Iterator[Writer]:
    """What writes with a model."""
    length = model_length(loaded.model, loaded.tokenizer)
    if engine == HERE:
        yield Writer(loaded.model, loaded.tokenizer, length, loaded.autocast)
        return
    from retain.decode.vllm_engine import check_engine, vllm_writer

    check_engine()
    with vllm_writer(loaded, length) as writer:
        yield writer


@dataclass
class Shown:
    """Progress that moves while a portion is written, and never turns back.

    Attributes:
        progress: Told done, total, text, unit.
        corpus: What is written.
    """

    progress: Progress
    corpus: Corpus
    _before: float = 0.0
    _most: float = 0.0
    _text: str = ""
    _written: float = 0.0  # in portions that are done
    _within: float = 0.0  # in the one being written

    def grown(self, done: float, total: float, text: str, unit: str) -> None:
        """What the grower says after each portion."""
        self._before, self._text = done, text
        self._written, self._within = self._written + self._within, 0.0
        self._show(done)

    def written(self, num_ended: int, num_tokens: int) -> None:
        """What the pen says within one: as large a part of it will be kept as of those before."""
        self._within = num_ended if self.corpus.num_tokens is None else num_tokens
        part = min(1.0, self._before / self._written) if self._written else 1.0
        self._show(self._before + self._within * part)

    def _show(self, done: float) -> None:
        total = self.corpus.full_size
        self._most = max(self._most, min(done, total))
        unit = "documents" if self.corpus.num_tokens is None else "tokens"
        self.progress(self._most, total, self._text, unit)


def facts_of(grown: Grown, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a report says of a corpus and of how it came about."""
    return {
        **facts_of_rows(rows),
        "tokens_written": grown.tokens_written,
        "token_passes": grown.token_passes,
        "texts_written": dict(grown.num_written),
        "removed": {role: dict(counts) for role, counts in grown.removed.items()},
        "removed_samples": [list(sample) for sample in grown.samples],
    }
