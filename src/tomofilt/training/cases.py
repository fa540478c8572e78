"""What filters are trained on: tilt series with the truth on their tomograms' voxels."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError
from tomofilt.io.files import read_input
from tomofilt.reconstruction.measure import measured
from tomofilt.reconstruction.methods.fbp import Fbp
from tomofilt.reconstruction.problem import Problem
from tomofilt.reconstruction.settings import Settings
from tomofilt.reconstruction.setup import make_problem
from tomofilt.series.tiltseries import TiltSeries

__all__ = ["Case", "Cases", "cases_from_table", "check_cases", "simulated_cases", "split"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Of the tomogram that the scale and the sign of a series are read off, cycles per pixel.
_QUICK = "gaussian:0.12"
#: With less than this between a quick tomogram and the truth, they do not belong together.
_LEAST_CORRELATION = 0.05


@dataclass(frozen=True, eq=False)
class Case:
    """A tilt series, and the truth about it.

    Parameters
    ----------
    series : TiltSeries
    truth : (z, y, x) float32
        On the voxels of the series' tomogram.
    bin : float, optional
        Voxel in pixels of the series' images; default is the series' own.
    scale : float
        What images are multiplied by so that their tomogram has the truth's densities; negative
        for inverted contrast.
    """

    series: TiltSeries
    truth: Float32
    bin: float | None = None
    scale: float = 1.0

    @property
    def name(self) -> str:
        """Name of the series."""
        return self.series.name

    @cached_property
    def problem(self) -> Problem:
        """How the series is reconstructed.

        Raises
        ------
        InputError
            The truth does not fit, is constant or not finite, or the geometry is none to train on.
        """
        problem = self.problem_with(_QUICK)
        if problem.grid.shape != self.truth.shape:
            raise InputError(
                f"{self.name}: the truth has {self.truth.shape} voxels (z, y, x), but the tomogram "
                f"{problem.grid.shape}: give the truth that belongs to this series, at its voxel "
                "size"
            )
        if not np.isfinite(self.truth).all():
            bad = int(np.count_nonzero(~np.isfinite(self.truth)))
            raise InputError(
                f"{self.name}: {bad} of {self.truth.size} voxels of the truth are NaN or infinite"
            )
        if float(self.truth.std(dtype=np.float64)) == 0:
            raise InputError(f"{self.name}: the truth is {self.truth.flat[0]:g} everywhere")
        if not isinstance(problem.method, Fbp) or problem.frame.slices.has_xtilt:
            raise InputError(
                f"{self.name} has a tilt about x or a local alignment, and filters are trained on "
                "series without: leave it out, or set these to zero in its project"
            )
        return problem

    def problem_with(self, filter: str) -> Problem:
        """The series' problem with a filter by name, and without dose weights: they are learned."""
        settings = Settings(filter=filter, bin=self.bin, device="cpu", dose_weight="off")
        return make_problem(self.series, settings)

    @cached_property
    def images(self) -> Float32:
        """Images as they are filtered: on the tilt axis, corrected, scaled (view, y, x).

        Raises
        ------
        InputError
            An image holds NaN or is blank.
        """
        series = self.series
        with self.problem.images() as images:
            stack = images.aligned().numpy()
        # without its background, nothing is left of a blank image
        blank = np.flatnonzero(~stack.any(axis=(1, 2)))
        if blank.size:
            numbers = ", ".join(str(int(series.views[view]) + 1) for view in blank)
            raise InputError(
                f"{self.name}: image {numbers} has the same value everywhere: leave it out of the "
                "series before you train on it"
            )
        return np.asarray(stack * np.float32(self.scale), dtype=np.float32)

    def tomogram(self, filter: str) -> Float32:
        """The tomogram by a filter by name, scaled: (z, y, x)."""
        problem = self.problem_with(filter)
        with problem.images(in_place=True) as images:
            volume = measured(problem, images).volume(images)
        volume *= np.float32(self.scale)
        return volume

    def psnr_db(self, volume: Float32) -> float:
        """PSNR of a volume after an affine match, in its central part."""
        from tomofilt.evaluate.against_truth import matched_psnr_db

        return matched_psnr_db(volume, self.truth)

    def match(self) -> tuple[float, float]:
        """Compare a quick tomogram with that of the truth's own projections.

        Returns
        -------
        scale : float
            What images have to be multiplied by; negative for inverted contrast.
        correlation : float
        """
        from tomofilt.evaluate.against_truth import affine_match

        ideal, found = self._projected().tomogram(_QUICK), self.tomogram(_QUICK)
        # noise is in what was found alone, and flattens no regression on what it should be
        slope, _, correlation = affine_match(ideal, found)
        return self.scale / slope, correlation

    def _projected(self) -> Case:
        """The case with projections of the truth for images."""
        from tomofilt.projectors.cpu import SliceProjector, slice_table
        from tomofilt.simulate.series import ImagesInMemory

        grid, frame, series = self.problem.grid, self.problem.frame, self.series
        table = slice_table(frame.slices, grid, frame.grid)
        shape = (len(table), *frame.grid.shape)
        stack = SliceProjector(table, shape, grid.shape).forward(self.truth)
        projected = replace(
            series,
            images=ImagesInMemory(stack, grid.voxel_angst),
            geometry=series.geometry.in_aligned_frame(frame.image_from_aligned),
            views=np.arange(len(stack)),
            grid=grid,
            aligned_shape=None,
            binning=1.0,
            log_base=None,
            ctf=None,
            ctf_done=None,
        )
        return Case(projected, self.truth)

    def calibrated(self) -> Case:
        """The case with its scale found.

        Raises
        ------
        InputError
            The tomogram and the truth have nothing in common.
        """
        scale, correlation = self.match()
        if abs(correlation) < _LEAST_CORRELATION:
            raise InputError(
                f"{self.name}: its tomogram and the truth correlate to {correlation:.3f} only: "
                "check that they belong together, and the tilt angles"
            )
        return replace(self, scale=scale)

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Digests of the truth, and of the images as they are filtered."""
        arrays = {"truth": self.truth, "images": self.images}
        return {
            name: sha256(np.ascontiguousarray(array).data).hexdigest()
            for name, array in arrays.items()
        }

    def facts(self) -> dict[str, Any]:
        """What a bundle says about it."""
        return {
            "name": self.name,
            "sha256": dict(self.digests),
            "pixel_angst": self.problem.grid.voxel_angst,
            "shape_zyx": list(self.truth.shape),
            "tilt_deg": [round(float(tilt), 4) for tilt in self.problem.frame.slices.tilt_deg],
            "scale": self.scale,
            "truth_std": float(self.truth.std(dtype=np.float64)),
        }


@dataclass(frozen=True, eq=False)
class Cases:
    """Cases by what they are for.

    Parameters
    ----------
    train : sequence of Case
        The filter is fitted to them.
    validation : sequence of Case
        Shrinkage and early stopping are chosen by them.
    test : sequence of Case
        They are used once, at the end, for the metrics.
    """

    train: Sequence[Case]
    validation: Sequence[Case]
    test: Sequence[Case] = ()

    @property
    def all(self) -> list[Case]:
        """All of them."""
        return [*self.train, *self.validation, *self.test]


def check_cases(cases: Cases) -> None:
    """Refuse sets that are empty or overlap.

    Raises
    ------
    InputError
        Two sets share a truth, or images, whatever they are called; or none is there to train or
        to validate on.
    """
    for name in ("train", "validation"):
        if not getattr(cases, name):
            raise InputError(f"there is no tilt series for {name}: give at least one")
    seen: dict[str, tuple[str, Case]] = {}
    for purpose in ("train", "validation", "test"):
        for case in getattr(cases, purpose):
            for what, digest in case.digests.items():
                other = seen.setdefault(digest, (purpose, case))
                if other[1] is not case:
                    raise InputError(
                        f"{case.name} ({purpose}) has the same {what} as {other[1].name} "
                        f"({other[0]}): each specimen may serve one purpose, and once, or the "
                        "numbers flatter the filter"
                    )


def split(train: Sequence[Case], validation: Sequence[Case], test: Sequence[Case]) -> Cases:
    """Cases, with the last one of those to train on for validation when none is given.

    Raises
    ------
    InputError
        There is only one to train on, and none for validation.
    """
    if not validation:
        if len(train) < 2:
            raise InputError(
                "one tilt series cannot serve both training and validation: give another one"
            )
        train, validation = train[:-1], train[-1:]
    return Cases(tuple(train), tuple(validation), tuple(test))


def simulated_cases(
    count: int,
    *,
    seed: int = 0,
    shape: tuple[int, int, int] = (48, 96, 96),
    pixel_angst: float = 10.0,
    tilt_deg: Float64 | None = None,
    snr: float = 0.1,
) -> Cases:
    """Simulated cases: ``count`` to train on, one for validation and one to test.

    Images are line integrals of the truth, so no scale has to be found.

    Parameters
    ----------
    count : int
    seed : int
        Of the first series; the others have the following ones.
    shape, pixel_angst, tilt_deg, snr
        See :func:`tomofilt.simulate.simulated_series`.
    """
    from tomofilt.simulate import simulated_series

    cases = []
    for number in range(seed, seed + count + 2):
        made = simulated_series(
            number, shape=shape, pixel_angst=pixel_angst, tilt_deg=tilt_deg, snr=snr
        )
        series = replace(made.tilt_series(f"simulated_{number}"), halves=None)
        cases.append(Case(series, made.truth))
    return Cases(cases[:count], cases[count : count + 1], cases[count + 1 :])


def cases_from_table(path: Path) -> Cases:
    """Cases listed in a TOML file.

    Each entry of the lists ``train``, ``validation`` and ``test`` has ``project`` (a folder or STAR
    file), ``truth`` (an MRC file on the voxels of the project's tomogram) and, where the project
    has several series, ``name``; ``bin`` is the voxel in pixels of the images. Paths are relative
    to the file. Scale and sign are read off a quick tomogram.

    Raises
    ------
    InputError, MissingFileError
    """
    try:
        table = tomllib.loads(read_input(path).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}") from error
    unknown = sorted(set(table) - {"train", "validation", "test"})
    if unknown:
        raise InputError(f"{path}: {unknown[0]} is no list of cases: train, validation or test")
    found = {purpose: list(_listed(path, table.get(purpose, []))) for purpose in _PURPOSES}
    return split(found["train"], found["validation"], found["test"])


_PURPOSES = ("train", "validation", "test")


def _listed(path: Path, entries: Iterable[Any]) -> Iterable[Case]:
    from tomofilt.series.projects import detect, read_series
    from tomofilt.simulate.molecules import read_volume

    for number, entry in enumerate(entries, 1):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict) or not {"project", "truth"} <= set(entry):
            raise InputError(f"{where}: give project = FOLDER and truth = FILE.mrc")
        unknown = sorted(set(entry) - {"project", "truth", "name", "bin"})
        if unknown:
            raise InputError(f"{where}: {unknown[0]} is unknown: project, truth, name or bin")
        project = detect(path.parent / entry["project"])
        names = [entry["name"]] if "name" in entry else list(project.names)
        if len(names) != 1 or names[0] not in project.names:
            raise InputError(
                f"{where}: {entry['project']} holds the series {', '.join(project.names)}: "
                "give name = one of them"
            )
        truth, voxel = read_volume(path.parent / entry["truth"])
        case = Case(read_series(project, names[0]), truth, entry.get("bin"))
        tomogram_voxel = case.problem.grid.voxel_angst
        if abs(voxel / tomogram_voxel - 1) > 0.01:
            raise InputError(
                f"{where}: {entry['truth']} has voxels of {voxel:g} A, but the tomogram of "
                f"{tomogram_voxel:g} A: give bin = {voxel / case.series.images.pixel_angst:g}"
            )
        yield case.calibrated()
