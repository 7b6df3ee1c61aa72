"""Pairs of sentences that differ in one form alone, one of them right: agreement, case, honorific.

Written for this project from frames and words; the pairs in Hindi and Nepali have not been reviewed
by a native speaker. The task files name ``documents``, so lm-evaluation-harness runs them too.
"""

from collections.abc import Iterator
from typing import Any

from datasets import Dataset

Pair = tuple[str, str, str]
"""The frame it comes from, the right sentence, the wrong one."""


def documents(language: str, kind: str, **_: Any) -> dict[str, Dataset]:
    """The pairs of one kind in one language, as the split ``test``; a frame is a source item."""
    rows = []
    for number, (frame, right, wrong) in enumerate(_PAIRS[language, kind]()):
        answer = number % 2  # each place is right as often, so that no place is a majority
        rows.append(
            {
                "choices": [wrong, right] if answer else [right, wrong],
                "answer": answer,
                "source_item": f"{language} {kind}: {frame}",
            }
        )
    # shots are never shown; a split of their own keeps all pairs for scoring
    return {"test": Dataset.from_list(rows), "unused": Dataset.from_list(rows[:1])}


# ---------------------------------------------------------------- English

ENGLISH_SUBJECTS = (
    ("The key", "The keys"),
    ("The picture", "The pictures"),
    ("The box", "The boxes"),
    ("The letter", "The letters"),
)
ENGLISH_VERBS = (  # between subject and verb, singular, plural, rest
    ("near the doors", "is", "are", "very old"),
    ("near the door", "is", "are", "very old"),
    ("of my sisters", "was", "were", "lost last year"),
    ("of my sister", "was", "were", "lost last year"),
    ("behind the books", "belongs", "belong", "to the teacher"),
    ("behind the book", "belongs", "belong", "to the teacher"),
    ("that the boys found", "has", "have", "a red mark"),
    ("that the boy found", "has", "have", "a red mark"),
    ("under the chairs", "needs", "need", "to be cleaned"),
    ("under the chair", "needs", "need", "to be cleaned"),
    ("from the shops", "costs", "cost", "too much"),
    ("from the shop", "costs", "cost", "too much"),
    ("beside the cups", "looks", "look", "new to me"),
    ("beside the cup", "looks", "look", "new to me"),
    ("that my friends like", "lies", "lie", "on the floor"),
    ("that my friend likes", "lies", "lie", "on the floor"),
)
ENGLISH_PRONOUNS = (("he", "him"), ("they", "them"), ("we", "us"))
ENGLISH_PLACES = (  # S takes the form of a subject, O that of an object
    "Yesterday S bought a new lamp.",
    "Before lunch S walked to the river.",
    "I think that S can swim well.",
    "Nobody knew where S had gone.",
    "When S arrived, the door was open.",
    "The cat slept while S cooked.",
    "Maybe S will come back tomorrow.",
    "This is the house that S built.",
    "The teacher thanked O for the letter.",
    "My uncle gave O a basket of apples.",
    "The doctor asked O to sit down.",
    "We waited for O near the station.",
    "The children followed O into the garden.",
    "Somebody called O late at night.",
    "The guard did not see O at the gate.",
    "The old woman told O a story.",
)


