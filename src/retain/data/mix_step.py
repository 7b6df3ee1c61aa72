"""The step of kind ``mix``: examples become the stream of sequences that a train step walks."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from retain.data.draw import BATCHES, LENGTHS, NewSource, Part, TokenSequence
from retain.data.example import Example
from retain.data.extras import Extra
from retain.data.mix import Mix, Row, mix
from retain.data.pairs import pair_blocks, render_all_pairs
from retain.data.past import by_likeness, reservoir
from retain.data.render import Objective, Rendered, blocks, render_all
from retain.data.step import FACTS, TRAIN, read_examples
from retain.errors import DataError
from retain.steps.work import Work

STREAM = "stream.parquet"
NEW = "new"
NUM_ROWS_PER_WRITE = 1000
NUM_EXAMPLES_PER_BEAT = 200
T = TypeVar("T")
BATCH_KEYS = (*BATCHES, *LENGTHS)
SHARE_KEYS = (
    *("share", "share_of", "share_base", "loss_weight"),
    *("num_examples", "skip", "draw", "allow_fewer", "max_token_weight"),
)


@dataclass(frozen=True)
class Shape:
    """How the examples of one role become sequences.

    Attributes:
        objective: ``sft``: one sequence an example; ``pretrain``: texts are cut into blocks.
        max_length: Most tokens in a sequence.
        completion_only: Train what the assistant says, not what it is told.
    """

    objective: Objective
    max_length: int | None
    completion_only: bool = True

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Shape":
        """From training settings."""
        return cls(
            settings.get("objective", "sft"),
            settings.get("max_length"),
            settings.get("completion_only_loss", True),
        )


@dataclass
class Losses:
    """What rendering lost, by source: sequences cut, tokens cut off, examples dropped."""

    truncated: dict[str, int] = field(default_factory=dict)
    cut_tokens: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


def run(work: Work, tokenizer_folder: Path, *, has_encoder: bool = False) -> None:
    """Write ``stream.parquet``, in training order, and ``facts.json``.

    Args:
        work: Settings ``parts`` (for each role of new data its training settings), ``sources``
            (of what is mixed in, as ``MixSource.spec`` says it), ``past`` (training settings that a
            role had in its own phase), ``seed``, ``budget``; inputs by role, all data steps, and
            under ``same_total_compute`` the ``rehearse`` steps that this phase pays for.
        tokenizer_folder: Folder of the model whose tokenizer and chat template are used.
        has_encoder: Whether an encoder reads the prompts (``data.pairs``).

    Raises:
        DataError: If there is nothing to train on, a source runs short, or the shares cannot be.
    """
    settings = work.step.settings
    tokenizer = _tokenizer(tokenizer_folder)
    reader = _Reader(work, tokenizer, Losses(), has_encoder)
    parts = [_part(reader, values) for values in settings["parts"]]
    shape = Shape.of(settings["parts"][0])
    new = [sequence for part in parts for one in part.sources for sequence in one.sequences]
    past = settings.get("past", {})
    extras = [
        _extra(reader, values, past, shape, new) for values in added_up(settings.get("sources", []))
    ]
    budget = settings.get("budget", "same_new_data")
    written = _written(work) if budget == "same_total_compute" else 0
    mixed = mix(parts, extras, seed=settings["seed"], budget=budget, written=written)
    role_of = {source.name: part.role for part in parts for source in part.sources}
    write_stream(work.output / STREAM, mixed.rows, role_of)
    facts = facts_of(mixed, reader.losses)
    (work.output / FACTS).write_text(json.dumps(facts, ensure_ascii=False, indent=1))
    work.note(
        steps=mixed.num_steps,
        tokens=facts["num_tokens"],
        trained_tokens=facts["trained_tokens"],
        notes=facts["notes"],
    )


def _written(work: Work) -> int:
    """Token passes of the writing that this mix pays for."""
    total = 0
    for role, step in work.step.inputs.items():
        if step.kind != "rehearse":
            continue
        passes = json.loads(work.input(role, FACTS).read_text()).get("token_passes")
        if passes is None:
            raise DataError(
                f"{step.name}: written by an earlier retain, which did not count what writing "
                "takes; budget same_total_compute needs that. Take another seed or another folder "
                "of runs, in which it is written anew"
            )
        total += passes
    return total


def added_up(sources: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a role: methods that draw on the same role in the same way add their shares.

    Raises:
        DataError: If two entries of one role differ in more than the share.
    """
    found: dict[str, dict[str, Any]] = {}
    for values in sources:
        entry = {key: value for key, value in values.items() if value is not None}
        if (before := found.setdefault(values["role"], entry)) is entry:
            continue
        if "share" not in entry or {**before, "share": 0} != {**entry, "share": 0}:
            raise DataError(
                f"{values['role']}: two methods draw on it in different ways ({before} and "
                f"{entry}); give them the same share_of, share_base and loss_weight"
            )
        before["share"] += entry["share"]
    return list(found.values())


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: its tokenizer cannot be loaded: {error}") from error


