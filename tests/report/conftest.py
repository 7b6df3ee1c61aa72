"""The synthetic run, made once."""

import pytest

from tests.report.synthetic import make_results


@pytest.fixture(scope="session")
def results():
    """Two phases, four arms, one seed; frozen, so it may be shared."""
    return make_results()
