"""A step: a unit of work that is named by everything its result depends on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from retain.errors import RecipeError
from retain.steps.fingerprint import Json, canonical, plain_copy, sha256_bytes

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
SHA256 = re.compile(r"[0-9a-f]{64}")
NUM_FOLDER_DIGITS = 16


@dataclass(frozen=True, eq=False)
class Step:
    """One unit of work; making it runs nothing. Two steps are equal if their fingerprints are.

    Attributes:
        kind: Which runner carries it out, such as ``train``; lower case letters, digits, ``_``.
        name: For people only, not part of the identity; 1 to 64 of ``A-Za-z0-9._-``.
        version: VERSION of the kind, raised by hand when its results change.
        settings: All that shapes the result, as JSON. Copied: later changes do not reach it.
        inputs: Role to the step whose result is read in that role.
        files: Label to sha256 (64 hex digits) of a file, model or package from outside the store.
        fingerprint: 64 hex digits of kind, version, settings, fingerprints of the inputs, files.

    Raises:
        RecipeError: If a name is unfit for a folder, or a setting has no canonical spelling.
    """

    kind: str
    name: str
    version: int
    settings: Mapping[str, Json]
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        if not KIND.fullmatch(self.kind):
            raise RecipeError(f"step kind {self.kind!r}: must match {KIND.pattern}")
        check_name("step name", self.name)
        place = f"{self.kind} step '{self.name}'"
        for label, digest in self.files.items():
            if not SHA256.fullmatch(digest):
                raise RecipeError(f"{place}: file '{label}': {digest!r} is not a sha256 in hex")
        copies = {
            "settings": plain_copy(self.settings, f"{place}: settings"),
            "inputs": dict(self.inputs),
            "files": dict(self.files),
        }
        for attribute, copy in copies.items():
            object.__setattr__(self, attribute, copy)
        identity = {
            "kind": self.kind,
            "version": self.version,
            "settings": self.settings,
            "inputs": {role: step.fingerprint for role, step in self.inputs.items()},
            "files": self.files,
        }
        object.__setattr__(self, "fingerprint", sha256_bytes(canonical(identity, place)))

    @property
    def key(self) -> str:
        """``kind-<16 hex>``: names its lock and its temporary folders."""
        return f"{self.kind}-{self.fingerprint[:NUM_FOLDER_DIGITS]}"

    @property
    def folder(self) -> str:
        """``kind/name-<16 hex>``: where its result goes, relative to the store."""
        return f"{self.kind}/{self.name}-{self.fingerprint[:NUM_FOLDER_DIGITS]}"

    def describe(self) -> dict[str, Json]:
        """The step as JSON, each input by folder and fingerprint: what its record keeps."""
        return {
            "kind": self.kind,
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "settings": self.settings,
            "inputs": {
                role: {"folder": step.folder, "fingerprint": step.fingerprint}
                for role, step in self.inputs.items()
            },
            "files": self.files,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Step({self.folder})"


def check_name(what: str, name: str) -> str:
    """The name itself, if it can be the name of a folder under the runs folder.

    Args:
        what: What is named, for the message: ``run name``, ``arm``, ``phase``.
        name: 1 to 64 of letters, digits, ``.``, ``_``, ``-``; not starting with a dot.

    Raises:
        RecipeError: If it is anything else, ``..`` included.

    >>> check_name("run name", "med-v2")
    'med-v2'
    """
    if NAME.fullmatch(name) and not name.startswith("."):
        return name
    raise RecipeError(
        f"{what} {name!r}: must be 1 to 64 of A-Z a-z 0-9 . _ - and not start with a dot; "
        f"try {as_name(name)!r}"
    )


def as_name(text: str) -> str:
    """A legal name that resembles the text: other characters become ``-``, cut at 64.

    >>> as_name("none/seed 0: हिन्दी")
    'none-seed-0'
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    return name[:64].rstrip("-._") or "unnamed"
