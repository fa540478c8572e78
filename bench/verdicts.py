"""What the verdict says of good series, and of series that were spoiled on purpose.

    python bench/verdicts.py FOLDER

simulates 14 good series into FOLDER (SNR 0.05 to 0.3 a view, every other one with a CTF of 3 um
underfocus), spoils four of them in many ways, and prints how many of each kind are flagged, and as
what. What is in FOLDER already is used again.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mrcfile
import numpy as np

from tomofilt.jobs.one import reconstruct
from tomofilt.reconstruction.settings import Settings
from tomofilt.series.projects import detect, read_series

DOSES = (0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 3.3)  # electrons/A^2: SNR 0.06 to 0.3 with the CTF
#: Without a CTF so much less gives the same SNR.
FAINTER = 20
SPOILED_DOSES = (1.0, 3.0)
KINDS = {
    "all 2": "every shift off by 2 px",
    "all 4": "every shift off by 4 px",
    "all 8": "every shift off by 8 px",
    "all 12": "every shift off by 12 px",
    "some 4": "a quarter of the shifts off by 4 px",
    "some 8": "a quarter of the shifts off by 8 px",
    "one 8": "one shift off by 8 px",
    "axis 2": "tilt axis turned by 2 deg",
    "axis 5": "tilt axis turned by 5 deg",
    "axis 10": "tilt axis turned by 10 deg",
    "hand": "wrong hand",
    "order": "angles in a wrong order",
    "other view": "one view of another series",
    "dark": "two views hidden from the beam",
    "half box": "box half as thick",
    "noise": "noise only",
}


def simulate(folder, seed, dose, defocus):
    out = folder / f"good-{dose}-{defocus}"
    if not out.exists():
        command = ["tomofilt", "simulate", out, "--shape", "144", "144", "72", "-q"]
        command += ["--seed", seed, "--dose", dose if defocus else dose / FAINTER]
        command += ["--defocus", defocus, "-j", 2]
        subprocess.run([str(part) for part in command], check=True)
    return out / "imod"


def spoil(good, kind):
    folder = good.parent.parent / f"{good.parent.name.replace('good', 'spoiled')}-{kind}"
    if folder.exists():
        return folder
    shutil.copytree(good, folder)
    rng = np.random.default_rng(0)
    transforms = np.loadtxt(folder / "TS_01.xf")
    angles = np.loadtxt(folder / "TS_01.tlt")
    what, _, amount = kind.partition(" ")
    count = len(angles)
    match what:
        case "all" | "some" | "one":
            share = {"all": count, "some": count // 4, "one": 1}[what]
            chosen = rng.choice(np.arange(8, count - 8) if what == "one" else count, share, False)
            signs = rng.choice([-1, 1], (share, 2))
            transforms[chosen, 4:] += signs * float(amount) / np.sqrt(2)
        case "axis":
            angle = np.radians(float(amount))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            for row in transforms:
                row[:4] = (turn @ row[:4].reshape(2, 2)).ravel()
                row[4:] = turn @ row[4:]
        case "hand":
            angles = -angles
        case "order":
            rng.shuffle(angles)
        case "half":
            text = (folder / "tilt.com").read_text()
            halved = re.sub(r"(?<=THICKNESS )\d+", lambda found: str(int(found[0]) // 2), text)
            (folder / "tilt.com").write_text(halved)
        case "other" | "dark" | "noise":
            spoil_images(folder, good, what, rng)
    np.savetxt(folder / "TS_01.xf", transforms, fmt="%.7f")
    np.savetxt(folder / "TS_01.tlt", angles, fmt="%.2f")
    return folder


def spoil_images(folder, good, what, rng):
    other = next(path for path in sorted(good.parent.parent.glob("good-*")) if path != good.parent)
    for path in sorted(folder.glob("TS_*.mrc")):
        with mrcfile.open(path, "r+") as mrc:
            images = mrc.data
            if what == "other":
                view = mrcfile.read(other / "imod" / path.name)[20]
                images[20] = view / view.mean() * images[20].mean()
            elif what == "dark":
                for view in (0, 20):
                    images[view] = rng.poisson(0.01 * images[view].mean(), images.shape[1:])
            else:
                images[:] = rng.normal(images.mean(), images.std(), images.shape)


def flags(folder):
    project = detect(folder)
    series = read_series(project, project.names[0])
    settings = Settings(bin=1, threads=2, device="cpu", preview=False, overwrite=True)
    result = reconstruct(series, folder / "rec.mrc", settings)
    return tuple(flag.name for flag in result.record.flags)


def row(kind, found):
    flagged = [names for names in found if names]
    what = Counter(name for names in flagged for name in names)
    words = ", ".join(f"{name} ({count})" for name, count in what.most_common())
    print(f"| {kind} | {len(flagged)} of {len(found)} | {words} |", flush=True)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    good = {
        (dose, defocus): simulate(folder, seed, dose, defocus)
        for seed, (dose, defocus) in enumerate((d, f) for f in (0, 3) for d in DOSES)
    }
    print("| series | flagged | as |\n|---|---|---|")
    row("good", [flags(path) for path in good.values()])
    for kind, words in KINDS.items():
        chosen = [good[dose, defocus] for dose in SPOILED_DOSES for defocus in (0, 3)]
        row(words, [flags(spoil(path, kind)) for path in chosen])


if __name__ == "__main__":
    main()
