"""All experiments of the seed report on one page.

Usage: python run_all.py [-o FOLDER] [--size small|tiny] [--shrec DIR]
"""

import baseline
import factorised
import initialisation
import overfitting
import tilt_lists
from common import main

if __name__ == "__main__":
    main(baseline.run, tilt_lists.run, factorised.run, initialisation.run, overfitting.run)
