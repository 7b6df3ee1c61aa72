"""A model that reads what other models wrote and says how good it is; named without loading torch.

Its verdicts are steps of their own, one a checkpoint, task and mode; see ``judge.step``.
"""

from typing import Literal

Mode = Literal["pairwise", "rubric"]

KEY_VARIABLE = "RETAIN_JUDGE_API_KEY"
"""Environment variable with the key of the judge's server. Fixed: were it named in the recipe, a
recipe of somebody else's could send any secret of this machine anywhere."""

JUDGED = "judged.json"
"""What a step of this kind leaves."""

RUBRIC = {
    "fluency": "reads as a careful native writer's text, without broken or repeated pieces",
    "adequacy": "does what was asked, completely, and says nothing false",
    "grammar": "is free of mistakes in grammar and spelling, in the language it should be in",
}
"""What points are given for where the recipe names nothing else."""

OPTIONS = {"temperature": 0, "max_tokens": 256}
"""Of each request, where the recipe names no others."""

HERE_OPTIONS = ("max_tokens", "temperature", "top_p", "top_k")
"""Those of a judge in this process."""

NOT_OPTIONS = ("model", "messages", "stream", "n", "tools", "functions")
"""What a request says by itself, or what an answer could then not be read by."""
