"""Which corpora the methods of a cell had written, and what the mix calls them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from retain.methods.base import Method
from retain.steps.step import Step


@dataclass(frozen=True)
class Corpora:
    """The corpora of one cell so far, by the method that had them written, oldest first."""

    written: Mapping[str, tuple[tuple[str, Step], ...]] = field(default_factory=dict)

    def with_one(self, method: Method, name: str, step: Step) -> "Corpora":
        """With one more; one that is there already, word for word, moves to the end."""
        key = _key(method)
        before = tuple(one for one in self.written.get(key, ()) if one[1] != step)
        return Corpora({**self.written, key: (*before, (name, step))})

    def of(self, method: Method) -> dict[str, Step]:
        """The corpora of a method by their role in the mix, this phase's last.

        Where two methods of an arm give their corpora one name, the later one's is numbered.
        """
        written = self.written.get(_key(method), ())
        if not written:
            return {}
        name = written[-1][0]
        alike = [key for key, (*_, (other, _)) in self.written.items() if other == name]
        number = alike.index(_key(method)) + 1
        role = f"rehearsed:{name}" if number == 1 else f"rehearsed:{name}-{number}"
        *earlier, (_, newest) = written
        found = {f"{role}@{age}": step for age, (_, step) in enumerate(earlier, start=1)}
        return {**found, role: newest}


def _key(method: Method) -> str:
    return json.dumps(method.entry(), sort_keys=True)
