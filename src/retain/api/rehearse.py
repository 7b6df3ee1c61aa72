"""A corpus that a model writes, as a file for whatever trains on it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from retain.data.example import Example
from retain.errors import DataError, RecipeError, StoreError, did_you_mean
from retain.methods import find, known, validate
from retain.methods.base import Method, acts_in, option_names
from retain.methods.given import Past
from retain.methods.shares import OF_MIX
from retain.pipeline.kinds import KINDS
from retain.recipe.dotted import split
from retain.recipe.faults import translate
from retain.rehearse.corpus import ENGINES, HERE, Corpus
from retain.steps.durable import fsync, publish
from retain.steps.lock import locked

OF_RECIPES = (*OF_MIX, "phases", "writer")
MIN_FOR_TOPICS = 20
"""Documents: of fewer, every word stands out."""


def rehearse(  # noqa: PLR0913 - each is an option of the command
    model: str,
    method: str,
    values: Sequence[str] = (),
    *,
    output: str | Path,
    tasks: Sequence[str] = (),
    seed: int = 0,
    engine: str = HERE,
) -> str:
    """Have a model write a corpus as a method asks for it; what came of it, as text.

    What is written lies beside the output until it is done: after a kill the same call goes on.

    Args:
        model: A folder, a hub id or ``embedded:NAME``: who writes.
        method: One that rehearses, such as ``tree_generation``.
        values: ``num_tokens=20000`` and the like.
        output: The file, JSON lines.
        tasks: What gives an item of these tasks away is left out.
        seed: Of all that is drawn.
        engine: What writes: ``retain``, or ``vllm`` on a GPU.

    Raises:
        RetainError: If a value cannot be, prompts are of two kinds, the file exists, another
            process writes it, or the model writes nothing usable.
        Interrupted: After a signal; the same call goes on.
    """
    from retain import terminal
    from retain.execute.signals import listening
    from retain.model.precision import resolve
    from retain.model.reference import folder, identity
    from retain.rehearse.log import Log, is_of_another
    from retain.rehearse.step import Writing

    _check_engine(engine)
    path = Path(output)
    if path.exists():
        raise StoreError(f"{path} exists already; name another file with --output")
    made = _method(method, values)
    corpus = made.rehearse(Past())
    assert corpus is not None
    examples = _examples(made, corpus)
    with alone(path):
        sha256 = identity(model)["sha256"]
        begun = path.with_name(f"{path.name}.begun")
        scored = _scored(tasks)
        precision = resolve("auto")
        asked = [made.spec_of_corpus(), KINDS["rehearse"].version, sha256, seed, precision]
        asked.append([example.id for example in examples])
        if engine != HERE:
            asked.append(engine)
        if is_of_another(begun, asked):
            raise StoreError(
                f"{begun}: holds what was written so far by another model, with another seed, "
                "other values or prompts; give the same ones to go on with it, name another "
                "--output, or remove that file to begin anew"
            )
        with (
            listening(on_stop=_say_stopping, on_leave=lambda reason: None) as stop,
            terminal.bar("writing") as progress,
        ):
            writing = Writing(
                corpus=corpus,
                model=sha256,
                examples=examples,
                seed=seed,
                precision=precision,
                log=Log(begun, asked),
                progress=progress,
                stop=stop,
                engine=engine,
            )
            partial = path.with_name(f"{path.name}.partial")
            facts = writing.write(folder(model), partial)
        num_leaks = 0
        if scored:
            facts |= _without(partial, scored)
            num_leaks = facts["num_leaks"]
        fsync(partial)
        publish(partial, path)
        begun.unlink(missing_ok=True)
    return _text(path, facts, num_leaks)


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise RecipeError(did_you_mean("engine", engine, list(ENGINES)))
    if engine != HERE:
        from retain.decode.vllm_engine import check_engine

        check_engine()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a file that is about to be written: two calls would add to one log.

    Raises:
        StoreError: If another process writes it.
    """
    lock = path.with_name(f".{path.name}.lock")
    with locked(lock, what=str(path)):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _say_stopping() -> None:
    from retain import terminal

    terminal.say("stopping; the same command goes on")


