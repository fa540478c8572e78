"""Whether two states of tomofilt compute the same tomograms.

Usage
-----
    python bench/same_results.py run FOLDER            # with the tomofilt that Python imports
    python bench/same_results.py compare FOLDER FOLDER

``run`` reconstructs with the command line: the example, the folders of tests/data and a simulated
series, with each filter and each way through the program, and keeps the volumes in FOLDER.
``compare`` says of each volume whether it is bit-identical, or how far apart the two are.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
LOCAL = "LOCALFILE v_local.xf"
TILT_COM = (
    "$tilt -StandardInput\nInputProjections TS_01_ali.mrc\nOutputFile x.mrc\n"
    "TILTFILE TS_01.tlt\nTHICKNESS 40\n"
)

#: Options of `tomofilt reconstruct` for a volume of each name, by the project that they are for.
EXAMPLE = {
    "default": "",
    "match": "-f wiener-exact:match",
    "imod": "-f imod",
    "ramp": "-f ramp",
    "gaussian2d": "-f gaussian:0.1 --bin 1.5",
    "sirt": "-f sirt:3",
    "direct": "-f ramp --projector direct",
    "halves": "-f wiener-exact:match --halves tilts",
    "denoise": "--denoise --thickness 4000",
    "turned": "-f sirt-like:10 --orientation xzy --flip-z --invert --dtype int16",
    "thin": "-f hamming:200A --thickness 800 --max-memory 400MB",
}
GOLDEN_IMOD = {
    "plain": ("", "-f imod"),
    "default": ("", ""),
    "xtilt": ("XAXISTILT 4", "-f imod"),
    "xtilt_default": ("XAXISTILT 4", "-f ramp"),
    "offset": ("OFFSET 3.5,2.25\nSHIFT 5,7\nEXCLUDELIST2 1-3,20\nWIDTH 61", "-f imod"),
    "fakesirt": ("FakeSIRTiterations 10\nRADIAL 0.35 0.035\nFalloffIsTrueSigma 1", "-f imod"),
    "local": (LOCAL, "-f imod"),
    "local_ramp": (LOCAL, "-f ramp"),
    "local_default": (LOCAL, ""),
}
GOLDEN_RELION = {
    "default": "--thickness-px 64",
    "unweighted": "--thickness-px 64 -f none --normalise count --projector direct",
    "halves": "--thickness-px 64 --halves frames",
    "bin2": "--thickness-px 64 -f ramp --bin 2",
}
SIMULATION = "--shape 128 96 40 --tilts -50:50:4 --defocus 3 --membranes 2 --seed 5"
PROJECTS = {
    "--imod-dir": "imod",
    "--relion-star": "relion/AlignTiltSeries/job005/aligned_tilt_series.star",
}
SIMULATED = {
    "default": "",
    "match_flip": "-f wiener-exact:match --ctf flip --dose-weight on",
    "wiener": "-f wiener-exact:match --ctf wiener",
}


def tomofilt(*words: str | Path) -> None:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "tomofilt", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"FAILED {' '.join(command[3:])}\n{done.stderr[-2000:]}", file=sys.stderr)


def run(folder: Path) -> None:
    """Make every volume."""
    inputs = folder / "inputs"
    shutil.copytree(ROOT / "examples" / "mycoplasma", inputs / "mycoplasma")
    for name, options in EXAMPLE.items():
        out = folder / "example" / name
        tomofilt("reconstruct", "--imod-dir", inputs / "mycoplasma", "-o", out, *options.split())
    for name, (entries, options) in GOLDEN_IMOD.items():
        copy = inputs / f"imod_{name}"
        copy.mkdir()
        for file in ("TS_01_ali.mrc", "TS_01.tlt", "TS_01.xf", "TS_01.xtilt"):
            shutil.copy(DATA / "imod" / "TS_01" / file, copy)
        shutil.copy(DATA / "imod" / "TS_01" / "variants" / "v_local.xf", copy)
        (copy / "tilt.com").write_text(f"{TILT_COM}{entries}\n")
        tomofilt("reconstruct", "--imod-dir", copy, "-o", folder / "imod" / name, *options.split())
    shutil.copytree(DATA / "relion", inputs / "relion")
    for star in sorted((inputs / "relion").glob("AlignTiltSeries/*/aligned_tilt_series.star")):
        for name, options in GOLDEN_RELION.items():
            out = folder / "relion" / star.parent.name / name
            tomofilt("reconstruct", "--relion-star", star, "-o", out, *options.split())
    tomofilt("simulate", *SIMULATION.split(), inputs / "simulated")
    for name, options in SIMULATED.items():
        for kind, project in PROJECTS.items():
            out = folder / "simulated" / Path(project).parts[0] / name
            place = inputs / "simulated" / project
            tomofilt("reconstruct", kind, place, "-o", out, *options.split())


def compare(before: Path, after: Path) -> None:
    """Print a line a volume."""
    names = sorted(
        {path.relative_to(each) for each in (before, after) for path in volumes_in(each)}
    )
    for name in names:
        if not ((before / name).exists() and (after / name).exists()):
            print(f"{name}: only in {before if (before / name).exists() else after}")
            continue
        old, new = (mrcfile.read(each / name).astype(np.float64) for each in (before, after))
        if old.shape != new.shape:
            print(f"{name}: {old.shape} against {new.shape}")
        elif np.array_equal(old, new):
            print(f"{name}: identical")
        else:
            apart = np.sqrt(np.mean((old - new) ** 2)) / old.std()
            print(f"{name}: differs by {apart:.1e} of the standard deviation")


def volumes_in(folder: Path) -> list[Path]:
    """Every volume that a run has written."""
    return [path for path in folder.rglob("*.mrc") if "inputs" not in path.parts]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", folder]:
            run(Path(folder))
        case ["compare", before, after]:
            compare(Path(before), Path(after))
        case _:
            sys.exit(__doc__)
