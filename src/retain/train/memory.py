"""What methods kept of earlier phases, on disk: named tensors and examples."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from retain.methods.given import Memory, Tokenised
from retain.steps.work import Work

TENSORS = "memory.safetensors"
EXAMPLES = "examples.jsonl"
HEAD = "memory.json"
ROLE = "memory:"


def write_memory(output: Path, memory: Memory, *, method: str, phase: str, index: int) -> None:
    """Write a memory as the content of a step.

    Args:
        output: The step's folder.
        memory: What the method returned.
        method: The method's name.
        phase: The phase it remembers.
        index: The phase's row in the score matrix: memories are read in this order.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in memory.tensors.items()}
    save_file(tensors, output / TENSORS)
    with (output / EXAMPLES).open("w", encoding="utf-8") as file:
        for one in memory.examples:
            line = {"id": one.id, "input_ids": one.input_ids, "trained": one.trained}
            file.write(json.dumps(line) + "\n")
    head = {"method": method, "phase": phase, "index": index}
    (output / HEAD).write_text(json.dumps(head), "utf-8")


def read_memories(work: Work) -> Mapping[str, Sequence[Memory]]:
    """All memories among the inputs of a step: by method, oldest phase first."""
    found: list[tuple[int, str, Memory]] = []
    for role in work.step.inputs:
        if role.startswith(ROLE):
            head = json.loads(work.input(role, HEAD).read_text("utf-8"))
            found.append((head["index"], head["method"], _read(work, role, head["phase"])))
    memories: dict[str, list[Memory]] = {}
    for _, method, memory in sorted(found, key=lambda entry: entry[:2]):
        memories.setdefault(method, []).append(memory)
    return memories


def _read(work: Work, role: str, phase: str) -> Memory:
    lines = work.input(role, EXAMPLES).read_text("utf-8").splitlines()
    examples = tuple(
        Tokenised(id=one["id"], input_ids=tuple(one["input_ids"]), trained=tuple(one["trained"]))
        for one in map(json.loads, lines)
    )
    return Memory(phase=phase, tensors=load_file(work.input(role, TENSORS)), examples=examples)