# ---------------------------------------------------------------- from examples to sequences


@dataclass
class _Reader:
    """Reads the inputs and renders them, with progress."""

    work: Work
    tokenizer: Any
    losses: Losses
    has_encoder: bool = False

    def examples(self, role: str) -> list[Example]:
        return read_examples(self.work.input(role, TRAIN))

    def sequences(
        self, name: str, examples: Sequence[Example], shape: Shape
    ) -> list[TokenSequence]:
        """The sequences of one source; what was lost is counted under its name."""
        is_running = shape.objective == "pretrain"
        texts = [one.text for one in examples if one.text is not None] if is_running else []
        rest = [one for one in examples if one.text is None or not is_running]
        rendered = self._rendered(name, rest, shape)
        found = [TokenSequence.of(*one) for one in rendered.sequences]
        if texts:
            if shape.max_length is None:
                raise DataError(f"{name}: running text needs a max_length, the length of a block")
            make = pair_blocks if self.has_encoder else blocks
            cut = make(self._watched(texts, name), self.tokenizer, shape.max_length)
            found += [TokenSequence.of(*one) for one in cut]
        self.losses.truncated[name] = rendered.num_truncated
        self.losses.cut_tokens[name] = rendered.num_cut_tokens
        self.losses.dropped[name] = len(rendered.dropped)
        return found

    def _rendered(self, name: str, examples: Sequence[Example], shape: Shape) -> Rendered:
        """The sequences of what is no running text.

        Raises:
            DataError: If the prompt is to be trained too, and an encoder reads it.
        """
        watched = self._watched(examples, name)
        all_trained = shape.objective == "pretrain" or not shape.completion_only
        if not self.has_encoder:
            mask: Objective = "pretrain" if all_trained else "sft"
            return render_all(watched, self.tokenizer, mask, shape.max_length, source=name)
        if all_trained and any(example.messages is not None for example in examples):
            why = "pretrain" if shape.objective == "pretrain" else "completion_only_loss: false"
            raise DataError(
                f"{name}: {why} trains the tokens of prompts too, and this model's encoder reads "
                "them, which has no loss. Use objective: sft with completion_only_loss: true"
            )
        return render_all_pairs(watched, self.tokenizer, shape.max_length, source=name)

    def _watched(self, items: Sequence[T], name: str) -> Iterator[T]:
        for number, item in enumerate(items):
            if number % NUM_EXAMPLES_PER_BEAT == 0:
                self.work.check_stop()
                self.work.progress(number, len(items), name, "examples")
            yield item


def _part(reader: _Reader, values: Mapping[str, Any]) -> Part:
    """The new data of one phase; its sources apart where one of them has a share."""
    role, shape = values["role"], Shape.of(values)
    examples = reader.examples(role)
    stated = json.loads(reader.work.input(role, FACTS).read_text())["sources"]
    apart = {name: of for name, of in stated.items() if of["share"] or of["loss_weight"]}
    by_name: dict[str, list[Example]] = {}
    for example in examples:
        name = f"{role}/{example.source}" if apart else role
        by_name.setdefault(name, []).append(example)
    sources = []
    for name, own in by_name.items():
        spec = apart.get(own[0].source, {})
        sources.append(
            NewSource(
                name=name,
                sequences=reader.sequences(name, own, shape),
                share=spec.get("share"),
                loss_weight=spec.get("loss_weight") or "by_token",
            )
        )
    length = {key: values.get(key) for key in BATCH_KEYS}
    if length["max_steps"] is not None:
        length["num_train_epochs"] = None  # as for Hugging Face's Trainer
    return Part(role=role, sources=sources, **length)


