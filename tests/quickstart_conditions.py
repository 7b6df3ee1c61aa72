"""Read a finished quickstart and check that it shows what it promises; prints the figures.

``python tests/quickstart_conditions.py runs/quickstart`` exits with 1 if a promise is broken.
"""

import csv
import sys
from pathlib import Path
from typing import Any

SKILL, TEXT, ENGLISH = "phase:medicine", "phase:hindi", "english_bits_per_byte"
MIN_GAIN = 0.20  # of accuracy, phase 1 over the base model
MIN_SKILL_LOSS = 1 / 3  # of that gain
MIN_ENGLISH_LOSS = 0.10  # of the base model's bits per byte


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def score(scores: list[dict[str, Any]], arm: str, phase_index: int, task: str) -> dict[str, Any]:
    """The main score of a task at one row of one arm."""
    [row] = [
        row
        for row in scores
        if row["arm"] == arm
        and int(row["phase_index"]) == phase_index
        and row["task"] == task
        and row["is_main"] in ("1", "True", "true")
    ]
    return row


def change(measures: list[dict[str, Any]], arm: str, task: str) -> dict[str, Any]:
    """Change from base of a task at the last row: value, ci_low and ci_high; positive is better."""
    [row] = [
        row
        for row in measures
        if row["arm"] == arm
        and int(row["phase_index"]) == 2
        and row["task"] == task
        and row["measure"] == "change_from_base"
    ]
    return row


def main(run: Path) -> int:
    """Print every figure, then each promise with whether it holds."""
    scores, measures = rows(run / "scores.csv"), rows(run / "measures.csv")
    arms = list(dict.fromkeys(row["arm"] for row in scores))
    for arm in arms:
        for index in range(3):
            values = [
                f"{task} {float(score(scores, arm, index, task)['value']):.3f}"
                for task in (SKILL, TEXT, ENGLISH)
            ]
            print(f"{arm:10} row {index}: {', '.join(values)}")  # noqa: T201

    base, learnt, after = (float(score(scores, "none", i, SKILL)["value"]) for i in range(3))
    items = int(score(scores, "none", 1, SKILL)["num_items"])
    english = [float(score(scores, "none", i, ENGLISH)["value"]) for i in (0, 2)]
    lost_english = english[1] / english[0] - 1
    interval = change(measures, "none", ENGLISH)
    beyond = float(interval["ci_high"]) < 0 or float(interval["ci_low"]) > 0
    text = [float(score(scores, "none", i, TEXT)["value"]) for i in (1, 2)]
    promises = {
        f"phase 1 gains {learnt - base:+.3f} (at least {MIN_GAIN:+})": learnt - base >= MIN_GAIN,
        f"skill scored on {items} items (at least 25 for each of 8 classes)": items >= 200,
        f"Hindi is learnt: {text[0]:.3f} -> {text[1]:.3f} bits per byte": text[1] < 0.9 * text[0],
        f"something is lost: skill {after - learnt:+.3f} of a gain of {learnt - base:+.3f}, "
        f"English {lost_english:+.1%} (interval {'without' if beyond else 'with'} 0)": (
            learnt - after >= MIN_SKILL_LOSS * (learnt - base)
            or (lost_english >= MIN_ENGLISH_LOSS and beyond)
        ),
        "report.html under 3 MB": (run / "report.html").stat().st_size < 3_000_000,
    }
    for promise, holds in promises.items():
        print(f"{'holds ' if holds else 'BROKEN'} {promise}")  # noqa: T201
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
