"""One fork server for all tests of this folder."""

import pytest

from tests.kills.harness import started


@pytest.fixture(scope="session")
def harness():
    """A server with every library loaded and one run that nobody disturbed."""
    with started() as one:
        yield one
