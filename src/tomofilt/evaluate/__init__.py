"""Measuring tomograms: against the truth, between halves, and against images left out.

:mod:`~tomofilt.evaluate.against_truth` needs a truth volume, :mod:`~tomofilt.evaluate.rings` two
halves, and :mod:`~tomofilt.evaluate.left_out` only a tilt series;
:mod:`~tomofilt.evaluate.contrast` and :mod:`~tomofilt.evaluate.detection` need masks and particle
positions. :mod:`~tomofilt.evaluate.scores` measures of a finished tomogram all that is possible.
"""
