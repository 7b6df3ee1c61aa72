"""Sentences with one marked dependency each: ``[earlier word]`` and ``<later word>``.

Written for this project. The Hindi and Nepali sentences have not been reviewed by a native speaker.
"""

from typing import NamedTuple

NOTE = "the sentences in Hindi and Nepali have not been reviewed by a native speaker"


class Sentence(NamedTuple):
    """A sentence and its dependency.

    Attributes:
        kind: ``agreement`` (of a verb with its subject), ``antecedent`` (of a pronoun) or
            ``modifier`` (of a noun).
        words: The words in their order, without white space.
        earlier: Index of the earlier word of the dependency.
        later: Index of the later one.
    """

    kind: str
    words: tuple[str, ...]
    earlier: int
    later: int

    @property
    def text(self) -> str:
        """The sentence as it is read."""
        return " ".join(self.words)


def sentences() -> dict[str, list[Sentence]]:
    """Language to its sentences."""
    return {language: [_read(line) for line in lines] for language, lines in MARKED.items()}


def _read(line: str) -> Sentence:
    kind, _, text = line.partition(": ")
    marked = text.split()
    earlier, later = (
        next(index for index, word in enumerate(marked) if sign in word) for sign in "[<"
    )
    words = tuple(word.translate(_NO_SIGNS) for word in marked)
    return Sentence(kind, words, earlier, later)


_NO_SIGNS = str.maketrans("", "", "[]<>")

MARKED = {
    "english": (
        "agreement: The [keys] to the old cabinet <are> on the kitchen table.",
        "agreement: The [dog] that the children found <was> hungry and wet.",
        "agreement: The [letters] from my aunt <were> never opened.",
        "agreement: The [man] with two umbrellas <is> waiting for the bus.",
        "agreement: The [teachers] who visited our school <have> gone home.",
        "agreement: The [book] about the three rivers <has> no pictures.",
        "agreement: The [boys] near the window <seem> tired this morning.",
        "agreement: The [picture] of the mountains <hangs> above the bed.",
        "antecedent: The [girl] washed the cup and dried <herself> with a towel.",
        "antecedent: The [king] looked in the mirror and saw <himself> as a child.",
        "antecedent: The [soldiers] had to defend <themselves> against the cold.",
        "antecedent: My [sister] said that the red coat was <hers>.",
        "antecedent: Yesterday [Anna] lost the key because <she> ran too fast.",
        "antecedent: Today [Peter] called the office before <he> left the house.",
        "antecedent: The [workers] stopped when <they> heard the bell.",
        "antecedent: The [machine] is old but <it> still works well.",
        "modifier: She bought a [heavy] wooden <chair> for the garden.",
        "modifier: They live in a [small] quiet <village> by the sea.",
        "modifier: He wore a [thick] black <coat> all winter.",
        "modifier: We ate a [large] warm <meal> after the walk.",
    ),
    "hindi": (
        "agreement: [लड़की] बाज़ार से फल लेकर घर <आई>।",
        "agreement: [लड़के] शाम तक मैदान में <खेले>।",
        "agreement: [गाड़ी] सड़क के किनारे देर तक <खड़ी> रही।",
        "agreement: [किताबें] मेज़ के नीचे <पड़ी> हैं।",
        "agreement: मेरी [बहन] हर सुबह नदी के पास <टहलती> है।",
        "agreement: मेरा [भाई] हर शाम दोस्तों के साथ <खेलता> है।",
        "agreement: आज [बच्चे] स्कूल से हँसते हुए <लौटे>।",
        "agreement: यह [नदी] पहाड़ों से निकलकर समुद्र में <गिरती> है।",
        "agreement: कल [किसान] सुबह अपने खेत में <गया>।",
        "agreement: वे [औरतें] कुएँ से पानी भरकर <लौटीं>।",
        "antecedent: [राम] ने बाज़ार से <अपनी> बहन के लिए कपड़े खरीदे।",
        "antecedent: [सीता] ने कल रात <अपने> भाई को पत्र लिखा।",
        "antecedent: [बच्चों] ने मैदान में <अपना> खेल शुरू किया।",
        "antecedent: आज [मोहन] घर पर नहीं था क्योंकि <वह> शहर गया था।",
        "antecedent: जो [लड़का] खिड़की के पास बैठा है, <वह> मेरा मित्र है।",
        "modifier: उसने एक [पुरानी] लकड़ी की <कुर्सी> खरीदी।",
        "modifier: हमने एक [बड़ा] सफ़ेद <घर> देखा।",
        "modifier: माँ ने [मीठी] गरम <चाय> बनाई।",
        "modifier: वहाँ [ऊँचे] हरे <पेड़> हैं।",
        "modifier: दादी ने एक [लंबी] पुरानी <कहानी> सुनाई।",
    ),
    "nepali": (
        "agreement: [केटी] बजारबाट फलफूल लिएर घर <आई>।",
        "agreement: [केटाहरू] चौरमा साँझसम्म <खेले>।",
        "agreement: मेरी [बहिनी] हरेक बिहान खोलाको किनारमा <हिँड्छिन्>।",
        "agreement: मेरो [भाइ] साथीहरूसँग दिनभरि <खेल्छ>।",
        "agreement: ती [विद्यार्थीहरू] पुस्तकालयमा चुपचाप <पढ्छन्>।",
        "agreement: [म] भोलि बिहान काठमाडौं <जान्छु>।",
        "agreement: [हामी] हरेक साँझ सँगै खाना <खान्छौँ>।",
        "agreement: [तिमी] किन यति ढिलो घर <आयौ>?",
        "agreement: यो [गाई] घरको पछाडि घाँस <खान्छ>।",
        "agreement: आज [आमाले] भान्सामा मीठो खाना <पकाउनुभयो>।",
        "agreement: मेरा [बुबा] आज बिहानै कार्यालय <जानुभयो>।",
        "antecedent: [रामले] बजारमा <आफ्नो> भाइलाई भेट्यो।",
        "antecedent: [सीताले] हिजो राति <आफ्नी> आमालाई चिठी लेखिन्।",
        "antecedent: [केटाकेटीहरूले] चौरमा <आफ्नो> खेल सुरु गरे।",
        "antecedent: हिजो [हरि] घरमा थिएन किनभने <ऊ> सहर गएको थियो।",
        "antecedent: जुन [मानिस] झ्यालको छेउमा बसेको छ, <ऊ> मेरो साथी हो।",
        "modifier: उसले एउटा [पुरानो] काठको <कुर्सी> किन्यो।",
        "modifier: हामीले एउटा [ठूलो] सेतो <घर> देख्यौँ।",
        "modifier: त्यहाँ [अग्ला] हरिया <रुखहरू> छन्।",
        "modifier: हजुरआमाले एउटा [लामो] पुरानो <कथा> सुनाउनुभयो।",
    ),
}
