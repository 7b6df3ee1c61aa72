"""The rows of the table that are read from BIG-bench, which asks that its text be kept together.

Every row of these sets carries the canary of its file, which stays in whatever is made of them.
"""

from collections.abc import Sequence

from retain.embedded.entry import Entry, Member
from retain.embedded.packages import BIG_BENCH

__all__ = ["BIG_BENCH_DATA", "DOMAINS", "MULTIEMO_LANGUAGES"]

MULTIEMO_LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh")
DOMAINS = ("products", "reviews")
"""Those of MultiEmo's whose sentences stand in the same order in every language."""
SUBTASKS = (
    "subtask004_mctaco_answer_generation_event_duration",
    "subtask010_mctaco_answer_generation_event_ordering",
    "subtask016_mctaco_answer_generation_frequency",
    "subtask024_cosmosqa_answer_generation",
    "subtask028_drop_answer_generation",
    "subtask033_winogrande_answer_generation",
    "subtask037_qasc_generate_related_fact",
    "subtask038_qasc_combined_fact",
    "subtask041_qasc_answer_generation",
    "subtask044_essential_terms_identifying_essential_words",
    "subtask045_miscellaneous_sentence_paraphrasing",
    "subtask051_multirc_correct_answer_single_sentence",
    "subtask061_ropes_answer_generation",
)
"""Subtasks of Natural Instructions that ask for a right answer in words."""
QUESTIONS = "subtask023_cosmosqa_question_generation"
NUM_ROWS = {"ja": (2_899, 731), "pt": (2_900, 731), "zh": (2_882, 728)}
"""Rows where a language repeats what English does not: of the halves, and of the test."""
TASKS = "bigbench-1.0.0/bigbench/benchmark_tasks"
CANARY = "Carries BIG-bench's canary: do not publish its text, or what is made of it."


def _entry(name: str, tasks: Sequence[str], licence: str, note: str, **fields: object) -> Entry:
    return Entry(
        name=name,
        kind="data",
        members=tuple(Member(BIG_BENCH, f"{TASKS}/{task}/task.json") for task in tasks),
        licence=f"{licence} (the set, as its authors publish it); package Apache-2.0",
        note=f"{note} {CANARY}",
        **fields,  # type: ignore[arg-type]
    )


def _multiemo(language: str, *, is_test: bool) -> Entry:
    languages = dict.fromkeys((language, "en"))  # English says which sentences are one item
    part = "those that the set without -test leaves out" if is_test else "in halves first, second"
    return _entry(
        f"multiemo-{language}" + "-test" * is_test,
        [f"multiemo/{one}_sentence_{code}" for code in languages for one in DOMAINS],
        "unknown",
        "Is a customer's sentence positive, negative, neutral or ambivalent? Classes nearly "
        "balanced; machine-translated from Polish; the same sentences in eleven languages, "
        f"{part}.",
        reader="multiemo_test" if is_test else "multiemo",
        language=language,
        num_rows=NUM_ROWS.get(language, (2_901, 731))[is_test],
    )


BIG_BENCH_DATA = (
    *(_multiemo(language, is_test=False) for language in MULTIEMO_LANGUAGES),
    *(_multiemo(language, is_test=True) for language in MULTIEMO_LANGUAGES),
    _entry(
        "webnlg-en",
        ["gem/webnlg_en"],
        "CC-BY-NC-SA-4.0",
        "Facts as triples, to be told in English.",
        reader="webnlg",
        language="en",
        num_rows=1_001,
    ),
    _entry(
        "webnlg-ru",
        ["gem/webnlg_ru"],
        "CC-BY-NC-SA-4.0",
        "Facts as triples in English, to be told in Russian.",
        reader="webnlg",
        language="ru",
        num_rows=1_001,
    ),
    _entry(
        "turk-corpus",
        ["gem/turk"],
        "unknown",
        "A sentence of Wikipedia, to be made simpler: 359 of them, three references of each.",
        reader="turk_corpus",
        language="en",
        num_rows=1_031,
    ),
    _entry(
        "topical-chat",
        ["topical_chat"],
        "CDLA-Sharing-1.0",
        "The next turn of a talk between two people: 3,000 of the 22,295 turns, chosen by hash.",
        reader="topical_chat",
        language="en",
        num_rows=3_000,
    ),
    _entry(
        "cosmosqa-questions",
        [f"natural_instructions/{QUESTIONS}"],
        "CC-BY-4.0",
        "A short story; ask a question about it that needs common sense: 3,000, chosen by hash.",
        reader="instructions",
        language="en",
        num_rows=3_000,
    ),
    _entry(
        "strategyqa",
        ["strategyqa"],
        "MIT",
        "Yes or no, and why: questions whose steps are not stated.",
        reader="strategyqa",
        language="en",
        num_rows=2_289,
    ),
    _entry(
        "natural-instructions",
        [f"natural_instructions/{one}" for one in SUBTASKS],
        "Apache-2.0",
        "General instructions with answers in words: thirteen subtasks of Natural Instructions, "
        "at most 400 examples of each, none over 1,000 characters.",
        reader="instructions",
        language="en",
        num_rows=4_785,
    ),
)
