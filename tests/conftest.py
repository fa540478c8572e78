"""How Hypothesis runs: without clocks, which tell of the machine and not of the code."""

from hypothesis import settings

settings.register_profile("tomofilt", deadline=None)
settings.load_profile("tomofilt")
