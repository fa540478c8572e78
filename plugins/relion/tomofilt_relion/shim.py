"""The stand-in for RELION's own program: a script of its name, in a folder of its own.

RELION's Tomograms job runs whatever ``which relion_tomo_reconstruct_tomogram`` finds. The script is
written when it is asked for, because only then is it known which Python has tomofilt; installers
do not all keep a file's permission to be executed.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

from tomofilt.errors import OutputError
from tomofilt.io.files import write_text_atomic

__all__ = ["PROGRAM", "install"]

PROGRAM = "relion_tomo_reconstruct_tomogram"


def install() -> Path:
    """Write the script unless it is there, beside Python or else in the user's cache.

    Returns
    -------
    Path
        The folder, which holds nothing else: it is to come first on PATH.

    Raises
    ------
    OutputError
        Neither place can be written to.
    """
    text = (
        "#!/bin/sh\n"
        "# Runs tomofilt in RELION's Tomograms job while this folder is first on PATH.\n"
        # -P: modules in the project's folder must not be taken for Python's own
        f"exec {shlex.quote(sys.executable)} -P -c "
        "'import sys; from tomofilt.cli.app import main; sys.exit(main())' "
        'relion native "$@"\n'
    )
    mark = hashlib.sha256(sys.executable.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = (
        Path(sys.prefix) / "share" / "tomofilt" / "relion",
        cache / "tomofilt" / f"relion-{mark}",
    )
    reasons = []
    for folder in folders:
        script = folder / PROGRAM
        try:
            if not (os.access(script, os.X_OK) and script.read_text() == text):
                folder.mkdir(parents=True, exist_ok=True)
                write_text_atomic(script, text, replace=True)
                script.chmod(0o755)
        except OSError as error:
            reasons.append(str(error))
        else:
            return folder
    raise OutputError(f"the stand-in for {PROGRAM} cannot be written: {'; '.join(reasons)}")
