"""What the model has written so far, on disk: a line for each text, added to and never changed.

Texts are kept as they came, before any filter; so a corpus is grown again from its log in a
moment, up to where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from retain.steps.fingerprint import Json, canonical, sha256_bytes
from retain.steps.lines import add_lines, whole_lines


@dataclass(frozen=True)
class Text:
    """What the model wrote in one place.

    Attributes:
        text: Without the tokens that end it.
        num_tokens: With them.
        finished: Whether the model ended it itself.
    """

    text: str
    num_tokens: int
    finished: bool


class Log:
    """Texts by the key of the place they were asked for.

    Args:
        path: The file; None keeps nothing beyond the process.
        identity: All that the texts depend on; a file of another identity is begun anew.
    """

    def __init__(self, path: Path | None, identity: Json = None) -> None:
        self._path = path
        self._texts: dict[str, Text] = {}
        if path is None:
            return
        head = {"corpus": sha256_bytes(canonical(identity, "corpus"))}
        lines = list(whole_lines(path))
        if lines and lines[0] == head:
            for line in lines[1:]:
                key = line.pop("key")
                self._texts[key] = Text(**line)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        add_lines(path, [head])

    def found(self, keys: Sequence[str]) -> list[Text] | None:
        """The texts of all these keys; None if one of them is not there."""
        if any(key not in self._texts for key in keys):
            return None
        return [self._texts[key] for key in keys]

    def add(self, keys: Sequence[str], texts: Sequence[Text]) -> None:
        """Keep texts; they are on the disk when this returns."""
        pairs = list(zip(keys, texts, strict=True))
        self._texts.update(pairs)
        if self._path is not None:
            add_lines(self._path, ({"key": key, **asdict(text)} for key, text in pairs))
