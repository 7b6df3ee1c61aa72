"""Who reads the answers that were written, and what it is asked of them."""

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from retain.evaluate.judge import HERE_OPTIONS, NOT_OPTIONS, OPTIONS, RUBRIC, Mode
from retain.recipe.faults import Fault, refuse
from retain.recipe.train import Flag, Name, Part, Text, Whole


class Judge(Part):
    """A model that says how good written answers are."""

    model: Text
    """Its name at `address`; without one, what runs here: `embedded:NAME`, a hub id, a folder."""
    address: Text | None = None
    """An OpenAI-compatible server, up to `/v1`; its key comes from `RETAIN_JUDGE_API_KEY`."""
    tasks: tuple[Text, ...] = Field(min_length=1)
    """Tasks whose written answers it reads."""
    pairwise: Flag = True
    """Compare every answer with the base model's, in both orders."""
    rubric: dict[Name, Text] = Field(default_factory=lambda: dict(RUBRIC))
    """What each answer gets 1 to 5 points for, and what that means; `{}` for nothing."""
    limit: Whole | None = Field(default=50, ge=1)
    """Items of each task, the first of a fixed order; none judges all."""
    options: dict[Text, Any] = Field(default_factory=lambda: dict(OPTIONS))
    """Further fields of each request, such as `temperature`."""
    at_once: Whole = Field(default=4, ge=1, le=64)
    """Requests sent to `address` at a time; changes no result."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """What it is asked for."""
        asked: tuple[tuple[Mode, bool], ...] = (
            ("rubric", bool(self.rubric)),
            ("pairwise", self.pairwise),
        )
        return tuple(mode for mode, wanted in asked if wanted)

    def settings(self, mode: Mode) -> Mapping[str, Any]:
        """What of it shapes the verdicts of one mode."""
        found = {
            "mode": mode,
            "model": self.model,
            "address": self.address,
            "options": self.options,
            "limit": self.limit,
        }
        return found | ({"rubric": self.rubric} if mode == "rubric" else {})

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.modes:
            refuse([Fault(("rubric",), "is empty and pairwise is false: nothing is asked")])
        if wrong := [name for name in NOT_OPTIONS if name in self.options]:
            refuse([Fault(("options", wrong[0]), "is set by the judge itself; leave it out")])
        foreign = [name for name in self.options if name not in HERE_OPTIONS]
        if self.address is None and foreign:
            known = ", ".join(HERE_OPTIONS)
            refuse([Fault(("options", foreign[0]), f"without an address, known are {known}")])
        if self.address is not None and (fault := _address_fault(self.address)):
            refuse([Fault(("address",), fault)])
        return self


def _address_fault(address: str) -> str:
    """What is wrong with an address; empty where nothing is."""
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return "is no address; write it as http://HOST:PORT/v1"
    if parts.username or parts.password or "@" in address or parts.query or parts.fragment:
        return "holds a user, a password or a query; a key belongs into RETAIN_JUDGE_API_KEY"
    if parts.scheme not in ("http", "https") or not has_host:
        return f"must begin with http:// or https:// and a host; got {address!r}"
    return ""
