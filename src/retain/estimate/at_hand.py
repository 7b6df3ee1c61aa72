"""What of a recipe is here, what is only recorded, and the facts of either."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from retain.data import hub
from retain.data.places import HUB
from retain.data.sources import EMBEDDED, load
from retain.embedded import TABLE, cache_dir, lookup
from retain.estimate import recorded
from retain.estimate.recorded import DataSize
from retain.methods.given import Source
from retain.model.facts import Facts, describe_folder
from retain.model.layers import Place
from retain.model.reference import HUB_ID, cached_config, config_folder, folder
from retain.recipe import Cell, Recipe, expand

CHARACTERS_PER_TOKEN = 4.0
TEMPLATE_TOKENS = 10  # of a chat template, around an example


def is_recorded(recipe: Recipe) -> bool:
    """Whether something that the recipe needs is not here, and all such things are recorded.

    Nothing is asked of the hub.
    """
    missing = False
    for cell in expand(recipe):
        if not has_model(cell):
            missing = True
            if recorded.model_config(cell.recipe.model) is None:
                return False
        for source in sources_of(cell):
            if not has_data(source):
                missing = True
                if recorded.data_size(source.source) is None:
                    return False
    return missing


def sources_of(cell: Cell) -> Iterator[Source]:
    """Every source that the cell's phases and methods read."""
    for phase in cell.recipe.phases:
        yield from phase.data
    for planned in cell.phases:
        for method in planned.methods:
            for sources in method.data().values():
                yield from sources


def has_model(cell: Cell) -> bool:
    """Whether the configuration of a cell's base model is here; so is said of what is no hub id."""
    reference, revision = cell.recipe.model, cell.recipe.revision
    path = Path(reference).expanduser()
    if path.exists() or path.suffix == ".gguf" or HUB_ID.fullmatch(reference) is None:
        return True
    return cached_config(reference, revision) is not None


def has_data(source: Source) -> bool:
    """Whether a source is here; of an embedded one, whether its packages were fetched."""
    name = source.source.partition("#")[0]
    if name.startswith(EMBEDDED):
        if name.removeprefix(EMBEDDED) not in TABLE:
            return True  # whoever opens it says what is wrong
        packages = lookup(name.removeprefix(EMBEDDED)).packages
        return all((cache_dir() / "packages" / one.file).exists() for one in packages)
    if Path(name).expanduser().exists():
        return True
    return hub.cached_revision(name.removeprefix(HUB)) is not None


def model_folder(cell: Cell) -> Path:
    """A folder with the configuration of a cell's base model: its own, or the recorded one."""
    reference, revision = cell.recipe.model, cell.recipe.revision
    if not has_model(cell):
        return recorded.model_folder(reference)
    return config_folder(reference, revision) or folder(reference, revision)


def model_facts(cell: Cell) -> Facts:
    """The facts of a cell's base model."""
    facts = describe_folder(model_folder(cell))
    config = recorded.model_config(cell.recipe.model) or {}
    if has_model(cell) or not facts.tied or config.get("tie_word_embeddings", True):
        return facts
    # mT0's head is stored apart from its embeddings, which transformers sees from the weights alone
    head = Place("head", -1, "other", facts.vocab_size * facts.hidden_size)
    return replace(facts, tied=False, places={**facts.places, "lm_head.weight": head})


def data_size(source: Source) -> DataSize:
    """How much a source is: counted where it is here, else as recorded."""
    if has_data(source):
        examples = load(source.model_dump()).examples
        characters = sum(len(text) for one in examples for text in one.contents)
        answers = sum(len(one.reference or one.text or "") for one in examples)
        whole, trained = (n / CHARACTERS_PER_TOKEN / len(examples) for n in (characters, answers))
        return DataSize(
            examples=len(examples), tokens=whole + TEMPLATE_TOKENS, trained_tokens=trained + 1
        )
    found = recorded.data_size(source.source)
    assert found is not None, "is_recorded comes first"
    _, _, sample = source.source.partition("#")
    taken = source.sample or (int(sample) if sample else None)
    if taken is None:
        return found
    return DataSize(
        examples=min(taken, found.examples),
        tokens=found.tokens,
        trained_tokens=found.trained_tokens,
        assumed=found.assumed,
        origin=found.origin,
    )
