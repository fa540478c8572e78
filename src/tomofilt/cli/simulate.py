"""`tomofilt simulate`: a tilt series of which everything is known, on disk as real ones are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tomofilt.cli import options
from tomofilt.cli.series import one_series
from tomofilt.cli.values import LENGTH, SIZE, number, parse_tilts, parse_views, whole
from tomofilt.errors import InputError

if TYPE_CHECKING:
    from tomofilt.series.projects import SeriesOptions
    from tomofilt.simulate.molecules import Molecule
    from tomofilt.simulate.series import SimulatedSeries

__all__ = ["simulate"]

_COUNT = whole("a whole number, 0 or more", least=0)
SPECIMEN, SCHEME, IMAGING, REAL = "Specimen", "Tilt scheme", "Imaging", "After a real series"


def simulate(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the series.")],
    *,
    shape: Annotated[
        tuple[int, int, int],
        typer.Option(
            "--shape",
            metavar="X Y Z",
            parser=SIZE,
            help="Size of the tomogram in voxels. The images have its x and y.",
            rich_help_panel=SPECIMEN,
        ),
    ] = (256, 256, 96),
    pixel_size: Annotated[
        float,
        typer.Option(
            "--pixel-size",
            metavar="A",
            parser=LENGTH,
            help="Pixel size of the images and voxel size of the tomogram, in angstrom.",
            rich_help_panel=SPECIMEN,
        ),
    ] = 10.0,
    ice: Annotated[
        float | None,
        typer.Option(
            "--ice",
            metavar="A",
            parser=LENGTH,
            help="Thickness of the ice in angstrom.  [default: 3/4 of the tomogram's]",
            rich_help_panel=SPECIMEN,
        ),
    ] = None,
    molecule: Annotated[
        list[str] | None,
        typer.Option(
            "--molecule",
            metavar="NAME|FILE.mrc",
            help="A density map, or the name of one that comes with tomofilt: 1bxn, 1qvr, 4cr2, "
            "4v94, 5mrc. May be given several times.  [default: these five]",
            rich_help_panel=SPECIMEN,
        ),
    ] = None,
    crowding: Annotated[
        float,
        typer.Option(
            "--crowding",
            metavar="SHARE",
            parser=number("a share from 0 to 0.35", least=0, most=0.35),
            help="Share of the ice that is filled by the spheres about the molecules, up to 0.35.",
            rich_help_panel=SPECIMEN,
        ),
    ] = 0.25,
    membranes: Annotated[
        int,
        typer.Option(
            "--membranes",
            metavar="N",
            parser=_COUNT,
            help="About how many vesicles are in view.",
            rich_help_panel=SPECIMEN,
        ),
    ] = 2,
    gold: Annotated[
        int,
        typer.Option(
            "--gold",
            metavar="N",
            parser=_COUNT,
            help="About how many gold beads of 10 nm are in view.",
            rich_help_panel=SPECIMEN,
        ),
    ] = 0,
    tilts: Annotated[
        str,
        typer.Option(
            "--tilts",
            metavar="FIRST:LAST:STEP|FILE",
            help="Tilt angles of the stage in degrees: -60:60:3, or a file with angles.",
            rich_help_panel=SCHEME,
        ),
    ] = "-60:60:3",
    order: Annotated[
        Literal["dose-symmetric", "continuous"],
        typer.Option("--order", help="Order in which the views are taken.", rich_help_panel=SCHEME),
    ] = "dose-symmetric",
    pretilt: Annotated[
        float,
        typer.Option(
            "--pretilt",
            metavar="DEG",
            parser=number("an angle in degrees", least=-80, most=80),
            help="Tilt of the ice in degrees when the stage is at 0, as that of a lamella.",
            rich_help_panel=SCHEME,
        ),
    ] = 0.0,
    exclude: Annotated[
        str | None,
        typer.Option(
            "--exclude",
            metavar="LIST",
            help="Views that are missing: 1-3,40. Count from 1 by ascending angle (with --like: in "
            "the order of the real images).",
            rich_help_panel=SCHEME,
        ),
    ] = None,
    dose: Annotated[
        float,
        typer.Option(
            "--dose",
            metavar="E",
            parser=number("an exposure in electrons per square angstrom, above 0", above=0),
            help="Exposure of each view, in electrons per square angstrom.",
            rich_help_panel=IMAGING,
        ),
    ] = 3.0,
    defocus: Annotated[
        float,
        typer.Option(
            "--defocus",
            metavar="UM",
            parser=number("an underfocus in micrometres, 0 or more", least=0),
            help="Underfocus in micrometres. 0: an ideal phase plate, without any CTF.",
            rich_help_panel=IMAGING,
        ),
    ] = 3.0,
    axis: Annotated[
        float,
        typer.Option(
            "--axis",
            metavar="DEG",
            parser=number("an angle in degrees", least=-360, most=360),
            help="Angle in degrees between the tilt axis and the y axis of the images.",
            rich_help_panel=IMAGING,
        ),
    ] = 85.0,
    shift: Annotated[
        float,
        typer.Option(
            "--shift",
            metavar="A",
            parser=number("a length in angstrom, 0 or more", least=0),
            help="Standard deviation of the shifts of the images, in angstrom.",
            rich_help_panel=IMAGING,
        ),
    ] = 30.0,
    volume: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="VOLUME.mrc",
            help="With --like: project this volume instead of a made-up specimen.",
            rich_help_panel=REAL,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            metavar="DIR_OR_STAR",
            help="With --from: take tilt angles and noise from the series in this IMOD folder or "
            "RELION STAR file.",
            rich_help_panel=REAL,
        ),
    ] = None,
    tomogram_name: Annotated[
        str | None,
        typer.Option(
            "--tomogram-name",
            metavar="NAME",
            help="Which series of --like to take, if there are several.",
            rich_help_panel=REAL,
        ),
    ] = None,
    input_pixel_size: options.InputPixelSize = None,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Simulate a tilt series, and write it as an IMOD folder and as a RELION project.

    OUT/imod and OUT/relion hold the same images and the same alignment. OUT/truth holds the
    specimen, the places of its particles, and a record. The specimen is a slab of ice that is wider
    than the images; it is damaged by the beam, imaged with a CTF, and its electrons are counted.

    With --from and --like, a given volume is projected instead, at the tilt angles of a real series
    and with noise like that of its images.
    """
    from tomofilt.series.projects import SeriesOptions
    from tomofilt.simulate.folder import refuse_occupied, write_series
    from tomofilt.simulate.phantom import Contents
    from tomofilt.simulate.physics import Optics
    from tomofilt.simulate.scheme import tilt_scheme
    from tomofilt.simulate.series import Simulation
    from tomofilt.simulate.series import simulate as simulate_series
    from tomofilt.util.threads import available_threads

    refuse_occupied(output)
    threads = threads or available_threads()
    missing = parse_views(exclude)
    facts: dict[str, object]
    if volume is not None and like is not None:
        asked = SeriesOptions(input_pixel_angst=input_pixel_size, exclude=missing)
        series, facts = _after_real(volume, like, tomogram_name, asked, seed, threads)
    elif volume is not None or like is not None:
        raise InputError("--from and --like belong together: give both, or neither")
    else:
        nx, ny, nz = shape
        wanted = Simulation(
            scheme=tilt_scheme(
                parse_tilts(tilts), order, dose, pretilt_deg=pretilt, missing=missing
            ),
            contents=Contents(
                _molecules(molecule), crowding=crowding, membranes=membranes, gold=gold
            ),
            shape=(nz, ny, nx),
            pixel_angst=pixel_size,
            ice_angst=0.75 * nz * pixel_size if ice is None else ice,
            optics=Optics(defocus_angst=1e4 * defocus),
            rotation_deg=axis,
            shift_angst=shift,
            seed=seed,
        )
        series = simulate_series(wanted, threads=threads)
        settings = {
            "shape": shape,
            "pixel_size": pixel_size,
            "ice": wanted.ice_angst,
            "molecule": [each.name for each in wanted.contents.molecules],
            "crowding": crowding,
            "membranes": membranes,
            "gold": gold,
            "tilts": tilts,
            "order": order,
            "pretilt": pretilt,
            "exclude": exclude,
            "dose": dose,
            "defocus": defocus,
            "axis": axis,
            "shift": shift,
        }
        facts = {"seed": seed, "settings": settings}
    paths = write_series(output, series, facts)
    if not quiet:
        _tell(output, series, paths, inverted=like is None)


