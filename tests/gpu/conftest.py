"""These tests compute on a GPU; elsewhere they are skipped, with the reason."""

import pytest

from tomofilt.projectors.gpu import problem, triton_problem


@pytest.fixture(scope="session", params=["triton", "astra"])
def engine(request):
    """What computes on the first GPU."""
    reason = problem(0) if request.param == "astra" else triton_problem(0)
    if reason is not None:
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session")
def gpu():
    """torch's name of the first GPU."""
    reason = triton_problem(0)
    if reason is not None:
        pytest.skip(reason)
    return "cuda:0"
