"""Who judges: a model behind an address, or one in this process."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from retain.data.example import Example, Message
from retain.evaluate.engine import Engine
from retain.evaluate.generate import Prompt
from retain.evaluate.judge.chat import Server
from retain.evaluate.judge.prompts import Messages
from retain.evaluate.ledger import Ledger


class Judge(Protocol):
    """Answers conversations, in their order."""

    @property
    def notes(self) -> list[str]:
        """What a reader of its verdicts should know."""
        ...

    def answers(self, asked: Sequence[Messages], ledger: Ledger, name: str) -> list[str]:
        """What is said to each; those that a former process kept are not asked again."""
        ...


class RemoteJudge:
    """A model behind an address.

    Args:
        server: The address.
        at_once: Requests sent at a time.
    """

    def __init__(self, server: Server, at_once: int) -> None:
        self.server, self.at_once = server, at_once
        self.notes: list[str] = []

    def answers(self, asked: Sequence[Messages], ledger: Ledger, name: str) -> list[str]:
        """What the model says to each; see ``Server.answer`` for errors."""
        batches = [asked[at : at + self.at_once] for at in range(0, len(asked), self.at_once)]
        with ThreadPoolExecutor(self.at_once) as threads:

            def compute(batch: Sequence[Messages]) -> list[str]:
                return list(threads.map(self.server.answer, batch))

            found = ledger.run(name, batches, len, compute, identity=list(asked), unit="answers")
            return [said for _, results in found for said in results]


class LocalJudge:
    """A model in this process, asked through its chat template; it answers greedily.

    Args:
        engine: The model.
        options: Of generation, under the names of chat completions.
    """

    def __init__(self, engine: Engine, options: dict[str, Any]) -> None:
        self.engine, self.options = engine, options

    @property
    def notes(self) -> list[str]:
        """How many questions it could not read whole."""
        if not self.engine.num_truncated:
            return []
        return [
            f"the judge reads {self.engine.max_length} tokens: {self.engine.num_truncated} of what "
            "it was asked lost the beginning"
        ]

    def answers(self, asked: Sequence[Messages], ledger: Ledger, name: str) -> list[str]:
        """What the model writes to each."""
        return self.engine.generate([self._prompt(one) for one in asked], ledger, name)

    def _prompt(self, messages: Messages) -> Prompt:
        turns = [Message(role=one["role"], content=one["content"]) for one in messages]
        last = Message(role="assistant", content="-")  # not read
        tokens = self.engine.prompt_tokens(Example(source="judge", messages=(*turns, last)))
        return Prompt("", {"until": [], **self.options}, "judge", tokens)
