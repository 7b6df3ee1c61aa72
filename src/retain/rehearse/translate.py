"""Texts translated by a model with an encoder, and what of it is worth keeping as pairs."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from retain.data.leak import normalise
from retain.errors import ModelError, RecipeError
from retain.measure.language import unknown_languages
from retain.rehearse.filters import Filters, Reason, Sieve
from retain.rehearse.log import Log, Text

if TYPE_CHECKING:
    from retain.model.load import Loaded

AT_A_TIME = 16
OwnReason = Literal["not translated", "length ratio"]
Translate = Callable[[Sequence[str]], list[Text]]


@dataclass(frozen=True, kw_only=True)
class PairFilters:
    """Which pairs are removed, besides copies and near copies of a translation kept before.

    Attributes:
        max_length_ratio: The longer side may have so many times the letters of the shorter.
        languages: ISO 639-1 codes of the translation; () keeps all, as do texts too short to tell.
        near_duplicates: See `retain.rehearse.filters.Filters`; None keeps them.
    """

    max_length_ratio: float = 3.0
    languages: tuple[str, ...] = ()
    near_duplicates: float | None = 0.9

    def __post_init__(self) -> None:
        if unknown := unknown_languages(self.languages):
            raise RecipeError(f"languages: {unknown}")


@dataclass
class Pairs:
    """Originals with their translations, filtered one after another.

    Attributes:
        filters: What is removed.
        kept: (place of the original, its translation).
        removed: How many each filter removed, in the order in which they are applied.
    """

    filters: PairFilters
    kept: list[tuple[int, str]] = field(default_factory=list)
    removed: Counter[Reason | OwnReason] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._sieve = Sieve(
            Filters(
                languages=self.filters.languages,
                refusals=(),
                near_duplicates=self.filters.near_duplicates,
            )
        )

    def add(self, place: int, original: str, written: Text) -> None:
        """Keep a pair, or count why not."""
        reason: Reason | OwnReason | None = self._wrong(original, written.text)
        reason = reason or self._sieve.removes(written.text, finished=written.finished)
        if reason is None:
            self.kept.append((place, written.text))
        else:
            self.removed[reason] += 1

    def _wrong(self, original: str, translation: str) -> OwnReason | None:
        if normalise(original) == normalise(translation):
            return "not translated"
        lengths = sorted((len(original), len(translation)))
        if lengths[0] and lengths[1] > self.filters.max_length_ratio * lengths[0]:
            return "length ratio"
        return None


def translated(
    texts: Sequence[str], translate: Translate, log: Log, progress: Callable[[int, int], None]
) -> Iterator[Text]:
    """The translation of each text, in order; what the log has is not written again."""
    for start in range(0, len(texts), AT_A_TIME):
        portion = texts[start : start + AT_A_TIME]
        keys = [str(start + place) for place in range(len(portion))]
        found = log.found(keys)
        if found is None:
            found = translate(portion)
            log.add(keys, found)
        progress(start + len(portion), len(texts))
        yield from found


def translator(
    loaded: "Loaded", *, source: str | None, target: str | None, max_new_tokens: int
) -> Translate:
    """What translates a few texts at once: greedily, so that nothing is drawn.

    Args:
        loaded: A model with an encoder.
        source: How the model's tokenizer calls the language of the texts, as NLLB's ``npi_Deva``;
            None for a model that knows one pair of languages.
        target: The language written, as NLLB's ``eng_Latn``.
        max_new_tokens: The most of a translation; one that ends there is cut off.

    Raises:
        ModelError: If the model has no encoder, or its tokenizer does not know a language.
    """
    import torch

    tokenizer, model = loaded.tokenizer, loaded.model
    if not model.config.is_encoder_decoder:
        raise ModelError(f"{loaded.folder}: a translator has an encoder and a decoder (NLLB, T5)")
    options: dict[str, object] = {}
    for language in (source, target):
        known = tokenizer.convert_tokens_to_ids(language) if language else 0
        if known is None or (known == tokenizer.unk_token_id and language):
            raise ModelError(f"'{language}' is no language of {loaded.folder}'s tokenizer")
    if source is not None:
        tokenizer.src_lang = source
    if target is not None:
        options["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(target)

    def translate(texts: Sequence[str]) -> list[Text]:
        given = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True)
        given = {key: given[key].to(loaded.device) for key in ("input_ids", "attention_mask")}
        with torch.inference_mode(), loaded.autocast():
            made = model.generate(
                **given, **options, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens
            )
        found = []
        for row in made[:, 1:].tolist():  # the first starts the decoder
            ends = tokenizer.eos_token_id in row
            tokens = row[: row.index(tokenizer.eos_token_id)] if ends else row
            text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
            found.append(Text(text, len(tokens), ends))
        return found

    return translate