def _method(name: str, values: Sequence[str]) -> Method:
    """The method with the values of the command line."""
    writing = [one for one, method in known().items() if acts_in(method, "rehearse")]
    if name not in known():
        raise RecipeError(did_you_mean("method", name, writing))
    found = find(name)
    if name not in writing:
        raise RecipeError(f"method '{name}' writes no corpus; those that do: {', '.join(writing)}")
    options = dict(split(value) for value in values)
    allowed = [one for one in option_names(found) if one not in OF_RECIPES]
    for key in options:
        if key in OF_RECIPES:
            raise RecipeError(f"{key}: says what a recipe does with a corpus; leave it out here")
        if key not in allowed:
            raise RecipeError(did_you_mean("key", key, allowed))
    try:
        return validate(found, options)
    except ValidationError as error:
        told = (f"{name}.{'.'.join(map(str, one.loc))}: {one.message}" for one in translate(error))
        raise RecipeError("; ".join(told)) from error


def _examples(method: Method, corpus: Corpus) -> list[Example]:
    """The prompts that the method brings."""
    from retain.data.sources import load as load_source

    own = method.data()
    if missing := [role for role in corpus.data if role not in own]:
        raise RecipeError(
            f"{method.name} asks about the data of a recipe ({', '.join(missing)}); outside one, "
            "give it prompts of its own: prompts=FILE"
        )
    examples = [
        example
        for role in corpus.data
        for source in own[role]
        for example in load_source(source.model_dump(exclude_none=True)).examples
    ]
    num_texts = sum(one.text is not None for one in examples)
    if 0 < num_texts < len(examples):
        raise DataError(
            f"{method.name}: of {len(examples)} prompts {num_texts} are texts to go on with and "
            "the others dialogues; a file of lines has `messages` or `text`, so give the two kinds "
            "one call each"
        )
    return examples


def _scored(tasks: Sequence[str]) -> list[str]:
    """Every text that would give an item of these tasks away."""
    from retain.evaluate.catalog import resolve
    from retain.evaluate.documents import document_texts

    return [text for spec in resolve(list(tasks)) for _, text in document_texts(spec)]


def _without(path: Path, scored: Sequence[str]) -> dict[str, Any]:
    """Take lines out of a corpus that give one of these texts away; the facts of what is left.

    A line does so by what the model wrote and by what it was asked: no step has looked at prompts.
    """
    from retain.rehearse.leaks import Leaks
    from retain.rehearse.written import facts_of_rows, given_of, write_rows, written_of

    leaks = Leaks(scored)
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    kept = [row for row in rows if not any(map(leaks.in_text, (written_of(row), *given_of(row))))]
    if not kept:
        raise DataError(f"all {len(rows)} documents give an item of the tasks away")
    write_rows(path, kept)
    return {**facts_of_rows(kept), "num_leaks": len(rows) - len(kept)}


def _text(path: Path, facts: Mapping[str, Any], num_leaks: int) -> str:
    """What was written, what was removed, how varied it is."""
    from retain import terminal

    found = facts["diversity"]
    written = ", ".join(f"{num} {_NAMES[role]}" for role, num in facts["texts_written"].items())
    lines = [
        f"{path}: {facts['num_documents']} documents, {facts['num_tokens']:,} tokens",
        f"written     {written}; {facts['tokens_written']:,} tokens",
    ]
    for role, counts in facts["removed"].items():
        if counts:
            listed = ", ".join(f"{why} {num}" for why, num in counts.items())
            lines.append(f"removed     of {_NAMES[role]}: {listed}")
    if num_leaks:
        lines.append(f"removed     evaluated items: {num_leaks}")
    for name, what in _MEASURES.items():
        if found[name] is not None:
            lines.append(f"{found[name]:<11.3f} {what}")
    for depth, terms in found["topics"].items():
        listed = f": {', '.join(terms)}" if facts["num_documents"] >= MIN_FOR_TOPICS else ""
        lines.append(f"depth {depth}     {found['num_by_depth'][depth]} documents{listed}")
    return terminal.plain("\n".join([*lines, *facts["notes"]]))


_NAMES = {"user": "questions", "assistant": "answers", "text": "texts", "random": "random texts"}
_MEASURES = {
    "distinct_1": "distinct-1: different words of all",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "self_bleu": "self-BLEU of a sample (1: all alike)",
    "mean_similarity": "mean similarity of two documents (cosine of their character n-grams)",
}
