"""The signal-to-noise ratio of each view at each frequency, measured from the images themselves.

:mod:`~tomofilt.snr.coherence` measures how alike images are that share their signal,
:mod:`~tomofilt.snr.model` computes the SNR of every view from that.
"""

from tomofilt.snr.coherence import (
    LineSpectra,
    frame_coherence,
    line_coherence,
    line_spectra,
    measure_thickness,
)
from tomofilt.snr.model import NO_WEIGHT, Coherence, SpectralSnr, fit_snr

__all__ = [
    "NO_WEIGHT",
    "Coherence",
    "LineSpectra",
    "SpectralSnr",
    "fit_snr",
    "frame_coherence",
    "line_coherence",
    "line_spectra",
    "measure_thickness",
]
