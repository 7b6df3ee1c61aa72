"""Steps of kind ``judge``: what a judge says of the answers that one checkpoint wrote to one task.

Inputs: ``answers`` (the evaluation that wrote them); ``rival`` (the base model's, in mode
``pairwise``); ``data`` (a phase's data step, for a phase task).
Output: ``judged.json``: ``items`` with what was asked and answered, what was found of each and what
the judge said; and the numbers of answers that were left out. Every answer of the judge is kept as
it comes.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retain.errors import Interrupted, TaskError
from retain.evaluate.api import open_engine
from retain.evaluate.judge import JUDGED, KEY_VARIABLE
from retain.evaluate.judge import prompts as texts
from retain.evaluate.judge.chat import Server, one_line
from retain.evaluate.judge.judges import Judge, LocalJudge, RemoteJudge
from retain.evaluate.judge.prompts import Messages
from retain.evaluate.judge.written import Answers, Written, examples_of, read_written
from retain.evaluate.ledger import Ledger
from retain.model import cache
from retain.model.threads import first_threads
from retain.steps.work import Work

MOST_SAID = 2000
"""Characters kept of what the judge says of one answer."""
MOST_SHOWN = 500
"""Characters of a question and of an answer that are kept for the report."""
LEAST_READABLE = 0.5
WAKE_SECONDS = 0.2


def run(
    work: Work,
    *,
    spec: Mapping[str, Any],
    judge_folder: Path | None = None,
    data_folder: Path | None = None,
    at_once: int = 1,
) -> None:
    """Judge, and write ``judged.json``; answers that came before a kill are not asked for again.

    Args:
        work: The running step; settings ``mode``, ``task``, ``model``, ``address``, ``options``,
            ``rubric``, ``limit``, ``precision``.
        spec: The task with the places of its files.
        judge_folder: Of a judge in this process; None where the settings have an address.
        data_folder: The finished data step, for a phase task.
        at_once: Requests at a time to an address.

    Raises:
        TaskError: If no answer is written, the server fails (see ``chat.Server``), or less than
            half of what the judge says can be read.
        ModelError: If a judge in this process does not open.
        Interrupted: On a signal; the same step goes on later.
    """
    started = time.monotonic()
    settings = work.step.settings
    place = f"judge of {spec['name']}"
    examples = examples_of(spec, data_folder)
    try:
        answers = _answers(work, "answers", examples)
        rivals = _answers(work, "rival", examples) if "rival" in work.step.inputs else None
    except TaskError as error:
        raise TaskError(f"{place}: {error}") from error
    with first_threads(work.partial):
        judge = _open(work, judge_folder, at_once)
        ledger = Ledger(work.partial, work.progress, work.stop)
        if rivals is None:
            found = _rated(answers.listed, settings["rubric"], judge, ledger)
        else:
            found = _compared(answers.listed, rivals.listed, judge, ledger)
    _check_readable(place, found)
    content = {
        "mode": settings["mode"],
        "judge": settings["model"],
        "items": [one for one in found if one["found"] is not None],
        "num_unreadable": sum(one["found"] is None for one in found),
        "num_cut": answers.num_cut,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (work.output / JUDGED).write_text(text, "utf-8")
    seconds = time.monotonic() - started
    work.note(num_items=len(content["items"]), notes=judge.notes, seconds=seconds)


def _answers(work: Work, role: str, examples: Sequence[Any]) -> Answers:
    items = work.input(role, "items.parquet")
    return read_written(items, examples, work.step.settings["limit"])


def _open(work: Work, folder: Path | None, at_once: int) -> Judge:
    settings = work.step.settings
    if folder is not None:
        loaded = cache.get(folder, precision=settings["precision"])
        engine = open_engine(loaded.model, loaded.tokenizer, precision=settings["precision"])
        return LocalJudge(engine, settings["options"])
    server = Server(
        address=settings["address"],
        model=settings["model"],
        options=settings["options"],
        key=os.environ.get(KEY_VARIABLE, "").strip(),
        wait=_waiter(work.stop),
    )
    return RemoteJudge(server, at_once)


def _waiter(stop: Callable[[], bool]) -> Callable[[float], None]:
    """Waits, but not longer than until a signal."""

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if stop():
                raise Interrupted(
                    "judge: stopped while waiting for the server; the same command goes on"
                )
            time.sleep(min(left, WAKE_SECONDS))

    return wait


def _compared(
    answers: Sequence[Written], rivals: Sequence[Written], judge: Judge, ledger: Ledger
) -> list[dict[str, Any]]:
    """Each answer beside its rival, in both orders; two that are alike are a tie unasked."""
    rival_of = {one.item: one.answer for one in rivals}
    pairs = [(one, rival_of[one.item]) for one in answers if one.item in rival_of]
    unlike = [(one, rival) for one, rival in pairs if one.answer.strip() != rival.strip()]
    asked = [
        messages
        for one, rival in unlike
        for messages in (
            texts.pair(one.asked, one.answer, rival),
            texts.pair(one.asked, rival, one.answer),
        )
    ]
    said = iter(_said(asked, texts.AGAIN_PAIR, texts.verdict, judge, ledger))
    found = []
    for one, rival in pairs:
        if one.answer.strip() == rival.strip():
            found.append(_row(one, {"first": 0, "second": 0, "alike": 1}, [], rival))
            continue
        both = [next(said), next(said)]
        first, second = (one.value for one in both)
        known = first is not None and second is not None
        verdicts = {"first": first, "second": second, "alike": 0} if known else None
        found.append(_row(one, verdicts, both, rival))
    return found


def _rated(
    answers: Sequence[Written], rubric: Mapping[str, str], judge: Judge, ledger: Ledger
) -> list[dict[str, Any]]:
    """The points of each answer."""
    asked = [texts.rate(one.asked, one.answer, rubric) for one in answers]
    said = _said(
        asked, texts.again_rate(rubric), lambda text: texts.points(text, rubric), judge, ledger
    )
    return [_row(one, its.value, [its]) for one, its in zip(answers, said, strict=True)]


@dataclass(frozen=True)
class _Said:
    """What the judge said, and what that means; None where it cannot be read."""

    text: str
    value: Any


def _said(
    asked: Sequence[Messages],
    again: str,
    read: Callable[[str], Any],
    judge: Judge,
    ledger: Ledger,
) -> list[_Said]:
    """What the judge says to each; where that cannot be read it is asked once more."""
    first = judge.answers(asked, ledger, "judging") if asked else []
    found = [_Said(text, read(text)) for text in first]
    unread = [place for place, one in enumerate(found) if one.value is None]
    if unread:
        repeated = [
            [
                *asked[place],
                {"role": "assistant", "content": found[place].text or "-"},
                {"role": "user", "content": again},
            ]
            for place in unread
        ]
        replies = judge.answers(repeated, ledger, "judging again")
        for place, text in zip(unread, replies, strict=True):
            found[place] = _Said(f"{found[place].text}\n{text}", read(text))
    return found


def _row(
    one: Written, found: Mapping[str, int] | None, said: Sequence[_Said], rival: str | None = None
) -> dict[str, Any]:
    return {
        "asked": one.asked.text[-MOST_SHOWN:],
        "answer": one.answer[:MOST_SHOWN],
        "rival": None if rival is None else rival[:MOST_SHOWN],
        "item": one.item,
        "source_item": one.source_item,
        "found": None if found is None else dict(found),
        "said": [its.text[:MOST_SAID] for its in said],
    }


def _check_readable(place: str, found: Sequence[Mapping[str, Any]]) -> None:
    unread = [one for one in found if one["found"] is None]
    if found and len(unread) <= (1 - LEAST_READABLE) * len(found):
        return
    if not found:
        raise TaskError(f"{place}: the two models share no written answer")
    sample = one_line(str(unread[0]["said"][0]))
    raise TaskError(
        f"{place}: of {len(found)} items {len(unread)} have no verdict that can be read, though "
        f"asked twice; the first is '{sample}'. Take a judge that follows instructions, or give it "
        "more room (evaluate.judge.options.max_tokens)"
    )
