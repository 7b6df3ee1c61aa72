"""Write the generated parts of the documentation: docs/cli.md and the recipe's JSON Schema.

``python docs/generate.py`` writes them; ``--check`` fails when one is out of date.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import typer

from retain.cli import app
from retain.recipe import schema

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Commands

Written by `make docs` from the commands themselves. Exit codes: 0 done, 1 your mistake (a message,
no traceback), 2 a gate of the recipe failed (`fail_if`), 130 interrupted (the same command goes
on).
"""


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command under ``command`` with its full name, in the order of the help."""
    if children := getattr(command, "commands", None):
        for child in children.values():
            yield from commands(child, f"{name} {child.name}")
    else:
        yield name, command


def cli_page() -> str:
    """docs/cli.md: each command's help as the terminal shows it."""
    parts = [HEAD]
    for name, command in commands(typer.main.get_command(app), "retain"):
        context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    return {
        ROOT / "docs" / "cli.md": cli_page(),
        ROOT / "src" / "retain" / "recipes" / "recipe.schema.json": (
            json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
        ),
    }


def main() -> int:
    """Write or check; the exit code."""
    stale = []
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `make docs`\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
