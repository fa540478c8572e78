"""`tomofilt simulate`: a tilt series of which everything is known, on disk as real ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tomofilt.cli import options
from tomofilt.cli.values import chosen_series, parse_views
from tomofilt.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomofilt.simulate.molecules import Molecule
    from tomofilt.simulate.series import SimulatedSeries

__all__ = ["parse_angles", "simulate"]

SPECIMEN, SCHEME, IMAGING, REAL = "Specimen", "Tilt scheme", "Imaging", "After a real series"


def simulate(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    *,
    shape: Annotated[
        tuple[int, int, int],
        typer.Option(
            "--shape",
            metavar="X Y Z",
            help="Size of the tomogram in voxels; images have its x and y.",
            rich_help_panel=SPECIMEN,
        ),
    ] = (256, 256, 96),
    pixel_size: Annotated[
        float,
        typer.Option(
            "--pixel-size",
            metavar="A",
            help="Pixel size of the images, and voxel size, in A.",
            rich_help_panel=SPECIMEN,
        ),
    ] = 10.0,
    ice: Annotated[
        float | None,
        typer.Option(
            "--ice",
            metavar="A",
            help="Thickness of the ice in A.  [default: 3/4 of the tomogram's]",
            rich_help_panel=SPECIMEN,
        ),
    ] = None,
    molecule: Annotated[
        list[str] | None,
        typer.Option(
            "--molecule",
            metavar="NAME|FILE.mrc",
            help="A density map, or one of those that come with tomofilt: 1bxn, 1qvr, 4cr2, 4v94, "
            "5mrc. May be repeated.  [default: those five]",
            rich_help_panel=SPECIMEN,
        ),
    ] = None,
    crowding: Annotated[
        float,
        typer.Option(
            "--crowding",
            min=0,
            max=0.35,
            help="Share of the ice that the spheres about the molecules take up.",
            rich_help_panel=SPECIMEN,
        ),
    ] = 0.25,
    membranes: Annotated[
        int,
        typer.Option(
            "--membranes", min=0, help="Vesicles, about so many in view.", rich_help_panel=SPECIMEN
        ),
    ] = 2,
    gold: Annotated[
        int,
        typer.Option(
            "--gold",
            min=0,
            help="Gold beads of 10 nm, about so many in view.",
            rich_help_panel=SPECIMEN,
        ),
    ] = 0,
    tilts: Annotated[
        str,
        typer.Option(
            "--tilts",
            metavar="FIRST:LAST:STEP|FILE.tlt",
            help="Angles of the stage in degrees.",
            rich_help_panel=SCHEME,
        ),
    ] = "-60:60:3",
    order: Annotated[
        Literal["dose-symmetric", "continuous"],
        typer.Option("--order", help="Order of acquisition.", rich_help_panel=SCHEME),
    ] = "dose-symmetric",
    pretilt: Annotated[
        float,
        typer.Option(
            "--pretilt",
            metavar="DEG",
            help="Tilt of the slab where the stage is at 0, as of a lamella.",
            rich_help_panel=SCHEME,
        ),
    ] = 0.0,
    exclude: Annotated[
        str | None,
        typer.Option(
            "--exclude",
            metavar="LIST",
            help="Views that were lost, counted from 1 by ascending angle (with --like: in the "
            "order of the real images): 1-3,40.",
            rich_help_panel=SCHEME,
        ),
    ] = None,
    dose: Annotated[
        float,
        typer.Option(
            "--dose",
            metavar="E",
            help="Exposure of each view, electrons per square angstrom.",
            rich_help_panel=IMAGING,
        ),
    ] = 3.0,
    defocus: Annotated[
        float,
        typer.Option(
            "--defocus",
            metavar="UM",
            min=0,
            help="Underfocus in micrometres. 0: an ideal phase plate, without CTF.",
            rich_help_panel=IMAGING,
        ),
    ] = 3.0,
    axis: Annotated[
        float,
        typer.Option(
            "--axis",
            metavar="DEG",
            help="Angle of the tilt axis in the images, from y.",
            rich_help_panel=IMAGING,
        ),
    ] = 85.0,
    shift: Annotated[
        float,
        typer.Option(
            "--shift",
            metavar="A",
            min=0,
            help="Standard deviation of the images' shifts in A.",
            rich_help_panel=IMAGING,
        ),
    ] = 30.0,
    volume: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="VOLUME.mrc",
            help="With --like: project this volume, instead of a made-up specimen.",
            rich_help_panel=REAL,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="DIR_OR_STAR",
            help="IMOD folder or RELION STAR file whose tilt angles and noise are taken over.",
            rich_help_panel=REAL,
        ),
    ] = None,
    tomogram_name: Annotated[
        str | None,
        typer.Option(
            "--tomogram-name",
            metavar="NAME",
            help="Which series of --like, when it has several.",
            rich_help_panel=REAL,
        ),
    ] = None,
    input_pixel_size: options.InputPixelSize = None,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Of everything random.", rich_help_panel=options.RUN),
    ] = 0,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Simulate a tilt series, and write it as an IMOD folder and as a RELION project.

    OUT/imod and OUT/relion hold the same images and the same alignment; OUT/truth the specimen,
    where its particles are, and a record. A slab of ice, wider than the images see, is damaged,
    imaged with CTF, and counted electron by electron. The same seed gives the same series.

    With --from and --like, a given volume is projected at the tilts of a real series instead, with
    noise like that of its images.
    """
    values = dict(locals())
    from tomofilt.simulate.folder import refuse_occupied, write_series
    from tomofilt.util.threads import available_threads

    refuse_occupied(output)
    values["threads"] = threads or available_threads()
    if (volume is None) != (like is None):
        raise InputError("--from and --like belong together: give both, or neither")
    series, facts = _after_real(values) if like is not None else _made_up(values)
    paths = write_series(output, series, facts)
    if not quiet:
        views, ny, nx = series.clean.shape
        typer.echo(
            f"{output}: {views} images of {nx} x {ny} px at {series.pixel_angst:g} A, "
            f"SNR {series.snr:.2g} without tilt"
        )
        particles = json.loads(paths[2].read_text()).get("particles", {})
        if particles:
            counts = ", ".join(f"{number} {kind}" for kind, number in particles.items())
            typer.echo(f"  in the tomogram: {counts}")
        invert = " --invert" if like is None else ""  # electrons show protein dark
        job = output / "relion" / "Tomograms" / "job006"
        typer.echo(f"  tomofilt reconstruct --imod-dir {paths[0]}{invert}")
        typer.echo(f"  tomofilt reconstruct --relion-star {paths[1]} -o {job}{invert}")


