"""Whoever changes the source of a kind of step decides on its VERSION."""

import json

from retain.steps.source_hash import version_faults
from tests.confirm_versions import GOLDEN, current


def test_no_source_has_changed_without_a_decision_on_its_version():
    faults = version_faults(current(), json.loads(GOLDEN.read_text()))

    assert not faults, "\n".join(faults)
