"""What can be said of a model from its configuration alone, for plans and estimates."""

from dataclasses import asdict, dataclass
from pathlib import Path

from retain.embedded.cache import cache_dir
from retain.model.layers import Place, is_tied, places
from retain.model.reference import file_sha256, folder, memorise, recall

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A model without its weights.

    Attributes:
        model_type: The family, as transformers calls it.
        num_layers: Blocks, of an encoder and its decoder together.
        has_encoder: Whether a token goes through one of two stacks of blocks, not through all.
        hidden_size: Width of the states between blocks.
        attention_size: Width of all query heads together.
        vocab_size: Rows of the head.
        context_tokens: Longest text it was made for; 0 where the configuration does not say.
        tied: Whether the head is the embedding's tensor.
        places: Where each parameter stands, by name.
    """

    model_type: str
    num_layers: int
    has_encoder: bool
    hidden_size: int
    attention_size: int
    vocab_size: int
    context_tokens: int
    tied: bool
    places: dict[str, Place]

    @property
    def passes(self) -> float:
        """Part of the blocks that a token goes through: about half where there are two stacks."""
        return 0.5 if self.has_encoder else 1.0

    @property
    def num_parameters(self) -> int:
        """All numbers in the model, a tied head counted once."""
        return sum(place.size for place in self.places.values())

    @property
    def block_parameters(self) -> int:
        """Numbers in the blocks."""
        return sum(place.size for place in self.places.values() if place.part == "block")


def describe(reference: str, revision: str | None = None) -> Facts:
    """The facts about a model; no weights are read, and torch only the first time.

    Raises:
        ModelError: If the model is not found or its configuration is not known.
    """
    return describe_folder(folder(reference, revision))


def describe_folder(path: Path) -> Facts:
    """The facts about a model, of which only the configuration need be there.

    Raises:
        ModelError: If its configuration is not known.
    """
    memo = cache_dir() / "facts" / f"{file_sha256(path / 'config.json')[:32]}.json"
    remembered = recall(memo)
    if remembered.get("format") == FORMAT:
        facts = remembered["facts"]
        assert isinstance(facts, dict)
        named = {name: Place(**place) for name, place in facts.pop("places").items()}
        return Facts(**facts, places=named)
    read = _read(path)
    memorise(memo, {"format": FORMAT, "facts": asdict(read)})
    return read


def _read(path: Path) -> Facts:
    from retain.model.load import load_empty

    model = load_empty(path)
    found = places(model)
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Facts(
        model_type=config.model_type,
        num_layers=1 + max(place.block for place in found.values()),
        has_encoder=bool(model.config.is_encoder_decoder),
        hidden_size=config.hidden_size,
        attention_size=heads * head_size,
        vocab_size=config.vocab_size,
        context_tokens=getattr(config, "max_position_embeddings", None) or 0,
        tied=is_tied(model),
        places=found,
    )
