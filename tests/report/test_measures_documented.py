"""Every name that the column `measure` can hold is explained in docs/report.md, and no other."""

import re
from pathlib import Path

from retain.report import judged, measured, probes, recovered, shots
from retain.report.measured import KNOWN, Measure

PAGE = Path(__file__).parent.parent.parent / "docs" / "report.md"
HEADS = (
    *("heads_beyond_chance", "heads_with_more_attention", "heads_with_less_attention"),
    "heads_beyond_chance_shuffled",
)


def test_every_measure_is_explained():
    table = PAGE.read_text("utf-8").partition("\n## Measures\n")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    names = {*KNOWN, *HEADS, "divergence"}
    names |= {one.name for m in (measured, shots) for one in vars(m).values()
              if isinstance(one, Measure)}  # fmt: skip
    names |= {name for name, _, _ in probes.OF_LAYERS.values()}
    for module, prefix in ((judged, "judge_"), (recovered, "recovery_")):
        names |= {one for one in vars(module).values()
                  if isinstance(one, str) and one.startswith(prefix)}  # fmt: skip
    assert sorted(told) == sorted(names)
