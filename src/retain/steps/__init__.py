"""Steps: what they are (Step), where their results live (Store), what a running one gets (Work)."""

from retain.steps.durable import durable_folder, write_file, write_folder
from retain.steps.entries import Entry
from retain.steps.fingerprint import Json, canonical, sha256_bytes, sha256_file, sha256_folder
from retain.steps.journal import Journal, read_journal
from retain.steps.step import Step, as_name, check_name
from retain.steps.store import DamagedStepError, Store
from retain.steps.work import Work

__all__ = [
    "DamagedStepError",
    "Entry",
    "Journal",
    "Json",
    "Step",
    "Store",
    "Work",
    "as_name",
    "canonical",
    "check_name",
    "durable_folder",
    "read_journal",
    "sha256_bytes",
    "sha256_file",
    "sha256_folder",
    "write_file",
    "write_folder",
]
