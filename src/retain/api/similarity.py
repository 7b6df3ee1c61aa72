"""What data sets share, before anything is trained."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import combinations
from typing import Any

from retain.data.example import Example, last_assistant
from retain.data.sources import Source, load
from retain.errors import DataError, ModelError
from retain.measure.similarity import Embedder, Portrait, Sides, compare, portrait

NUM_SHOWN = 3
LIMIT = 500
STEPS = 20
MPD_NOTE = """
MPD: distance of all weights after {steps} steps on each set alone; as a part of the length of the
weights, and of the largest here. cosine: of the two ways the model moved, 1 where both sets pull
alike, 0 where they have nothing in common. Compare with other pairs at as many steps alone."""
NOTE = """
DES by {name}.
Figures of unlike embedders cannot be compared. halves: DES of one half of a set with the other,
which is what to expect of sets that are alike. prompt, answer: median characters."""


def show_similarity(
    sources: Sequence[str],
    *,
    model: str | None = None,
    embedder: str | None = None,
    limit: int = LIMIT,
    mpd: str | None = None,
    steps: int = STEPS,
) -> None:
    """Print what each data set is like, and what each pair of them shares.

    Args:
        sources: At least two, as `retain data check` takes them.
        model: Embed by this model's mean hidden states.
        embedder: Embed by this sentence-transformers model, a hub id or a folder. With neither,
            hashed character n-grams are compared: spelling, not meaning.
        limit: Examples of each source, drawn by hash; all of a smaller one, or its own ``#N``.
        mpd: Fine-tune this model on each set alone, and compare the weights.
        steps: Optimizer steps of each such tuning.

    Raises:
        RetainError: If there are fewer than two sources, both embedders are named, or anything
            does not open.
    """
    from retain import terminal

    if len(sources) < 2:
        raise DataError("similarity compares two sources or more; name another one")
    if limit < 1:
        raise DataError(f"limit must be at least 1, got {limit}")
    if steps < 1:
        raise DataError(f"steps must be at least 1, got {steps}")
    name, embed = embedder_of(model, embedder)
    portraits = []
    for source in sources:
        with terminal.bar(f"reading {source}"):
            portraits.append(portrait(_sides(source, limit), embed))
    out = terminal.console()
    out.print(
        terminal.table(
            "Data sets",
            ("set", ">examples", ">prompt", ">answer", "answers are", "languages", ">halves"),
            [_row(source, one) for source, one in zip(sources, portraits, strict=True)],
        )
    )
    out.print()
    out.print(
        terminal.table(
            "What they share: 1 is all, 0 nothing",
            ("set", "and", ">DES", ">words", ">languages", ">form", ">length"),
            [
                (sources[left], sources[right], *shared(portraits[left], portraits[right]))
                for left, right in combinations(range(len(sources)), 2)
            ],
        )
    )
    terminal.say(NOTE.format(name=name))
    if mpd is not None:
        _show_distances(sources, mpd, steps, limit)


def _show_distances(sources: Sequence[str], model: str, steps: int, limit: int) -> None:
    """How far apart short tunings on the sets leave a model."""
    from retain import terminal
    from retain.api.weight_distance import weight_distances

    found = weight_distances(sources, model, num_steps=steps, limit=limit, bar=terminal.bar)
    largest = max(pair.apart.length for pair in found)
    rows = [
        (
            sources[pair.left],
            sources[pair.right],
            f"{pair.apart.length:.4g}",
            f"{pair.apart.relative:.3%}",
            f"{pair.apart.length / largest:.3f}" if largest else "",
            " and ".join(f"{moved:.3%}" for moved in pair.apart.moved),
            f"{pair.apart.cosine:.3f}",
        )
        for pair in found
    ]
    columns = ("set", "and", ">MPD", ">of weights", ">of largest", ">each moved", ">cosine")
    out = terminal.console()
    out.print()
    out.print(terminal.table(f"How they pull {model} apart", columns, rows))
    terminal.say(MPD_NOTE.format(steps=steps))


def shared(left: Portrait, right: Portrait) -> tuple[str, ...]:
    """DES, and the common parts of words, languages, form and length of answers, as text."""
    found = compare(left, right)
    numbers = (found.des, found.vocabulary, found.languages, found.forms, found.lengths)
    return tuple(f"{number:.3f}" for number in numbers)


def _row(source: str, found: Portrait) -> tuple[str, ...]:
    return (
        source,
        f"{found.num_examples:,}",
        f"{found.asked_characters:,}",
        f"{found.answer_characters:,}",
        _most(found.forms),
        _most(found.languages),
        f"{found.halves:.3f}",
    )


def _most(parts: Any) -> str:
    shown = list(parts.items())[:NUM_SHOWN]
    return ", ".join(f"{name} {part:.0%}" for name, part in shown)


def _sides(source: str, limit: int) -> list[Sides]:
    """The examples of a source, as prompt and answer."""
    wanted = Source.of(source)
    found = load(wanted).examples
    if wanted.sample is None and len(found) > limit:
        found = load(f"{source}#{limit}").examples
    return [sides(example) for example in found]


def sides(example: Example) -> Sides:
    """What the user says last before the last answer, and that answer; or the running text."""
    if example.messages is None:
        return Sides("", example.text or "")
    asked = [turn["content"] for turn in example.prompt if turn["role"] == "user"]
    answer = example.messages[last_assistant(example.messages)]["content"]
    return Sides(asked[-1] if asked else "", answer, choices=bool(example.choices))


def embedder_of(model: str | None, embedder: str | None) -> tuple[str, Embedder]:
    """What embeds, as it is printed, and the function.

    Raises:
        ModelError: If both are named, or the one that is does not open.
    """
    if model is not None and embedder is not None:
        raise ModelError("--model and --embedder both say what embeds; give one of them")
    if embedder is not None:
        return f"the sentence embedder {embedder}", sentence_embedder(embedder)
    if model is not None:
        from retain.model.embed import mean_states
        from retain.model.load import load as open_model

        return f"mean hidden states of {model}", mean_states(open_model(model))
    from retain.measure.ngrams import embed_ngrams

    return "hashed character n-grams (spelling, not meaning: see --model, --embedder)", embed_ngrams


def sentence_embedder(name: str) -> Embedder:
    """A sentence-transformers model as an embedder.

    Raises:
        ModelError: If sentence-transformers is not installed, or the model does not open.
    """
    if find_spec("sentence_transformers") is None:
        raise ModelError("--embedder needs sentence-transformers: pip install 'retain[similarity]'")
    from sentence_transformers import SentenceTransformer

    try:
        opened = SentenceTransformer(name)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name}: not a sentence-transformers model: {error}") from error
    encode: Callable[..., Any] = opened.encode
    return lambda texts: encode(list(texts), show_progress_bar=False).astype("float64")
