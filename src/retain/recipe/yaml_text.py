"""YAML as recipes use it: data and nothing else, and the line every value stands on.

Only what YAML 1.2's core schema has: text, numbers, true and false, null, lists, mappings. So
``1e-4`` is a number (YAML 1.1 reads text), ``language: no`` is Norwegian (YAML 1.1 reads false),
and dates, ``1:30`` and tags such as ``!!python/object`` are not turned into anything. A key that
is given twice, deep nesting, and aliases that unfold without end are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from retain.errors import RecipeError

Path = tuple[str | int, ...]

MAX_BYTES = 256_000
MAX_DEPTH = 40
MAX_VALUES = 20_000  # after aliases are unfolded

NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$")
TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without its guesses: plain scalars stay text, for :func:`plain`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


@dataclass
class Document:
    """A YAML text as Python values, with the line of every value, counted from 1."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)


def plain(text: str) -> bool | int | float | str | None:
    """The value that an unquoted scalar stands for.

    >>> [plain(text) for text in ("1e-4", "no", "true", "3", "~")]
    [0.0001, 'no', True, 3, None]
    """
    if NULL.match(text):
        return None
    if BOOL.match(text):
        return text.lower() == "true"
    if INT.match(text):
        return int(text)
    return float(text) if FLOAT.match(text) else text


def parse(text: str) -> Document:
    """The values of one YAML document.

    Raises:
        RecipeError: If it is not YAML, too large or nested too deep. Duplicate keys and tags are
            left in ``faults``, so that they are reported beside other faults.
    """
    if len(text.encode()) > MAX_BYTES:
        raise RecipeError(f"{len(text.encode()):,} bytes; a recipe has at most {MAX_BYTES:,}")
    document = Document()
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise RecipeError(f"{line}not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"not YAML: {error}") from error
    if root is not None:
        document.value = _Builder(document).build(root, ())
    return document


def write(value: Any) -> str:
    """YAML that :func:`parse`, and any other reader, takes for the same values."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; text that :func:`plain` would take for something else is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written out where it stands."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(plain(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def _check_depth(text: str) -> None:
    """Refuse deep nesting before anything recursive looks at the text."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            assert event.start_mark is not None
            line = event.start_mark.line + 1
            raise RecipeError(f"line {line}: nested deeper than {MAX_DEPTH} levels")


class _Builder:
    """Turns nodes into values, noting lines, counting what aliases unfold to."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.num_values = 0
        self.open: set[int] = set()  # nodes being built: an alias to one of them has no end

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.num_values += 1
        line: int = node.start_mark.line + 1
        if self.num_values > MAX_VALUES or id(node) in self.open:
            raise RecipeError(f"line {line}: more than {MAX_VALUES:,} values, aliases unfolded")
        self.document.lines.setdefault(path, line)
        self._check_tag(node, line)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return dict(self._pairs(node, path))
            if isinstance(node, yaml.SequenceNode):
                return [self.build(one, (*path, index)) for index, one in enumerate(node.value)]
        finally:
            self.open.discard(id(node))
        text = str(node.value)
        return text if isinstance(node, yaml.ScalarNode) and node.style else plain(text)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.document.faults.append((line, "a key must be text"))
                continue
            key = str(key_node.value)
            if key in seen:
                first = f"key '{key}' is given twice; the first is on line {seen[key]}"
                self.document.faults.append((line, first))
            seen.setdefault(key, line)
            self.document.lines[(*path, key)] = line
            yield key, self.build(value_node, (*path, key))

    def _check_tag(self, node: yaml.Node, line: int) -> None:
        if node.tag not in TAGS:
            self.document.faults.append((line, f"tag '{node.tag}'; a recipe has plain values only"))
