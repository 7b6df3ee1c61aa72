"""Rows of JSONL, JSON, CSV and Parquet files, each with the line it stands on.

A broken line becomes a :class:`Fault` among the rows; reading goes on behind it where the format
allows. JSONL, CSV and Parquet are streamed.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from retain.data.fault import Fault

MAX_LINE_BYTES = 64 * 2**20  # a 50 MB document is legal; a file without line ends is not read whole
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Row:
    """One row of a source.

    Attributes:
        where: ``file:line`` or ``source row N``.
        values: The columns.
        file: The file it came from, relative to the source; "" where there are no files.
    """

    where: str
    values: dict[str, Any]
    file: str = ""


def read_file(path: Path, label: str) -> Iterator[Row | Fault]:
    """Rows and faults of one file, in order.

    Args:
        path: A file whose ending is one of :data:`READERS`.
        label: What to call the file in messages.
    """
    if path.stat().st_size == 0:
        yield Fault(label, "empty", "the file has no content")
        return
    yield from READERS[path.suffix.lower()](path, label)


def _lines(stream: IO[bytes], label: str) -> Iterator[tuple[int, str] | Fault]:
    """Numbered lines as text, blank ones left out."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        where = f"{label}:{number}"
        if number == 1 and line.startswith(BOM):
            yield Fault(where, "BOM", "the file starts with a byte order mark; save it without one")
            line = line.removeprefix(BOM)
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            yield Fault(where, "over-long", f"the line is over {MAX_LINE_BYTES // 2**20} MiB")
            while (line := stream.readline(MAX_LINE_BYTES)) and not line.endswith(b"\n"):
                pass
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield _not_utf8(where, error)
            continue
        if text.strip():
            yield number, text


def _not_utf8(where: str, error: UnicodeDecodeError) -> Fault:
    got = error.object[error.start]
    return Fault(where, "not UTF-8", f"byte {got:#04x} at position {error.start + 1}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse(where: str, text: str) -> tuple[Any, Fault | None]:
    """The value, or the fault that says why there is none."""
    try:
        value = _decoder.decode(text.rstrip("\r\n"))
        _check_surrogates(text, value)
    except json.JSONDecodeError as error:
        return None, Fault(where, "bad JSON", f"{error.msg} at column {error.colno}")
    except RecursionError:
        return None, Fault(where, "bad JSON", "nested too deeply")
    except ValueError as error:
        return None, Fault(where, "bad JSON", str(error))
    return value, None


def _check_surrogates(text: str, value: Any) -> None:
    """Refuse half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("half of a surrogate pair (\\ud800 to \\udfff)") from error


def _as_row(where: str, value: Any, file: str) -> Row | Fault:
    if isinstance(value, dict):
        return Row(where, value, file)
    return Fault(where, "wrong type", f"expected an object {{...}}, got {type(value).__name__}")


def _read_jsonl(path: Path, label: str) -> Iterator[Row | Fault]:
    with path.open("rb") as stream:
        for line in _lines(stream, label):
            if isinstance(line, Fault):
                yield line
                continue
            number, text = line
            where = f"{label}:{number}"
            value, fault = _parse(where, text)
            yield fault or _as_row(where, value, label)


def _read_json(path: Path, label: str) -> Iterator[Row | Fault]:
    """An array of objects; a file that starts with ``{`` is read as JSON lines."""
    raw = path.read_bytes()
    if raw.startswith(BOM):
        yield Fault(f"{label}:1", "BOM", "the file starts with a byte order mark")
        raw = raw.removeprefix(BOM)
    if not raw.lstrip().startswith(b"["):
        yield from _read_jsonl(path, label)
        return
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        start = raw.rfind(b"\n", 0, error.start) + 1
        got = f"byte {raw[error.start]:#04x} at position {error.start - start + 1}"
        yield Fault(f"{label}:{line}", "not UTF-8", got)
        return
    yield from _read_array(text, label)


def _read_array(text: str, label: str) -> Iterator[Row | Fault]:
    """The elements one by one, so that each has its line; the first fault ends it."""
    position, line, counted = text.index("[") + 1, 1, 0
    first = True
    while True:
        position = _skip_space(text, position)
        line, counted = line + text.count("\n", counted, position), position
        where = f"{label}:{line}"
        if text.startswith("]", position):
            return
        if not first:
            if not text.startswith(",", position):
                yield Fault(where, "bad JSON", "expected ',' or ']' after an element of the array")
                return
            position = _skip_space(text, position + 1)
            line, counted = line + text.count("\n", counted, position), position
            where = f"{label}:{line}"
        first = False
        end, row = _element(text, position, where, label)
        yield row
        if end is None:
            return
        position = end


def _element(text: str, position: int, where: str, label: str) -> tuple[int | None, Row | Fault]:
    try:
        value, end = _decoder.raw_decode(text, position)
        _check_surrogates(text[position:end], value)
    except json.JSONDecodeError as error:
        line = f"{label}:{error.lineno}"
        return None, Fault(line, "bad JSON", f"{error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return None, Fault(where, "bad JSON", str(error))
    return end, _as_row(where, value, label)


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _read_csv(path: Path, label: str) -> Iterator[Row | Fault]:
    """Rows under a header; a cell that holds a JSON list is that list. Stops at a broken byte."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(MAX_LINE_BYTES)
    with path.open("rb") as stream:
        faults: list[Fault] = []
        reader = csv.reader(_csv_lines(stream, label, faults), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield from faults
                yield Fault(f"{label}:{line}", "wrong type", f"not CSV: {error}")
                return
            yield from faults
            faults.clear()
            if cells is None:
                return
            if header is None:
                header = cells
            elif cells:
                yield _csv_row(f"{label}:{line}", header, cells, label)


def _csv_lines(stream: IO[bytes], label: str, faults: list[Fault]) -> Iterator[str]:
    for number, raw in enumerate(stream, start=1):
        line = raw
        if number == 1 and line.startswith(BOM):
            text = "the file starts with a byte order mark; save it without one"
            faults.append(Fault(f"{label}:1", "BOM", text))
            line = line.removeprefix(BOM)
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            faults.append(_not_utf8(f"{label}:{number}", error))
            yield line.decode(errors="replace")


def _csv_row(where: str, header: list[str], cells: list[str], label: str) -> Row | Fault:
    if len(cells) != len(header):
        text = f"{len(cells)} cells under a header of {len(header)}"
        return Fault(where, "missing column", text)
    values: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        value, fault = _parse(where, cell) if cell.startswith(("[", "{")) else (cell, None)
        values[name] = cell if fault else value
    return Row(where, {name: None if cell == "" else cell for name, cell in values.items()}, label)


def _read_parquet(path: Path, label: str) -> Iterator[Row | Fault]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{label}:{number}", values, label)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Fault(f"{label}:{number + 1}", "wrong type", f"not a readable Parquet file: {error}")


READERS: dict[str, Callable[[Path, str], Iterator[Row | Fault]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
