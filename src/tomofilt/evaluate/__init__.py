"""Measuring tomograms: against the truth, between halves, and against images left out.

:mod:`~tomofilt.evaluate.against_truth` needs a truth volume, :mod:`~tomofilt.evaluate.half_maps`
two halves, :mod:`~tomofilt.evaluate.left_out` a tilt series alone;
:mod:`~tomofilt.evaluate.contrast` and :mod:`~tomofilt.evaluate.detection` need masks and particle
positions. :mod:`~tomofilt.evaluate.scores` does for a finished tomogram all that its input allows.
"""
