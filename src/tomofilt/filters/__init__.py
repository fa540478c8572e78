"""Filters: gains on physical frequency, and how they are applied to images.

:mod:`~tomofilt.filters.protocol` says what a filter is, :mod:`~tomofilt.filters.analytic` holds
filters with a formula, :mod:`~tomofilt.filters.registry` finds them by name, and
:mod:`~tomofilt.filters.apply` filters rows and images with them.
"""

from tomofilt.filters.protocol import Filter, FilterContext, Interpolation, Padding
from tomofilt.filters.registry import available, parse

__all__ = ["Filter", "FilterContext", "Interpolation", "Padding", "available", "parse"]
