"""How far apart two data sets pull a model: MPD, by a short fine-tuning on each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from retain.data.sources import Source, identity
from retain.steps.step import Step, as_name
from retain.steps.store import Store

if TYPE_CHECKING:
    from retain.measure.weights import Distance

Progress = Callable[..., None]
BATCH_SIZE, MAX_LENGTH, LEARNING_RATE = 8, 512, 2e-5
BYTES_PER_WEIGHT = 4


@dataclass(frozen=True)
class Pair:
    """Two sets by their places, and how far apart they pull the model."""

    left: int
    right: int
    apart: "Distance"


def weight_distances(
    sources: Sequence[str],
    model: str,
    *,
    num_steps: int,
    limit: int,
    bar: Callable[[str], Any],
) -> list[Pair]:
    """Fine-tune the same model on each set alone, and compare the weights.

    All weights move, under one rate (2e-5, linear), 8 examples a step and one seed; nothing is
    kept.

    Args:
        sources: The sets.
        model: Where each tuning starts.
        num_steps: Optimizer steps on each set.
        limit: Examples of each set, the first of a fixed order.
        bar: Makes a progress bar from a title.

    Raises:
        RetainError: If a set or the model does not open, a tuning fails, or the disk is too full.
    """
    from retain.measure.weights import weight_distance
    from retain.model import cache
    from retain.model.facts import describe
    from retain.model.reference import folder
    from retain.model.tensors import FolderTensors
    from retain.steps.durable import check_space

    base = folder(model)
    weights = describe(model).num_parameters
    with TemporaryDirectory(prefix="retain-mpd-") as place:
        check_space(Path(place), BYTES_PER_WEIGHT * weights * (len(sources) + 2), "tuned models")
        store = Store(Path(place) / "steps")
        tuned = []
        for source in sources:
            with bar(f"training on {source}") as progress:
                tuned.append(_tuned(store, base, source, (num_steps, limit), progress))
        cache.clear()
        return [
            Pair(left, right, weight_distance(tuned[left], tuned[right], FolderTensors(base)))
            for left, right in combinations(range(len(sources)), 2)
        ]


def _tuned(store: Store, base: Path, source: str, size: tuple[int, int], progress: Progress) -> Any:
    """The weights after some steps on one set."""
    from retain.model.tensors import FolderTensors

    for step, run in _steps(base, source, size):
        if not store.finished(step):
            with store.begin(step, progress=progress) as work:
                run(work)
    return FolderTensors(store.open(step, "model"))


def _steps(
    base: Path, source: str, size: tuple[int, int]
) -> Iterator[tuple[Step, Callable[[Any], None]]]:
    """Data, mix and training, as of a recipe with one phase."""
    from retain.data.mix_step import run as run_mix
    from retain.data.step import run as run_data
    from retain.model.auto_class import has_encoder
    from retain.model.precision import resolve
    from retain.train.step import run as run_train

    num_steps, limit = size
    name = as_name(source)
    settings: dict[str, Any] = {"sources": [{}], "held_out": None, "max_items": limit}
    files = identity(Source.of(source))
    data = Step("data", name, 1, settings, files={f"0:{key}": one for key, one in files.items()})
    yield data, lambda work: run_data(work, sources=[source])
    shape = {"batch_size": BATCH_SIZE, "max_length": MAX_LENGTH, "max_steps": num_steps}
    parts = [{"role": "new", "objective": "sft", "packing": True, **shape}]
    mix = Step("mix", name, 1, {"parts": parts, "seed": 0}, inputs={"new": data})
    encoder = has_encoder(base)
    yield mix, lambda work: run_mix(work, tokenizer_folder=base, has_encoder=encoder)
    trained = {"learning_rate": LEARNING_RATE, "precision": resolve("auto"), "seed": 0}
    train = Step("train", name, 1, trained, inputs={"mix": mix})
    yield train, lambda work: run_train(work, base=base)