def _extra(
    reader: _Reader,
    values: Mapping[str, Any],
    past: Mapping[str, Any],
    shape: Shape,
    new: Sequence[TokenSequence],
) -> Extra:
    """A source that is mixed in: all of its pool, or those that are to be drawn."""
    select = values.get("select", "any")
    sequences = [
        sequence
        for role in values.get("pool") or (values["role"],)
        for sequence in _old(reader, role, select, past, shape)
    ]
    if select == "reservoir":
        sequences = reservoir(sequences, values["buffer_size"], reader.work.step.settings["seed"])
    elif select in ("nearest", "farthest"):
        sequences = by_likeness(sequences, new, select)
    size = {key: values[key] for key in SHARE_KEYS if key in values}
    is_ordered = select in ("nearest", "farthest")
    return Extra(values["role"], sequences, is_ordered=is_ordered, **size)


def _old(
    reader: _Reader, role: str, select: str, past: Mapping[str, Any], shape: Shape
) -> list[TokenSequence]:
    """The sequences of one role, with the mask it had in its own phase.

    What never had a phase: of dialogues the answers are trained; texts are cut as the new data is.
    """
    examples = reader.examples(role)
    name = role
    if select == "parallel":
        name = f"{role}, other side"
        examples = [one.parallel for one in examples if one.parallel is not None]
        if not examples:
            raise DataError(
                f"{role}: select: parallel, and its data has no pairs; say which column holds the "
                "other side (parallel: COLUMN at the phase's source)"
            )
    elif role in past:
        shape = Shape.of(past[role])
    elif any(example.messages is not None for example in examples):
        shape = Shape("sft", shape.max_length)
    return reader.sequences(name, examples, shape)


# ---------------------------------------------------------------- what is written


def write_stream(path: Path, rows: Sequence[Row], role_of: Mapping[str, str]) -> None:
    """Write the rows as Parquet, a thousand at a time.

    Args:
        path: The file.
        rows: In training order.
        role_of: Source to the role that the column ``source`` states, where it is another.
    """
    import pyarrow as arrow
    from pyarrow.parquet import ParquetWriter

    schema = arrow.schema(
        [
            ("step", arrow.int32()),
            ("example_id", arrow.string()),
            ("source", arrow.string()),
            ("input_ids", arrow.list_(arrow.int32())),
            ("trained", arrow.list_(arrow.bool_())),
            ("weight", arrow.float32()),
        ]
    )
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(rows), NUM_ROWS_PER_WRITE):
            part = rows[start : start + NUM_ROWS_PER_WRITE]
            columns = {
                "step": [row.step for row in part],
                "example_id": [row.sequence.example_id for row in part],
                "source": [role_of.get(row.source, row.source) for row in part],
                "input_ids": [row.sequence.input_ids.tolist() for row in part],
                "trained": [[flag == 1 for flag in row.sequence.trained] for row in part],
                "weight": [row.weight for row in part],
            }
            writer.write_table(arrow.table(columns, schema=schema))


def facts_of(mixed: Mix, losses: Losses) -> dict[str, Any]:
    """What a plan or a report says of a mix."""
    sources = mixed.sources.items()
    return {
        "num_steps": mixed.num_steps,
        "num_examples": len(mixed.rows),
        "num_tokens": sum(fact["tokens"] for _, fact in sources),
        "trained_tokens": sum(fact["trained_tokens"] for _, fact in sources),
        "tokens": {name: fact["tokens"] for name, fact in sources},
        "realised_share": {name: fact["realised_share"] for name, fact in sources},
        "sources": mixed.sources,
        "truncated": losses.truncated,
        "cut_tokens": losses.cut_tokens,
        "dropped": losses.dropped,
        "notes": mixed.notes + _notes(losses),
    }


def _notes(losses: Losses) -> list[str]:
    cut = [
        f"{name}: {num} sequences were cut at max_length and lost {losses.cut_tokens[name]} tokens"
        for name, num in losses.truncated.items()
        if num
    ]
    return cut + [
        f"{name}: {num} examples were dropped, every trained token of them was cut off"
        for name, num in losses.dropped.items()
        if num
    ]
