"""Message catalogues: the strings of a program and their translations, out of a ``.mo`` file.

Source: GNU gettext manual, "The Format of GNU MO Files". Departures: no plural forms (the first is
taken) and no charset other than UTF-8.
"""

import struct

from retain.errors import EmbeddedError

LITTLE = b"\xde\x12\x04\x95"
BIG = LITTLE[::-1]


def messages(content: bytes, place: str) -> list[tuple[str, str]]:
    """Source string and translation of every message, in the file's order.

    Context markers are dropped, and so is the header, whose source string is empty.

    Args:
        content: A whole ``.mo`` file.
        place: What the file is called in an error.

    Raises:
        EmbeddedError: If it is not such a file, or is cut off.
    """
    order = {LITTLE: "<", BIG: ">"}.get(content[:4])
    if order is None:
        raise EmbeddedError(f"{place}: not a message catalogue (it starts with {content[:4]!r})")
    try:
        _, _, count, sources, targets = struct.Struct(f"{order}5I").unpack_from(content)
        pair = struct.Struct(f"{order}2I")
        found = [
            (
                _text(content, *pair.unpack_from(content, sources + 8 * i)),
                _text(content, *pair.unpack_from(content, targets + 8 * i)),
            )
            for i in range(count)
        ]
    except (struct.error, UnicodeDecodeError) as fault:
        raise EmbeddedError(f"{place}: damaged message catalogue ({fault})") from fault
    return [(source.rpartition("\x04")[2], target) for source, target in found if source]


def _text(content: bytes, length: int, start: int) -> str:
    if start + length > len(content):
        raise struct.error(f"a string of {length} bytes at {start} lies outside the file")
    return content[start : start + length].split(b"\0")[0].decode("utf-8")
