"""A few answers of the model to held-out prompts, for people to read before and after."""

from typing import Any

from retain.data.example import Example
from retain.data.pairs import closed
from retain.evaluate.engine import Engine
from retain.evaluate.example_task import ExampleTask, prompt
from retain.evaluate.ledger import Ledger

NUM_SAMPLES = 3
MAX_NEW_TOKENS = 48
NUM_TEXT_TOKENS = 48  # of a running text: shown first, and the model goes on


def samples(task: ExampleTask, ledger: Ledger) -> list[dict[str, Any]]:
    """Greedy answers to the first reported items.

    Returns:
        Item, prompt, reference and response of each.
    """
    engine = task.engine
    reported = [(item, example) for item, example in task.scored if item.role == "report"]
    chosen = reported[:NUM_SAMPLES]
    shown = [_shown(example, engine) for _, example in chosen]
    prompts = [prompt(engine, context, MAX_NEW_TOKENS) for context, _, _ in shown]
    written = engine.generate(prompts, ledger, "sample answers")
    return [
        {"item": item.key, "prompt": asked, "reference": reference, "response": response}
        for (item, _), (_, asked, reference), response in zip(chosen, shown, written, strict=True)
    ]


def _shown(example: Example, engine: Engine) -> tuple[tuple[int, ...], str, str]:
    """What the model is given, in tokens and for people, and what would be right."""
    if example.text is not None:
        (tokens,) = engine.encoder.encode([example.text])
        start, rest = tokens[:NUM_TEXT_TOKENS], tokens[NUM_TEXT_TOKENS:]
        decode = engine.tokenizer.decode
        read = tuple(closed(start, engine.tokenizer)) if engine.encoder.separate else start
        return read, decode(start), decode(rest[:MAX_NEW_TOKENS])
    context = engine.prompt_tokens(example)
    asked = example.prompt[-1]["content"] if example.prompt else ""
    if example.choices and example.answer is not None:
        return context, asked, example.choices[example.answer]
    return context, asked, example.reference or ""