def _tell(output: Path, series: SimulatedSeries, paths: Sequence[Path], *, inverted: bool) -> None:
    """Say what was written, and how to reconstruct it."""
    views, ny, nx = series.clean.shape
    typer.echo(
        f"{output}: {views} images of {nx} x {ny} px at {series.pixel_angst:g} A, "
        f"SNR {series.snr:.2g} without tilt"
    )
    particles = json.loads(paths[2].read_text()).get("particles", {})
    if particles:
        counts = ", ".join(f"{number} {kind}" for kind, number in particles.items())
        typer.echo(f"  in the tomogram: {counts}")
    invert = " --invert" if inverted else ""  # electrons show protein dark
    job = output / "relion" / "Tomograms" / "job006"
    typer.echo(f"  tomofilt reconstruct --imod-dir {paths[0]}{invert}")
    typer.echo(f"  tomofilt reconstruct --relion-star {paths[1]} -o {job}{invert}")


def _after_real(
    volume: Path,
    like: Path,
    tomogram_name: str | None,
    asked: SeriesOptions,
    seed: int,
    threads: int,
) -> tuple[SimulatedSeries, dict[str, object]]:
    """Project a given volume like a real series."""
    from tomofilt.series.projects import detect
    from tomofilt.simulate.like import series_like
    from tomofilt.simulate.molecules import read_volume

    density, voxel_angst = read_volume(volume)
    project = detect(like)
    name = one_series(project, like, tomogram_name)
    real = project.read(name, replace(asked, thickness_angst=density.shape[0] * voxel_angst))
    series, facts = series_like(density, voxel_angst, real, seed, threads)
    return series, {"volume": str(volume), "like": str(like), **facts}


def _molecules(wanted: list[str] | None) -> tuple[Molecule, ...]:
    from tomofilt.simulate.molecules import BUNDLED, bundled, read_molecule

    return tuple(
        bundled([name])[0] if name in BUNDLED else read_molecule(Path(name))
        for name in wanted or BUNDLED
    )
