"""Simulated tilt series, whose specimen, geometry and noise are known exactly."""

from tomofilt.simulate.series import SimulatedSeries, simulated_series

__all__ = ["SimulatedSeries", "simulated_series"]
