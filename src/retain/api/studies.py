"""The recipes that come with retain, listed."""

from retain.recipe import about, shipped
from retain.recipe.read import SHIPPED


def studies() -> str:
    """Every shipped recipe with what it asks; a study's README stands beside its recipes."""
    names = shipped()
    width = max(map(len, names))
    lines = [f"{name:{width}}  {about(name)}" for name in names]
    readmes = sorted(SHIPPED.glob("studies/*/README.md"))
    told = [
        "",
        "retain plan NAME says what it takes, retain run NAME runs it.",
        "mini: on two cores. paper: at the paper's size, planned without a download.",
    ]
    told += ["What each asks, changes and found:", *(f"  {path}" for path in readmes)]
    return "\n".join([*lines, *(told if readmes else told[:2])])
