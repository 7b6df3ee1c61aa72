"""docs/rehearse.md: the method it shows writes what it says."""

import re
import sys
from pathlib import Path
from types import ModuleType

from retain.methods.given import Past
from retain.rehearse.grow import Grower
from tests.rehearse.growing import ToyPen

PAGE = (Path(__file__).parents[2] / "docs" / "rehearse.md").read_text("utf-8")


def test_the_method_shown_has_its_corpus_written(monkeypatch):
    module = ModuleType("define")
    monkeypatch.setitem(sys.modules, "define", module)  # dataclasses look their module up
    [code] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(code, "docs/rehearse.md", "exec"), module.__dict__)
    method = module.Define()
    found = Grower(method.rehearse(Past()), (), ToyPen()).grow()
    asked = [document.messages[0]["content"] for document in found.documents]
    assert asked == ["What is entropy?", "What is osmosis?", "What is inflation?"]
    [source] = method.sources(Past(), ("rehearsed:define",), None)
    assert source.share == 0.1
