"""Message catalogues in both byte orders, and damaged ones."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.embedded.catalogue import messages
from retain.errors import EmbeddedError


def catalogue(pairs: list[tuple[str, str]], order: str = "<") -> bytes:
    """A ``.mo`` file with these strings."""
    count = len(pairs)
    start = 28 + 16 * count
    tables: list[list[tuple[int, int]]] = [[], []]
    body = b""
    for pair in pairs:
        for table, text in zip(tables, pair, strict=True):
            raw = text.encode()
            table.append((len(raw), start + len(body)))
            body += raw + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, start)
    places = b"".join(struct.pack(f"{order}2I", *at) for table in tables for at in table)
    return head + places + body


TEXT = st.text(st.characters(exclude_characters="\0\x04", exclude_categories=["Cs"]))


@given(pairs=st.lists(st.tuples(TEXT, TEXT)), order=st.sampled_from("<>"))
def test_every_message_comes_back_in_order(pairs, order):
    got = messages(catalogue(pairs, order), "here")
    assert got == [pair for pair in pairs if pair[0]]


def test_contexts_plurals_and_the_header_are_dropped():
    pairs = [("", "Content-Type: x"), ("menu\x04Open", "खोल्नुहोस्"), ("file\0files", "क\0ख")]
    assert messages(catalogue(pairs), "here") == [("Open", "खोल्नुहोस्"), ("file", "क")]


@given(cut=st.integers(4, 60))
def test_a_cut_off_file_is_an_error_or_whole(cut):
    whole = catalogue([("Open the file", "फाइल खोल्नुहोस्")])
    with pytest.raises(EmbeddedError, match="here: damaged"):
        messages(whole[:cut], "here")


def test_another_file_is_refused():
    with pytest.raises(EmbeddedError, match="here: not a message catalogue"):
        messages(b"GIF89a", "here")


def test_text_that_is_not_utf8_is_an_error():
    content = catalogue([("ab", "cd")]).replace(b"cd", b"\xff\xfe")
    with pytest.raises(EmbeddedError, match="damaged"):
        messages(content, "here")
