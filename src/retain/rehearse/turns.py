"""In whose voice a turn is written: a user's question, an assistant's answer, a refusal."""

import re

from retain.data.leak import normalise
from retain.measure.language import language_of
from retain.measure.words import words

REFUSALS = (
    "as an ai",
    "as a language model",
    "i'm just an ai",
    "i'm sorry, but i",
    "i apologize, but i",
    "i can't assist",
    "i cannot assist",
    "i can't help",
    "i cannot help",
    "i can't provide",
    "i cannot provide",
    "i can't fulfill",
    "i cannot fulfill",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i don't have access",
    "i do not have access",
)
"""How English assistants begin when they do not answer."""
BEGINNING_CHARACTERS = 200
"""Where a refusal is looked for: the same words further on are part of an answer."""

QUESTION_MARK = re.compile("[?\uff1f\u061f\u055e\u1367\u037e]")
"""Also the wide, Arabic, Armenian, Ethiopic and Greek ones."""
ASSISTANT_OPENING = re.compile(
    r"((sure|certainly|of course|absolutely|great (question|choice))\b|you('re| are) welcome"
    r"|i('d| would) be (happy|glad|delighted) to|i('m| am) (happy|glad|here) to (help|assist)"
    r"|here are\b|here('s| is) (?!my|our|what i)|as an ai|i('m| am) an ai"
    r"|thank(s| you) for (asking|reaching|your|sharing)|in (conclusion|summary)\b"
    r"|(yes|no), (i can|you can|you should|that))"
)
ASSISTANT_OFFER = re.compile(
    r"(how|what) (can|may|could) i (help|assist|do for) you|how (can|may) i (help|assist)\b"
    r"|(would|do) you (like|want) me to\b|(feel free to|let me know if|don't hesitate to)\b"
    r"|i hope (this|that) helps|is there anything else i can"
)
GREETING = re.compile(r"\A(hi|hello|hey|good (morning|evening|day))( there)?[,!.]?\s+")
REQUEST_OPENING = re.compile(
    r"(please|kindly|can|could|would|will|should|may|might|is|are|am|was|were|do|does|did|has|have"
    r"|what|which|who|whom|whose|when|where|why|how|whether"
    r"|i (want|need)|i('d| would) (like|love)|i have (a|an|to|been|some|two)|let's|let us"
    r"|i('m| am) (looking|trying|having|curious|interested|wondering|planning|writing|working"
    r"|struggling)|walk me|come up|tell|give|show|help|explain|describe|write|rewrite|create|make"
    r"|list|name|find|summari[sz]e|translate|compare|contrast|discuss|analy[sz]e|define|suggest"
    r"|recommend|provide|generate|calculate|compute|solve|convert|classify|identify|outline|draft"
    r"|design|rephrase|paraphrase|edit|correct|proofread|complete|continue|imagine|pretend"
    r"|choose|rank|sort|evaluate|assess|estimate|develop|compose|plan|prove|propose|predict|answer"
    r"|given|using|consider|implement|build|teach|simplify|extract|determine|illustrate|elaborate"
    r"|clarify|research|investigate|prepare|organi[sz]e|fix|debug|optimi[sz]e|refactor|brainstorm"
    r"|remind|advise|justify|argue|interpret|expand|shorten|differentiate|distinguish|examine"
    r"|explore|highlight|demonstrate|derive|simulate|modify|delete|act as|fill in|try giving)\b"
)
SENTENCE_END = re.compile(r"(?<=[.!:])\s+|\n")
LIST_MARKS = " \"'*-•#0123456789.)"


def is_refusal(text: str, beginnings: tuple[str, ...] = REFUSALS) -> bool:
    """Whether a reply begins as a refusal does.

    >>> is_refusal("I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I can't do that.")
    True
    >>> is_refusal("I'm sorry to hear that. Try restarting it.")
    False
    """
    beginning = _plain(text[:BEGINNING_CHARACTERS])
    return any(_plain(one) in beginning for one in beginnings)


def is_request(text: str) -> bool:
    """Whether a user turn asks for something, rather than speaking as the assistant.

    A model that continues an open user header sometimes goes on in the assistant's voice, or tells
    a story. Kept is what holds a question mark, or whose first or last sentence opens as questions
    and requests do; not what opens as an assistant does ("Sure! Here are…") or offers help. The
    words are English: a text in another language is kept.

    Source: written for this project, after reading turns that small models wrote; no published
    rule is known.

    >>> is_request("Explain how a vaccine works."), is_request("Vaccines train the immune system.")
    (True, False)
    >>> is_request("I'd be happy to help! What would you like to know?")
    False
    >>> is_request("नेपालको राजधानी बारे लेख्नुहोस्।")
    True
    """
    plain = _plain(text)
    if ASSISTANT_OPENING.match(plain) or ASSISTANT_OFFER.search(plain):
        return False
    if QUESTION_MARK.search(text):
        return True
    if not _may_be_english(text):
        return True
    lines = GREETING.sub("", _plain_lines(text), count=1)
    sentences = [one for one in (s.strip(LIST_MARKS) for s in SENTENCE_END.split(lines)) if one]
    return any(REQUEST_OPENING.match(one) for one in (*sentences[:1], *sentences[-1:]))


def _may_be_english(text: str) -> bool:
    letters = "".join(words(text))
    return 2 * sum(map(str.isascii, letters)) > len(letters) and language_of(text) in (None, "en")


def _plain(text: str) -> str:
    """In one case, with straight apostrophes and single spaces."""
    return normalise(text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def _plain_lines(text: str) -> str:
    return "\n".join(_plain(line) for line in text.splitlines())
