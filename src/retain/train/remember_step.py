"""Steps of kind ``remember``: what a method keeps of a phase for later ones.

Inputs: ``model`` (the train or finish step of the phase), ``mix`` (what it trained on).
Output: ``memory.safetensors``, ``examples.jsonl``, ``memory.json``.
"""

from pathlib import Path

from retain.methods.base import Method
from retain.methods.given import Memory, Tokenised
from retain.model import cache
from retain.steps.work import Work
from retain.train.memory import write_memory
from retain.train.randomness import global_stream, stream
from retain.train.step import start_folder
from retain.train.stream import Stream, read_stream

VERSION = 1
NEW = "new"  # role of the phase's own data in a mix; `new:<phase>` where several are joined


def run(work: Work, *, base: Path, method: Method, device: str = "auto") -> None:
    """Let the method look at the model and the phase's examples, and write what it keeps.

    Settings: ``phase``, ``phase_index`` (row of the score matrix), ``seed``, ``precision``.

    Args:
        work: The running step.
        base: Folder of the base model, used if there is no input ``model``.
        method: The method that remembers.
        device: ``auto``, or a device of torch.
    """
    settings = work.step.settings
    phase, seed = str(settings["phase"]), int(settings["seed"])
    rng = stream(seed, phase, method.name, "remember")
    examples = new_examples(read_stream(work.input("mix", "stream.parquet")))
    stream(seed, phase, "examples").shuffle(examples)

    precision = str(settings.get("precision", "fp32"))
    loaded = cache.take(start_folder(work, base), precision=precision, device=device)
    with global_stream(loaded.device, seed, phase, method.name, "remember"), loaded.autocast():
        kept = method.remember(loaded.model, examples, rng) or Memory(phase=phase)
    index = int(settings.get("phase_index", 0))
    write_memory(work.output, kept, method=method.name, phase=phase, index=index)
    num_tensors = sum(value.numel() for value in kept.tensors.values())
    work.note(examples=len(kept.examples), numbers_in_tensors=num_tensors)


def new_examples(mix: Stream) -> list[Tokenised]:
    """The phase's own sequences, each once, in the order they were first learnt."""
    found = {
        row.example_id: Tokenised(
            id=row.example_id,
            input_ids=tuple(row.input_ids.tolist()),
            trained=tuple(row.trained.tolist()),
        )
        for rows in mix.steps
        for row in rows
        if row.source.split(":")[0] == NEW
    }
    return list(found.values())
