"""Who carries steps out: in this process, one after the other (``here``)."""

from retain.execute.here import Summary, carry_out, needed, ordered
from retain.execute.listener import Listener, Outcome, Quiet
from retain.execute.owner import own_run, run_folder
from retain.execute.runners import Runner, by_kind, find_runner

__all__ = [
    "Listener",
    "Outcome",
    "Quiet",
    "Runner",
    "Summary",
    "by_kind",
    "carry_out",
    "find_runner",
    "needed",
    "ordered",
    "own_run",
    "run_folder",
]
