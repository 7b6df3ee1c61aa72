"""Dotted names: changing one value of a recipe from outside, and saying where a value stands.

Members of lists are addressed by their name: ``phases.hindi.train.learning_rate``, and the methods
of an arm by theirs: ``arms.replay.experience_replay.share``.
"""

from collections.abc import Mapping
from typing import Any

from retain.errors import RecipeError
from retain.recipe.arm import Arm
from retain.recipe.faults import unknown
from retain.recipe.train import EXCLUSIVE
from retain.recipe.yaml_text import Path, parse

ARM_KEYS = tuple(Arm.model_fields)
SINGULAR = {
    "phases": "phase",
    "arms": "arm",
    "variants": "variant",
    "tasks": "task",
    "methods": "method",
}


def split(override: str) -> tuple[str, Any]:
    """The dotted name and the value of ``a.b=c``; the value is read as YAML.

    >>> split("phases.hindi.train.learning_rate=1e-4")
    ('phases.hindi.train.learning_rate', 0.0001)

    Raises:
        RecipeError: If it has no ``=``, no name, or a value that is not YAML.
    """
    name, equals, text = override.removeprefix("--").partition("=")
    if not equals or not name.strip():
        raise RecipeError(f"override '{override}': write it as name.name=value")
    try:
        document = parse(text)
    except RecipeError as error:
        raise RecipeError(f"override '{override}': the value is {error}") from error
    for _, fault in document.faults:
        raise RecipeError(f"override '{override}': {fault}")
    return name.strip(), document.value


def with_value(raw: Mapping[str, Any], name: str, value: Any) -> tuple[dict[str, Any], Path]:
    """A copy of the recipe with one value changed, and the path of that value.

    A value of a group of which only one may be given (``max_steps``, ``num_train_epochs``)
    replaces the other.

    Raises:
        RecipeError: If the name leads through something that is not there, or is not a mapping.
    """
    changed = _unshared(raw)
    at: Any = changed
    path: Path = ()
    words = name.split(".")
    while True:
        if len(path) == 2 and path[0] == "arms":
            at, path = _into_arm(changed["arms"], path, words[0])
        key, words = _next(at, words, name, path)
        path = (*path, key)
        if not words:
            break
        if isinstance(at, dict) and at.get(key) is None:
            at[key] = {}
        at = at[key]
    if isinstance(at, dict):
        for group in EXCLUSIVE:
            if key in group and "train" in path:
                for other in group:
                    at.pop(other, None)
    at[key] = value
    return changed, path


def _unshared(value: Any) -> Any:
    """A deep copy in which nothing stands twice, as a YAML anchor and its aliases do."""
    if isinstance(value, Mapping):
        return {key: _unshared(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unshared(item) for item in value]
    return value


def _into_arm(arms: dict[str, Any], path: Path, word: str) -> tuple[Any, Path]:
    """An arm in its long form, or its methods when the next word names one of them."""
    name = str(path[1])
    arm = arms[name] or {}
    if isinstance(arm, str) or (isinstance(arm, dict) and "method" in arm):
        arm = [arm]
    if isinstance(arm, list):
        arm = {"methods": arm}
    if not isinstance(arm, dict):
        return arm, path
    arms[name] = arm
    if word in ARM_KEYS or not isinstance(arm.get("methods"), list):
        return arm, path
    arm["methods"] = [{"method": one} if isinstance(one, str) else one for one in arm["methods"]]
    return arm["methods"], (*path, "methods")


def _next(at: Any, words: list[str], name: str, path: Path) -> tuple[str | int, list[str]]:
    """The key that the first words mean here, and the words left; names may hold dots."""
    if isinstance(at, list):
        labels = {label(one, index): index for index, one in enumerate(at)}
        for length in range(len(words), 0, -1):
            if (joined := ".".join(words[:length])) in labels:
                return labels[joined], words[length:]
        kind = SINGULAR.get(str(path[-1]), "entry")
        raise RecipeError(f"'{name}': {unknown(kind, words[0], labels)}")
    if isinstance(at, dict):
        for length in range(len(words), 0, -1):
            if (joined := ".".join(words[:length])) in at:
                return joined, words[length:]
        if path and path[-1] in {"arms", "variants"} and len(words) > 1:
            raise RecipeError(f"'{name}': {unknown(SINGULAR[str(path[-1])], words[0], at)}")
        return words[0], words[1:]
    where = ".".join(map(str, path))
    raise RecipeError(f"'{name}': {where} is {at!r}, which has no '{words[0]}' inside")


def label(member: Any, index: int) -> str:
    """What a list's member is called: its name, its method's, or its number from 0."""
    if isinstance(member, str):
        return member
    if isinstance(member, Mapping):
        for key in ("name", "method"):
            if isinstance(member.get(key), str):
                return str(member[key])
    return str(index)


def locate(raw: Any, loc: Path) -> tuple[str, Path]:
    """The dotted name of a place, and its path in the recipe as it was written.

    ``loc`` counts in the long form; where the recipe has a shorthand, its steps are left out.
    """
    words: list[str] = []
    path: Path = ()
    at = raw
    for position, key in enumerate(loc):
        if isinstance(at, Mapping) and key in at:
            words.append(str(key))
            path, at = (*path, key), at[key]
        elif isinstance(at, list) and isinstance(key, int) and key < len(at):
            words.append(label(at[key], key))
            path, at = (*path, key), at[key]
        elif isinstance(at, Mapping) and isinstance(key, str) and position == len(loc) - 1:
            words.append(key)
    return ".".join(words), path
