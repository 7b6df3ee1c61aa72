# ruff: noqa: RUF001, RUF002 - typographic dashes and quotes are what this module makes
"""Words and numbers for people; and what models write, made harmless to look at.

Model output is hostile: it may hold control bytes that drive a terminal, or marks that turn the
direction of the text around it. `visible` shows each such mark instead of obeying it; escaping for
HTML is done by the page's template, on top of this.
"""

import math
import re

from retain.measure.statistics import Interval
from retain.report.scores import PHASE_TASK

MINUS = "\N{MINUS SIGN}"

METRIC_WORDS = {
    "acc": "accuracy",
    "acc_norm": "accuracy (length-normalised)",
    "bits_per_byte": "bits per byte",
    "exact_match": "exact match",
    "chrf": "chrF",
    "bleu": "BLEU",
    "rouge_1": "ROUGE-1",
    "rouge_l": "ROUGE-L",
    "sari": "SARI",
}

_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_INVISIBLE = "\u00ad\u180e\u200b\u2028\u2029\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"
_TAGS = "\U000e0000-\U000e007f"
_MARKS = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_DIRECTION}{_INVISIBLE}{_TAGS}\ud800-\udfff]")


def visible(text: str) -> str:
    r"""The text with control bytes, direction marks and lone surrogates shown, not obeyed.

    Line feeds and tabs stay, and so do the joiners U+200C and U+200D, which Indic and Persian words
    need.

    >>> visible("a\x1b[31mb\u202ec")
    'a␛[31mb‹U+202E›c'
    """
    return _MARKS.sub(lambda found: _name(ord(found[0])), text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 200) -> str:
    r"""The text on one line, cut at ``limit`` characters.

    >>> one_line("one\n two", limit=6)
    'one t…'
    """
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a true minus sign; a dash where there is none.

    >>> number(-0.0312), number(-0.0001), number(math.nan)
    ('−0.031', '0.000', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """As `number`, with a plus sign in front of a gain.

    >>> signed(0.25), signed(-0.25), signed(0.0)
    ('+0.250', '−0.250', '0.000')
    """
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(f"{value:.{digits}f}") > 0 else text


def ends(interval: Interval, digits: int = 3, *, signs: bool = True) -> str:
    """Both ends of an interval; empty where there is none.

    >>> ends(Interval(-0.5, 0.25), digits=2)
    '[−0.50, +0.25]'
    """
    if not interval.known:
        return ""
    write = signed if signs else number
    return f"[{write(interval.low, digits)}, {write(interval.high, digits)}]"


def apart(interval: Interval, num_items: int) -> str:
    """Both ends of the interval of a difference; in words where both sides agree on every item.

    An interval without any width would look like certainty; all it says is that nothing differed on
    these items.

    >>> apart(Interval(0.0, 0.0), 200), apart(Interval(-0.01, 0.0), 200)
    ('no difference on 200 items', '[−0.010, 0.000]')
    """
    if interval == (0.0, 0.0):
        return f"no difference on {count(num_items)} items"
    return ends(interval)


def count(value: int) -> str:
    """A whole number with thin spaces between thousands.

    >>> count(134515008).replace("\u202f", "_")
    '134_515_008'
    """
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def short_count(value: int) -> str:
    r"""A large whole number in three digits.

    >>> short_count(134_515_008), short_count(40_960), short_count(812)
    ('135\xa0M', '41.0\xa0k', '812')
    """
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            text = f"{scaled:.0f}" if scaled >= 99.5 else f"{scaled:.1f}"
            return f"{text}\N{NO-BREAK SPACE}{mark}"
    return str(value)


def duration(seconds: float) -> str:
    r"""A time in the two units a person would name.

    >>> duration(48.2), duration(125), duration(7320)
    ('48\xa0s', '2\xa0min 5\xa0s', '2\xa0h 2\xa0min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}\N{NO-BREAK SPACE}min {rest}\N{NO-BREAK SPACE}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\N{NO-BREAK SPACE}h {minutes}\N{NO-BREAK SPACE}min"


def rate(value: float) -> str:
    """A learning rate as people write it.

    >>> rate(3e-4), rate(2.5e-5)
    ('3e-4', '2.5e-5')
    """
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def task_name(task: str) -> str:
    """A task's name for people.

    >>> task_name("phase:medicine"), task_name("embedded_piqa"), task_name("news_bits_per_byte")
    ('medicine', 'piqa', 'news')
    """
    name = task.removeprefix(PHASE_TASK)
    return name.removeprefix("embedded_").removesuffix("_bits_per_byte")


def metric_name(metric: str) -> str:
    """A metric's name for people.

    >>> metric_name("bits_per_byte")
    'bits per byte'
    """
    return METRIC_WORDS.get(metric, metric.replace("_", " "))


def listed(words: list[str]) -> str:
    """Words with commas and an "and".

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _name(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    return f"‹U+{code:04X}›"
