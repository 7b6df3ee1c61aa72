"""How much a model reads."""

from typing import Any

DEFAULT_MAX_LENGTH = 2048  # the harness's, where neither model nor tokenizer names one
UNSET = 10**9  # tokenizers without a limit name a number beyond this


def model_length(model: Any, tokenizer: Any) -> int:
    """What a model reads, in tokens, by the harness's rule (``resolve_max_length``)."""
    config = model.config.get_text_config()
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        value = getattr(config, name, None)
        if value is not None:
            return int(value)
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if limit is not None and limit < UNSET else DEFAULT_MAX_LENGTH
