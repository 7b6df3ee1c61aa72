"""What the model has written so far, on disk: a line for each text, added to and never changed.

Texts are kept as they came, before any filter; so a corpus is grown again from its log in a
moment, up to where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

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

    Attributes:
        seconds: What writing the texts took, in all processes that wrote at them.
    """

    def __init__(self, path: Path | None, identity: Json = None) -> None:
        self._path = path
        self._texts: dict[str, Text] = {}
        self.seconds = 0.0
        if path is None:
            return
        head = _head(identity)
        lines = list(whole_lines(path))
        if lines and lines[0] == head:
            for line in lines[1:]:
                self._read(line)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        add_lines(path, [head])

    def found(self, keys: Sequence[str]) -> list[Text] | None:
        """The texts of all these keys; None if one of them is not there."""
        if any(key not in self._texts for key in keys):
            return None
        return [self._texts[key] for key in keys]

    def add(self, keys: Sequence[str], texts: Sequence[Text], seconds: float = 0.0) -> None:
        """Keep texts and what they took; they are on the disk when this returns."""
        pairs = list(zip(keys, texts, strict=True))
        self._texts.update(pairs)
        self.seconds += seconds
        if self._path is not None:
            written = [{"key": key, **asdict(text)} for key, text in pairs]
            add_lines(self._path, [*written, {"seconds": round(seconds, 3)}])

    def _read(self, line: dict[str, Any]) -> None:
        if "key" in line:
            key = line.pop("key")
            self._texts[key] = Text(**line)
        else:
            self.seconds += line["seconds"]


def is_of_another(path: Path, identity: Json) -> bool:
    """Whether a file holds texts, and of another identity."""
    lines = list(islice(whole_lines(path), 2))
    return len(lines) > 1 and lines[0] != _head(identity)


def _head(identity: Json) -> dict[str, str]:
    return {"corpus": sha256_bytes(canonical(identity, "corpus"))}
