"""The stand-ins for RELION's own programs: scripts of their names, in a folder of their own.

RELION's Tomograms job runs whatever ``which relion_tomo_reconstruct_tomogram`` finds, or, in
several processes, ``relion_tomo_reconstruct_tomogram_mpi``. The scripts are written when they are
asked for, because only then is it known which Python has tomofilt; installers do not all keep a
file's permission to be executed.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from pathlib import Path

from tomofilt.errors import OutputError
from tomofilt.io.files import write_text_atomic

__all__ = ["PROGRAMS", "install"]

#: Each program, and the command of tomofilt that stands in for it.
PROGRAMS = {
    "relion_tomo_reconstruct_tomogram": "native",
    "relion_tomo_reconstruct_tomogram_mpi": "native-mpi",
}


def install() -> Path:
    """Write the scripts unless they are there, beside Python or else in the user's cache.

    Returns
    -------
    Path
        The folder, which holds nothing else: it is to come first on PATH.

    Raises
    ------
    OutputError
        Neither place can be written to.
    """
    mark = hashlib.sha256(sys.executable.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = (
        Path(sys.prefix) / "share" / "tomofilt" / "relion",
        cache / "tomofilt" / f"relion-{mark}",
    )
    reasons = []
    for folder in folders:
        try:
            for program, command in PROGRAMS.items():
                _write(folder / program, command)
        except OSError as error:
            reasons.append(str(error))
        else:
            return folder
    raise OutputError(
        f"the stand-ins for RELION's programs cannot be written: {'; '.join(reasons)}"
    )


def _write(script: Path, command: str) -> None:
    text = (
        "#!/bin/sh\n"
        "# Runs tomofilt in RELION's Tomograms job while this folder is first on PATH.\n"
        # -P: modules in the project's folder must not be taken for Python's own
        f"exec {shlex.quote(sys.executable)} -P -c "
        "'import sys; from tomofilt.cli.app import main; sys.exit(main())' "
        f'relion {command} "$@"\n'
    )
    if os.access(script, os.X_OK) and script.read_text() == text:
        return
    script.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(script, text, replace=True)
    script.chmod(0o755)
