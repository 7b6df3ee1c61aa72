"""What a reader, or a browser, finds in a page: visible text, live nodes, addresses."""

from html.parser import HTMLParser
from importlib import resources

OURS = (resources.files("retain.report") / "templates" / "sort.js").read_text("utf-8")
"""The one script that a page may hold."""
VOID = {"meta", "link", "br", "img", "input", "hr", "base", "col", "source", "wbr"}
ALLOWED = {
    *("html", "head", "meta", "title", "style", "link", "body", "header", "main", "footer"),
    *("section", "article", "a", "h1", "h2", "h3", "p", "b", "i", "span", "code", "pre", "ul"),
    *("li", "dl", "dt", "dd", "div", "figure", "figcaption", "details", "summary"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("svg", "g", "line", "text", "circle", "rect", "polygon", "polyline", "desc"),
}


class Reader(HTMLParser):
    """Collects what a page shows and what it could do."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.nodes, self.faults = [], [], [], []
        self.scripts = []
        self.feed(page)
        self.close()
        if self.open:
            self.faults.append(f"left open: {self.open}")

    def handle_starttag(self, tag, attrs):
        self.nodes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else at {self.getpos()}")

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif not {"style", "svg"} & set(self.open) and data.strip():
            self.text.append(" ".join(data.split()))

    @property
    def live(self):
        """Nodes and attributes that run, load or lead somewhere."""
        found = [tag for tag, _ in self.nodes if tag not in {*ALLOWED, "script"}]
        if "".join(self.scripts) != OURS or ("script", {}) not in self.nodes:
            found.append("another script")
        if [tag for tag, _ in self.nodes].count("script") != 1:
            found.append("several scripts")
        for tag, attributes in self.nodes:
            for name, value in attributes.items():
                text = (value or "").strip().lower()
                if name.startswith("on") or name in (
                    "src",
                    "srcdoc",
                    "action",
                    "style",
                    "xlink:href",
                ):
                    found.append(f"{tag} {name}")
                if name == "href" and not text.startswith(("#", "data:,")):
                    found.append(f"{tag} {name}={value}")
        return found