def _made_up(values: dict[str, Any]) -> tuple[SimulatedSeries, dict[str, Any]]:
    """Simulate a series of a made-up specimen."""
    from tomofilt.simulate.phantom import Contents
    from tomofilt.simulate.physics import Optics
    from tomofilt.simulate.scheme import tilt_scheme
    from tomofilt.simulate.series import Simulation
    from tomofilt.simulate.series import simulate as simulate_series

    for name in ("pixel_size", "dose"):
        if not values[name] > 0:
            raise InputError(f"--{name.replace('_', '-')} {values[name]:g} is not positive")
    nx, ny, nz = values["shape"]
    ice = 0.75 * nz * values["pixel_size"] if values["ice"] is None else values["ice"]
    wanted = Simulation(
        scheme=tilt_scheme(
            parse_angles(values["tilts"]),
            values["order"],
            values["dose"],
            pretilt_deg=values["pretilt"],
            missing=parse_views(values["exclude"]),
        ),
        contents=Contents(
            tuple(_molecules(values["molecule"])),
            crowding=values["crowding"],
            membranes=values["membranes"],
            gold=values["gold"],
        ),
        shape=(nz, ny, nx),
        pixel_angst=values["pixel_size"],
        ice_angst=ice,
        optics=Optics(defocus_angst=1e4 * values["defocus"]),
        rotation_deg=values["axis"],
        shift_angst=values["shift"],
        seed=values["seed"],
    )
    kept = (
        "shape pixel_size ice molecule crowding membranes gold tilts order pretilt exclude dose "
        "defocus axis shift"
    )
    settings = {name: values[name] for name in kept.split()}
    settings |= {"ice": ice, "molecule": [each.name for each in wanted.contents.molecules]}
    series = simulate_series(wanted, threads=values["threads"])
    return series, {"seed": values["seed"], "settings": settings}


def _after_real(values: dict[str, Any]) -> tuple[SimulatedSeries, dict[str, Any]]:
    """Project a given volume like a real series."""
    from tomofilt.series.projects import SeriesOptions, detect
    from tomofilt.simulate.like import series_like
    from tomofilt.simulate.molecules import read_volume

    density, voxel = read_volume(values["volume"])
    name = values["tomogram_name"]
    found = chosen_series([detect(values["like"])], [name] if name else None)
    if len(found) > 1:
        names = ", ".join(each for _, each in found[:4])
        raise InputError(f"{values['like']} has several series ({names}): give --tomogram-name")
    project, name = found[0]
    options = SeriesOptions(
        input_pixel_angst=values["input_pixel_size"],
        exclude=parse_views(values["exclude"]),
        thickness_angst=density.shape[0] * voxel,
    )
    real = project.read(name, options)
    series, facts = series_like(density, voxel, real, values["seed"], values["threads"])
    return series, {"volume": str(values["volume"]), "like": str(values["like"]), **facts}


def _molecules(wanted: list[str] | None) -> list[Molecule]:
    from tomofilt.simulate.molecules import BUNDLED, bundled, read_molecule

    return [
        bundled([name])[0] if name in BUNDLED else read_molecule(Path(name))
        for name in wanted or BUNDLED
    ]


def parse_angles(text: str) -> NDArray[np.float64]:
    """Angles of FIRST:LAST:STEP, or of a file with one a line."""
    from tomofilt.simulate.scheme import angles_of_range, read_angles

    parts = text.split(":")
    if len(parts) != 3:
        return read_angles(Path(text))
    try:
        first, last, step = map(float, parts)
    except ValueError:
        raise InputError(
            f"--tilts {text}: give first, last and step in degrees, -60:60:3"
        ) from None
    return angles_of_range(first, last, step)
