"""Lists on the command line, written with commas between."""


def words_of(text: str) -> tuple[str, ...]:
    """The words of ``a, b``; none for an empty text."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