def _english_agreement() -> Iterator[Pair]:
    for number, (between, singular, plural, rest) in enumerate(ENGLISH_VERBS):
        for place, subject in enumerate(ENGLISH_SUBJECTS):
            is_plural = (place + number // 2) % 2
            forms = (plural, singular) if is_plural else (singular, plural)
            right, wrong = (f"{subject[is_plural]} {between} {form} {rest}." for form in forms)
            yield between, right, wrong


def _english_case() -> Iterator[Pair]:
    for frame in ENGLISH_PLACES:
        for as_subject, as_object in ENGLISH_PRONOUNS:
            if " S " in frame:
                yield frame, frame.replace("S", as_subject, 1), frame.replace("S", as_object, 1)
            else:
                place = frame.rindex("O ")
                right, wrong = (
                    frame[:place] + form + frame[place + 1 :] for form in (as_object, as_subject)
                )
                yield frame, right, wrong


# ---------------------------------------------------------------- Hindi

HINDI_PEOPLE = (("लड़का", "लड़की"), ("भाई", "बहन"), ("आदमी", "औरत"))
HINDI_HABITS = (
    "हर दिन बाज़ार जा", "सुबह नदी के पास टहल", "रात को देर तक पढ़", "शाम को गीत गा",
    "हमेशा सच बोल", "रोज़ दूध पी", "कभी झूठ नहीं बोल", "खेत में काम कर",
    "बच्चों को कहानी सुना", "बगीचे में फूल लगा", "हर रविवार पत्र लिख", "गाँव में अकेले रह",
    "ठंडा पानी पी", "बहुत तेज़ चल", "दिन में दो बार खाना खा", "अक्सर खिड़की से बाहर देख",
)  # fmt: skip
HINDI_NAMES = ("राम", "सीता", "मोहन")
# Deeds are those that nobody receives: both languages drop subjects, so that "राम को पत्र लिखा" is
# right ("wrote Ram a letter"), and so would be a letter, a sale or a song for him in Nepali.
HINDI_DEEDS = (  # with ने
    "पूरी किताब पढ़ी", "पूरी रात काम किया", "आज खाना नहीं खाया", "खिड़की खोली",
    "सारा दूध पिया", "अपना गाँव छोड़ा", "एक नया काम सीखा", "सारी चाय पी",
    "सारे बर्तन धोए", "बहुत पैसा कमाया",
)  # fmt: skip
HINDI_STATES = (  # with को
    "बहुत भूख लगी", "ठंड लग रही है", "यह गाना पसंद है", "तेज़ बुखार है",
    "हिंदी आती है", "घर की याद आई", "अब आराम चाहिए", "बहुत नींद आई",
    "गर्मी लग रही है", "सब कुछ याद है",
)  # fmt: skip
HINDI_STEMS = (
    "यहाँ बैठ", "यह किताब पढ़", "अपना नाम लिख", "मेरी बात सुन", "बाहर देख", "मेरे साथ चल",
    "धीरे बोल", "थोड़ी देर रुक", "आँगन में खेल", "जल्दी उठ", "ज़ोर से हँस", "यह सवाल समझ",
    "फिर से सोच", "दरवाज़ा खोल", "थैला नीचे रख", "उससे रास्ता पूछ",
)  # fmt: skip


def _hindi_agreement() -> Iterator[Pair]:
    for number, habit in enumerate(HINDI_HABITS):
        for place, people in enumerate(HINDI_PEOPLE):
            is_feminine = (place + number) % 2
            forms = ("ती", "ता") if is_feminine else ("ता", "ती")
            right, wrong = (f"{people[is_feminine]} {habit}{form} है।" for form in forms)
            yield habit, right, wrong


def _hindi_case() -> Iterator[Pair]:
    for frames, forms in ((HINDI_DEEDS, ("ने", "को")), (HINDI_STATES, ("को", "ने"))):
        for frame in frames:
            for name in HINDI_NAMES:
                right, wrong = (f"{name} {form} {frame}।" for form in forms)
                yield frame, right, wrong


def _hindi_honorific() -> Iterator[Pair]:
    for stem in HINDI_STEMS:
        yield stem, f"आप {stem}िए।", f"आप {stem}।"
        yield stem, f"तू {stem}।", f"तू {stem}िए।"
        yield stem, f"तुम {stem}ो।", f"तुम {stem}िए।"


# ---------------------------------------------------------------- Nepali

NEPALI_VERBS = (  # what comes before, stem, whether the stem ends in a vowel
    ("हरेक दिन बजार", "जा", True), ("बिहान भात", "खा", True), ("राति किताब", "पढ्", False),
    ("साथीलाई चिठी", "लेख्", False), ("झ्यालको छेउमा", "बस्", False), ("आकाश", "हेर्", False),
    ("रेडियोमा गीत", "सुन्", False), ("चौरमा", "खेल्", False), ("पसलबाट तरकारी", "किन्", False),
    ("बजारमा दूध", "बेच्", False), ("सधैँ साँचो", "बोल्", False), ("खेतमा काम", "गर्", False),
    ("खोलामा लुगा", "धु", True), ("धेरै", "हाँस्", False), ("चाँडै", "सुत्", False),
    ("भाइलाई किताब", "दि", True),
)  # fmt: skip
NEPALI_NAMES = ("राम", "श्याम", "हरि")
NEPALI_DEEDS = (  # with ले
    "सबै भात खायो", "नयाँ सीप सिक्यो", "आफ्नो काम सक्यो", "झ्याल खोल्यो",
    "आफ्नो गाउँ छोड्यो", "पूरा किताब पढ्यो", "सबै दूध पियो", "नयाँ खेल खेल्यो",
    "धेरै पैसा कमायो", "हात धोयो",
)  # fmt: skip
NEPALI_STATES = (  # with लाई
    "भोक लाग्यो", "जाडो भयो", "यो गीत मन पर्छ", "ज्वरो आयो",
    "नेपाली आउँछ", "घरको याद आयो", "अब आराम चाहियो", "निद्रा लाग्यो",
    "गर्मी भयो", "धेरै डर लाग्यो",
)  # fmt: skip


def _nepali(stem: str, ends_in_vowel: bool, form: str) -> str:
    """A verb in the present: ``form`` is an ending, or ``high`` for the honorific."""
    if form == "high":
        return f"{stem}नुहुन्छ"
    return f"{stem}न्{form}" if ends_in_vowel else f"{stem}{form}"


def _nepali_forms(wanted: tuple[tuple[str, str, str], ...]) -> Iterator[Pair]:
    for before, stem, ends_in_vowel in NEPALI_VERBS:
        for subject, *forms in wanted:
            right, wrong = (
                f"{subject} {before} {_nepali(stem, ends_in_vowel, form)}।" for form in forms
            )
            yield f"{before} {stem}", right, wrong


def _nepali_agreement() -> Iterator[Pair]:
    return _nepali_forms((("म", "छु", "छ"), ("ऊ", "छ", "छु"), ("हामी", "छौँ", "छ")))


def _nepali_honorific() -> Iterator[Pair]:
    return _nepali_forms((("तपाईं", "high", "छस्"), ("तँ", "छस्", "high"), ("तिमी", "छौ", "high")))


def _nepali_case() -> Iterator[Pair]:
    for frames, forms in ((NEPALI_DEEDS, ("ले", "लाई")), (NEPALI_STATES, ("लाई", "ले"))):
        for frame in frames:
            for name in NEPALI_NAMES:
                right, wrong = (f"{name}{form} {frame}।" for form in forms)
                yield frame, right, wrong


_PAIRS = {
    ("english", "agreement"): _english_agreement,
    ("english", "case"): _english_case,
    ("hindi", "agreement"): _hindi_agreement,
    ("hindi", "case"): _hindi_case,
    ("hindi", "honorific"): _hindi_honorific,
    ("nepali", "agreement"): _nepali_agreement,
    ("nepali", "case"): _nepali_case,
    ("nepali", "honorific"): _nepali_honorific,
}
