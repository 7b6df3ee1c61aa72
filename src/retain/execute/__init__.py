"""Who carries steps out: this process alone (``here``), or several workers (``many``)."""

from retain.execute.here import carry_out
from retain.execute.ledger import Summary
from retain.execute.listener import Listener, Outcome, Quiet
from retain.execute.many import Memory, Staff, carry_out_by
from retain.execute.order import by_urgency, needed, ordered
from retain.execute.owner import own_run, run_folder
from retain.execute.runners import Runner, by_kind, find_runner

__all__ = [
    "Listener",
    "Memory",
    "Outcome",
    "Quiet",
    "Runner",
    "Staff",
    "Summary",
    "by_kind",
    "by_urgency",
    "carry_out",
    "carry_out_by",
    "find_runner",
    "needed",
    "ordered",
    "own_run",
    "run_folder",
]
