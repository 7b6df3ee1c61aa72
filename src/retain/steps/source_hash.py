"""A hash of the code that a kind of step runs, blind to comments, docstrings and layout.

The guard behind VERSION: results may change when this hash does, so a test keeps it and asks to
raise VERSION or to confirm that nothing changed. It is never part of a fingerprint.
"""

import ast
import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retain.steps.fingerprint import canonical, sha256_bytes

CONFIRM = "confirm: python -m tests.confirm_versions"
STOPS = ("retain.errors", "retain.steps")
"""Modules that shape messages and storage, never results: not followed."""


def sources_sha256(runner: str, *, stops: Collection[str] = STOPS) -> str:
    """Hex sha256 of the normalised source of every module a runner reaches by imports.

    Args:
        runner: ``module:function``.
        stops: Modules, each with all below it, that are not followed.

    Raises:
        ModuleNotFoundError: If the runner's module has no source file.
    """
    module = runner.partition(":")[0]
    sources = {
        name: _digest(path.read_text("utf-8"))
        for name, path in reached(module, stops=stops).items()
    }
    if not sources:
        raise ModuleNotFoundError(f"no module '{module}' to hash for runner '{runner}'")
    return sha256_bytes(canonical(sources))


def version_faults(
    now: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What stands between the versions as they are and as they were last confirmed.

    Args:
        now: Kind to its ``version`` and ``sources_sha256``.
        kept: The same, as confirmed.
    """
    found = []
    for kind in sorted({*now, *kept}):
        old, new = kept.get(kind), now.get(kind)
        if old is None or new is None:
            found.append(f"{kind} is {'new' if old is None else 'gone'}: {CONFIRM}")
        elif new["version"] < old["version"]:
            found.append(
                f"VERSION of {kind} went from {old['version']} back to {new['version']}: steps of "
                "both meanings may be in people's stores; take a number never used before"
            )
        elif new["version"] > old["version"]:
            found.append(f"VERSION of {kind} is raised to {new['version']}: {CONFIRM}")
        elif new["sources_sha256"] != old["sources_sha256"]:
            found.append(
                f"the source that {kind} reaches has changed: raise VERSION of {kind} if its "
                f"results change, or {CONFIRM}"
            )
    return found


def reached(module: str, *, stops: Collection[str] = STOPS) -> dict[str, Path]:
    """Modules of the same top package that a module imports, itself included, to their files.

    Imports inside functions count, those for type checking do not. A package counts when it is
    named in an import, not for being the parent of one that is.

    Args:
        module: Where to begin.
        stops: Modules, each with all below it, that are not followed.
    """
    top = module.partition(".")[0]
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or any(name == stop or name.startswith(f"{stop}.") for stop in stops):
            continue
        if (path := _source(name)) is None:
            continue
        found[name] = path
        names = _imports(path.read_text("utf-8"))
        waiting.extend(each for each in names if each.partition(".")[0] == top)
    return dict(sorted(found.items()))


def normalised(source: str) -> Any:
    """The syntax tree as plain JSON, equal for sources that differ in comments and docstrings only.

    Empty fields are left out, so that it is also equal between versions of Python.

    >>> normalised("x = 1  # one") == normalised("x=1")
    True
    """
    return _plain(ast.parse(source))


def _source(name: str) -> Path | None:
    """The file of a module, or None if the name is something inside a module; imports nothing."""
    top, *parts = name.split(".")
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return None
    base = Path(spec.submodule_search_locations[0]).joinpath(*parts)
    for path in (base / "__init__.py", base.with_suffix(".py") if parts else base):
        if path.is_file():
            return path
    return None


@lru_cache(maxsize=1024)  # kinds share most of their modules
def _digest(source: str) -> str:
    return sha256_bytes(json.dumps(normalised(source)).encode())


@lru_cache(maxsize=1024)
def _imports(source: str) -> tuple[str, ...]:
    return tuple(_imported(ast.parse(source)))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            for other in node.orelse:
                yield from _imported(ast.Module([other], []))
        else:
            yield from _imported(node)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return [type(node).__name__, repr(node)]
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.Constant):  # None is a value here
        fields = {"value": node.value}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = _without_docstring(node.body)
    plain: Mapping[str, Any] = {name: _plain(value) for name, value in fields.items()}
    return [type(node).__name__, plain]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """The body without bare strings: docstrings, and those that describe an attribute."""
    return [
        statement
        for statement in body
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
    ]
