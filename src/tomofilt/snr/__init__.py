"""The signal-to-noise ratio of each view at each frequency, measured from the images themselves.

:mod:`~tomofilt.snr.coherence` measures how alike images are that share their signal, and
:mod:`~tomofilt.snr.model` computes the SNR of every view from that. The same spectra tell how thick
the specimen is (:mod:`~tomofilt.snr.thickness`), and whether views lie on each other and about the
tilt axis (:mod:`~tomofilt.snr.neighbours`, :mod:`~tomofilt.snr.axis`).
"""

from tomofilt.snr.coherence import frame_coherence, line_coherence
from tomofilt.snr.model import NO_WEIGHT, Coherence, SpectralSnr, fit_snr
from tomofilt.snr.spectra import LineSpectra, line_spectra
from tomofilt.snr.thickness import measure_thickness

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
