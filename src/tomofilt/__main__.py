"""`python -m tomofilt`, the same as the executable."""

import sys

from tomofilt.cli.app import main

sys.exit(main())
