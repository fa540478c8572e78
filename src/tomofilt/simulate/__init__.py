"""Simulated tilt series, of which everything is known."""

from tomofilt.simulate.series import SimulatedSeries, simulated_series

__all__ = ["SimulatedSeries", "simulated_series"]
