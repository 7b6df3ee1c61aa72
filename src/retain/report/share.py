"""A run without what is nobody else's business: aggregates alone (``retain report RUN --share``).

What is kept is listed here, everything else goes: item texts, answers, paths, commands, notes and
what was written of one's own data. Names that the recipe gives (of the run, arms, phases, tasks)
stay, and so do hub ids and embedded names. What is left is then searched for the names of this
machine and user, and refused if any is found.
"""

import getpass
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from retain.errors import DataError
from retain.report.facts import DataFacts
from retain.report.given import Given
from retain.report.results import Arm, Results

OWN = "(one's own)"
"""What stands in the place of a name that is left out."""

PLACES = ("model", "data", "source", "prompts", "include_path", "revision", "past", "writer")
"""Keys of a recipe whose texts say where something is, or what it says."""

WORDS = re.compile(r"(?:[\w:>=<+ -]|(?<=\d)\.(?=\d)){1,40}")
"""A value of a recipe that is a word of ours: no path, no address, no sentence with a full stop."""

EXTRA = re.compile(r"(\A|/)extra-.*?(-[0-9a-f]{16})?\Z", re.DOTALL)
"""What a step is called that reads data beside the phases, after their first source."""

ENVIRONMENT = (
    *("device", "precision", "threads", "sequences"),
    *("python", "retain", "torch", "transformers", "lm-eval", "numpy"),
)
SHORTEST = 3
"""Characters of a user's or a machine's name that is looked for; shorter ones are in every word."""


def shareable(results: Results, is_public: Callable[[str], bool]) -> Results:
    """The run with its aggregates alone.

    Args:
        results: The whole run.
        is_public: Whether a model or a source, as the recipe calls it, is one that anyone may get
            (``embedded:NAME``, a hub id); the others are one's own.

    Raises:
        DataError: If a name that the recipe gives holds the user's, the machine's or a folder's.
    """

    def shown(reference: str) -> str:
        return reference if is_public(reference) else OWN

    kept = replace(
        results,
        recipe=_recipe(results.recipe, "", shown),
        run_folder="",
        variants=tuple(replace(one, model=shown(one.model)) for one in results.variants),
        arms=tuple(replace(arm, description=_description(arm)) for arm in results.arms),
        models={},
        samples=(),
        probes=tuple(
            replace(one, content=_recipe(one.content, "", shown)) for one in results.probes
        ),
        judged=tuple(
            replace(one, judge=_recipe(one.judge, "", shown), said={}) for one in results.judged
        ),
        questions={},
        answers={},
        given={key: _unnamed(one) for key, one in results.given.items()},
        corpora=tuple(
            replace(
                one,
                samples=(),
                removed_samples=(),
                likeness=tuple((_of_step(name), like, own) for name, like, own in one.likeness),
            )
            for one in results.corpora
        ),
        lineage=tuple(replace(one, data=tuple(map(_of_step, one.data))) for one in results.lineage),
        data=tuple(_data(one, shown) for one in results.data),
        environment={
            name: value for name, value in results.environment.items() if name in ENVIRONMENT
        },
        command="",
        notes=(),
        lost=tuple(
            replace(one, arm=replace(one.arm, description=_description(one.arm)), reason="")
            for one in results.lost
        ),
    )
    _refuse_secrets(kept)
    return kept


def _recipe(value: Any, key: str, shown: Callable[[str], str]) -> Any:
    """A value of the recipe: numbers and words of ours; of places only the public ones."""
    if isinstance(value, Mapping):
        return {name: _recipe(one, str(name), shown) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_recipe(one, key, shown) for one in value]
    if not isinstance(value, str):
        return value
    if key.rpartition(".")[2] in PLACES:  # overrides of a variant are dotted
        return shown(value)
    return value if WORDS.fullmatch(value) else OWN


def _description(arm: Arm) -> str:
    """An arm by its methods and what was swept; what else it sets stands in the recipe."""
    swept = [f"{name} {value}" for name, value in arm.swept if isinstance(value, int | float)]
    return ", ".join((*arm.methods, *swept)) or "plain sequential fine-tuning"


def _of_step(name: str) -> str:
    """The name of a data step, without that of a file: data beside the phases is named by its own.

    >>> _of_step("data/extra-patients.jsonl-0123456789abcdef"), _of_step("data/hindi-0123")
    ('data/extra-0123456789abcdef', 'data/hindi-0123')
    """
    return EXTRA.sub(r"\1extra\2", name)


def _unnamed(given: Given) -> Given:
    """Answers by number alone: their names are texts of items."""
    return replace(given, names=tuple(f"answer {n + 1}" for n in range(len(given.names))))


def _data(one: DataFacts, shown: Callable[[str], str]) -> DataFacts:
    sources = [shown(source) for source in one.source.split(", ")]
    if OWN in sources:
        return replace(one, source=OWN, licence="", notes=(), sha256="")
    return one


def _refuse_secrets(kept: Results) -> None:
    names = _names_of_here()
    for text in _texts(kept):
        for what, name in names.items():
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
                raise DataError(
                    f"nothing was shared: '{text}' holds {what}. It is a name that the recipe "
                    "gives; give it another one."
                )


def _names_of_here() -> dict[str, str]:
    """What tells who and where this is; names that are everyday words are not looked for."""
    found = {"the path of this folder": str(Path.cwd()), "the home folder": str(Path.home())}
    with suppress(OSError, KeyError, ImportError):  # no such user, as in a container
        found["the user's name"] = getpass.getuser()
    found["the machine's name"] = socket.gethostname()
    return {
        what: name
        for what, name in found.items()
        if len(name) > SHORTEST and name not in ("root", "user", "localhost") and name != os.sep
    }


def _texts(value: Any) -> Iterator[str]:
    """Every text in a piece of data; arrays hold numbers and hashes alone."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(key)
            yield from _texts(one)
    elif is_dataclass(value):
        for column in fields(value):
            yield from _texts(getattr(value, column.name))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
