"""Runs in an object store: finished steps are shared by machines, each with a cache of its own."""

from retain.remote.objects import Objects, is_address
from retain.remote.store import RemoteStore

__all__ = ["Objects", "RemoteStore", "is_address"]
