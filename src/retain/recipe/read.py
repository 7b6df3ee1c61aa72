"""From a file, a shipped name or plain values to a checked recipe; every fault at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from retain.errors import RecipeError, did_you_mean
from retain.recipe.derive import derived_faults
from retain.recipe.dotted import locate, split, with_value
from retain.recipe.faults import Fault, FaultyRecipeError, show
from retain.recipe.model import Recipe
from retain.recipe.train import NAME
from retain.recipe.valid import validate_recipe
from retain.recipe.yaml_text import Path, parse

SHIPPED = FilePath(__file__).parent.parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A recipe as it was written, and where each value of it comes from."""

    raw: Mapping[str, Any]
    lines: Mapping[Path, int] = field(default_factory=dict)
    overridden: Mapping[Path, str] = field(default_factory=dict)

    def describe(self, fault: Fault) -> str:
        """A fault as one line of text, with the place it stands at."""
        words, path = locate(self.raw, fault.loc)
        for length in range(len(path), 0, -1):
            if path[:length] in self.overridden:
                return f"override '{self.overridden[path[:length]]}': {words}: {fault.message}"
            if path[:length] in self.lines:
                return f"line {self.lines[path[:length]]}, {words}: {fault.message}"
        return f"{words}: {fault.message}" if words else fault.message

    def line(self, fault: Fault) -> int:
        """The line it stands on, to list faults in the order of the file; 0 when on none."""
        path = locate(self.raw, fault.loc)[1]
        found = (self.lines.get(path[:length]) for length in range(len(path), 0, -1))
        return next((line for line in found if line), 0)


def load_recipe(path_or_name: str | FilePath, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, or a shipped one by name, with dotted values changed.

    Args:
        path_or_name: A YAML file, or a name such as ``quickstart`` or ``studies/order/mini``.
        overrides: ``phases.hindi.train.learning_rate=1e-5`` and the like, applied in order.

    Raises:
        RecipeError: With every fault of the recipe and the overrides.
    """
    path = _find(path_or_name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        document = parse(text)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    if not isinstance(document.value, dict):
        found = "is empty" if document.value is None else f"holds {show(document.value)}"
        raise RecipeError(f"{path}: {found}; a recipe is a mapping with name, model and phases")
    before = [f"line {line}: {fault}" for line, fault in document.faults]
    return _read(_Source(raw=document.value, lines=document.lines), overrides, str(path), before)


def read_recipe(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of plain values, as a YAML file would give them.

    Raises:
        RecipeError: With every fault of the recipe and the overrides.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"a recipe is a mapping of keys to values; got {values!r}")
    return _read(_Source(raw=values), overrides, "recipe", [])


def shipped() -> list[str]:
    """The names of the recipes that come with retain."""
    found = SHIPPED.rglob("*.yaml")
    return sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in found)


def about(name: str) -> str:
    """What a shipped recipe asks: the sentence its file begins with.

    >>> about("quickstart").startswith("The main job on a real model")
    True
    """
    words: list[str] = []
    for line in (SHIPPED / f"{name}.yaml").read_text("utf-8").splitlines():
        if not line.startswith("#") or line.startswith("#  "):
            break
        words += line.removeprefix("#").split()
        if words[-1].endswith((".", "?")):
            break
    return " ".join(words)


def _find(path_or_name: str | FilePath) -> FilePath:
    path = FilePath(path_or_name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise RecipeError(f"{path}: no such file")
        return path
    name = str(path_or_name)
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; give the recipe file in it")
    if not all(NAME.match(word) for word in name.split("/")):
        raise RecipeError(f"'{name}': neither a file nor the name of a shipped recipe")
    if name not in (known := shipped()):
        raise RecipeError(f"no file '{name}', and {did_you_mean('shipped recipe', name, known)}")
    return SHIPPED / f"{name}.yaml"


def _read(source: _Source, overrides: Sequence[str], origin: str, before: Sequence[str]) -> Recipe:
    texts = list(before)
    for override in overrides:
        try:
            raw, path = with_value(source.raw, *split(override))
        except RecipeError as error:
            texts.append(f"override {error}" if "override" not in str(error) else str(error))
            continue
        source = replace(source, raw=raw, overridden={**source.overridden, path: override})
    recipe, faults = validate_recipe(source.raw)
    faults += derived_faults(source.raw, list(faults))
    texts += [source.describe(fault) for fault in sorted(faults, key=source.line)]
    if texts or recipe is None:
        raise FaultyRecipeError(origin, texts)
    return recipe
