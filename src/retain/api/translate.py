"""Texts and their translations by a model, as a file of pairs to train on."""

import json
from collections.abc import Sequence
from pathlib import Path

from retain.errors import DataError, StoreError


def translate_data(  # noqa: PLR0913 - each is an option of the command
    source: str,
    model: str,
    *,
    output: str | Path,
    column: str = "english",
    languages: Sequence[str] = (),
    from_code: str | None = None,
    to_code: str | None = None,
    max_length_ratio: float = 3.0,
    max_new_tokens: int = 256,
) -> str:
    """Translate the texts of a source, filter the pairs and write them; the counts, as text.

    What is translated lies beside the output until it is done: after a kill the same call goes on.

    Args:
        source: Running texts.
        model: A folder or a hub id of a model with an encoder.
        output: The file, JSON lines: ``text`` as it was, the translation in ``column``, ``item``.
        column: Where the translation stands.
        languages: ISO 639-1 codes that a translation may be in; () takes all.
        from_code: The texts' language as the model's tokenizer calls it (NLLB: ``npi_Deva``).
        to_code: The translation's.
        max_length_ratio: Of the longer side to the shorter, in letters.
        max_new_tokens: The most tokens of a translation.

    Raises:
        RetainError: If the file exists, the source holds no texts, the model cannot translate, or
            no pair is left.
    """
    from retain import terminal
    from retain.data.sources import load as load_source
    from retain.model.load import load
    from retain.model.reference import identity
    from retain.rehearse.log import Log
    from retain.rehearse.translate import PairFilters, Pairs, translated, translator
    from retain.steps.durable import fsync, publish

    path = Path(output)
    if path.exists():
        raise StoreError(f"{path} exists already; name another file with --output")
    examples = load_source(source).examples
    texts = [one.text for one in examples if one.text is not None]
    if len(texts) < len(examples):
        raise DataError(f"{source}: holds dialogues; running texts are translated (column `text`)")
    begun = path.with_name(f"{path.name}.begun")
    partial = path.with_name(f"{path.name}.partial")
    asked = [identity(model)["sha256"], from_code, to_code, max_new_tokens,
             [one.id for one in examples]]  # fmt: skip
    filters = PairFilters(max_length_ratio=max_length_ratio, languages=tuple(languages))
    pairs = Pairs(filters)
    translate = translator(
        load(model), source=from_code, target=to_code, max_new_tokens=max_new_tokens
    )
    with terminal.bar("translating") as progress:
        written = translated(texts, translate, Log(begun, asked), progress)
        for place, one in enumerate(written):
            pairs.add(place, texts[place], one)
    counts = ", ".join(f"{reason} {number}" for reason, number in pairs.removed.items())
    if not pairs.kept:
        raise DataError(f"{source}: of {len(texts)} translations none is left ({counts})")
    lines = [
        json.dumps(
            {"text": texts[place], column: text, "item": examples[place].item}, ensure_ascii=False
        )
        for place, text in pairs.kept
    ]
    partial.write_text("\n".join(lines) + "\n", "utf-8")
    fsync(partial)
    publish(partial, path)
    begun.unlink(missing_ok=True)
    removed = f"; removed: {counts}" if counts else ""
    return terminal.plain(f"{path}: {len(lines)} pairs of {len(texts)} texts{removed}")
