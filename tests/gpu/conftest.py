"""These tests compute on a GPU; elsewhere they are skipped, with the reason."""

import pytest

from tomofilt.projectors.gpu import problem


@pytest.fixture(scope="session")
def gpu():
    """torch's name of the first GPU."""
    reason = problem(0)
    if reason is not None:
        pytest.skip(reason)
    return "cuda:0"
