"""A pen that needs no model, and a corpus small enough to be seen whole."""

from dataclasses import dataclass, field
from hashlib import sha256

from retain.rehearse.corpus import Ask, Corpus
from retain.rehearse.filters import Filters
from retain.rehearse.log import Text

WORDS = [
    "rivers",
    "mountains",
    "kings",
    "plants",
    "engines",
    "songs",
    "numbers",
    "maps",
    "cities",
    "birds",
]
NO_FILTERS = Filters(
    cut_off=False, max_repetition=None, duplicates=False, near_duplicates=None, requests=False
)


@dataclass
class ToyPen:
    """Writes a sentence that follows from the key alone; remembers what it was asked."""

    bad: tuple[str, ...] = ()
    asked: list[list[tuple[str, Ask]]] = field(default_factory=list)
    room: int = 1000

    def fits(self, ask):
        return ask.max_new_tokens <= self.room

    def write(self, asked, check_stop):
        check_stop()
        self.asked.append(list(asked))
        return [self.text(key, ask) for key, ask in asked]

    def num_read(self, asks):
        return 10 * len(asks)

    def text(self, key, ask):
        digits = sha256(key.encode()).hexdigest()
        word = WORDS[int(digits[:4], 16) % len(WORDS)]
        if any(key.endswith(end) for end in self.bad):
            return Text("", 1, finished=True)
        said = f"What is {digits[:9]} to {word}?" if ask.writes == "user" else f"It is {digits}."
        return Text(said, 3 + int(digits[0], 16) % 5, finished=True)


@dataclass(frozen=True, kw_only=True)
class Twigs(Corpus):
    """``branching`` questions below each answer, and an answer below each question."""

    branching: tuple[int, ...] = (3, 2)

    def expand(self, node, examples, rng):
        depth = (len(node.path) - 1) // 2
        if node.ask is not None and node.ask.writes == "user":
            return (Ask(writes="assistant", messages=node.messages, max_new_tokens=20),)
        if depth >= len(self.branching):
            return ()
        ask = Ask(writes="user", messages=node.messages, max_new_tokens=20)
        return (ask,) * self.branching[depth]
