"""What a GPU does: right results, honest failures, speed. For a machine with nothing else prepared.

    python bench/gpu.py [--json FILE] [--dry-run]

Needs torch with CUDA or ROCm; ASTRA and tomosipo take part where they are installed. Every step
prints what it found, and one that fails or takes too long does not keep the others from running:
all together take four minutes at most. At the end stand a table and, with --json, a file of all
numbers. --dry-run says what each step would do, and needs no GPU. The exit code is 1 if a step
failed or a result is wrong.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from command import TILT_COM
from rich.console import Console
from steps import Found, run_steps

from tomofilt.errors import ResourceError
from tomofilt.io.mrc import MrcWriter
from tomofilt.projectors import device as device_module
from tomofilt.projectors.autograd import backproject
from tomofilt.projectors.cpu import SliceProjector, slice_table
from tomofilt.projectors.gpu import Engine, problem, triton_problem
from tomofilt.projectors.select import gpu_projector
from tomofilt.projectors.vectors import to_tomosipo
from tomofilt.series.geometry import ImageGrid, SliceGeometry, TiltGeometry, VolumeGrid
from tomofilt.util.threads import available_threads

#: The engines, and what says why one cannot be called.
PROBLEMS: dict[Engine, Callable[[int], str | None]] = {
    "triton": triton_problem,
    "astra": problem,
}
#: Largest relative rms against the CPU in float64. Triton rounds positions to float32: 3e-8 times
#: the samples of a row. ASTRA's textures weigh pixels with 8 bits: 1.9e-3, and with x tilt, where
#: weights are products, 4.4e-3.
LIMITS = {"triton": 1e-5, "astra": 5e-3}
#: The same where memory was short: zeros are looked for, in images that are wider.
SILENCE = 1e-2
#: Volumes (z, y, x), x tilt in degrees, samples a pixel.
PARITY_CASES = [
    ((40, 130, 97), 0.0, 1),
    ((40, 130, 97), 4.0, 2),
    ((33, 64, 128), -7.0, 1),
    ((1, 5, 7), 4.0, 2),
]
VIEWS = 21
GRADIENT_VOLUME = (32, 64, 96)
FAILURE_VOLUME = (64, 1024, 1024)
#: Rows, columns and warps of a program of Triton's kernels that are tried.
BLOCKS = [(4, 128, 1), (4, 128, 2), (4, 128, 4), (8, 128, 2), (2, 256, 1), (4, 256, 4)]
REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Machine:
    """Where to measure, and how large the problem for the speed is."""

    device: str = "cuda:0"
    views: int = 41
    volume: tuple[int, int, int] = (512, 1024, 1024)

    @property
    def engines(self) -> list[Engine]:
        """Those that can be called here."""
        return [engine for engine, lacks in PROBLEMS.items() if not lacks(0)]

    def seconds(self, work: Callable[[], object], repeats: int = 3) -> float:
        """Of one run, after a first."""
        work()
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize(self.device)
        return (time.perf_counter() - start) / repeats


@dataclass
class Problem:
    """Views in slice geometry of a volume of noise, with images that are a little wider."""

    volume_shape: tuple[int, int, int]
    views: int
    xtilt_deg: float = 0.0
    oversampling: int = 1
    slices: SliceGeometry = field(init=False)
    table: Any = field(init=False)

    def __post_init__(self) -> None:
        _, self.slices = TiltGeometry.from_angles(
            np.linspace(-60, 60, self.views), xtilt_deg=self.xtilt_deg
        ).factor()
        self.volume = VolumeGrid.centred(self.volume_shape, 8.0)
        _, ny, nx = self.volume_shape
        self.images = ImageGrid.centred((ny, nx), 8.0)
        step = 1 / self.oversampling
        self.table = slice_table(self.slices, self.volume, self.images, 0.0, step)
        self.image_shape = (self.views, ny, self.oversampling * (nx - 1) + 1)

    @property
    def updates(self) -> int:
        """Voxels times views."""
        return self.views * int(np.prod(self.volume_shape))

    def cpu(self) -> SliceProjector:
        """The reference."""
        return SliceProjector(self.table, self.image_shape, self.volume_shape)

    def gpu(self, engine: Engine, device: str) -> device_module.DeviceProjector:
        """The projector of an engine."""
        return gpu_projector(engine, self.table, self.image_shape, self.volume_shape, device)


def noise(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Normal noise, float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def relative(found: Any, expected: Any) -> float:
    """Relative rms of a difference."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def describe(machine: Machine, found: Found) -> None:
    """Say which card and versions these are, and what each engine lacks."""
    found |= {"cpu": platform.processor() or platform.machine(), "threads": available_threads()}
    found |= {"torch": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip}
    for name in ("triton", "astra", "tomosipo"):
        try:
            found[name] = getattr(__import__(name), "__version__", "installed")
        except ImportError as error:
            found[name] = f"not here ({error})"
    properties = torch.cuda.get_device_properties(machine.device)
    found |= {"gpu": properties.name, "gpu_GB": properties.total_memory / 1e9}
    found["gpus"] = torch.cuda.device_count()
    found |= {f"{name} lacks": what(0) or "nothing" for name, what in PROBLEMS.items()}


@contextmanager
def told(found: Found, name: str) -> Iterator[None]:
    """Note an error under a name and go on: an engine that fails does not hide the other."""
    try:
        yield
    except TimeoutError:
        raise
    except Exception as error:
        found[name] = found["wrong"] = f"{name}: {type(error).__name__}: {error}"


def compiling(machine: Machine, found: Found) -> None:
    """Have all kernels compiled: what a first run takes longer, and no other step here."""
    for dtype in (np.float64, np.float32):
        case = Problem(PARITY_CASES[0][0], VIEWS, 4.0)
        start = time.perf_counter()
        case.cpu().forward(case.cpu().adjoint(noise(case.image_shape).astype(dtype)))
        found[f"CPU, {np.dtype(dtype)}, s"] = time.perf_counter() - start
    for engine in machine.engines:
        with told(found, engine):
            gpu = case.gpu(engine, machine.device)
            start = time.perf_counter()
            gpu.forward(gpu.adjoint(noise(case.image_shape)))
            found[f"{engine}, s"] = time.perf_counter() - start


def parity(machine: Machine, found: Found) -> None:
    """Compare both directions of each engine with the CPU's in float64: odd sizes, x tilt, fine."""
    for engine, (shape, xtilt, oversampling) in product(machine.engines, PARITY_CASES):
        name = f"{engine} {shape} x tilt {xtilt:g}, {oversampling} samples a pixel"
        with told(found, name):
            case = Problem(shape, VIEWS, xtilt, oversampling)
            images, volume = noise(case.image_shape), noise(case.volume_shape, 1)
            cpu, gpu = case.cpu(), case.gpu(engine, machine.device)
            back = relative(gpu.adjoint(images), cpu.adjoint(images.astype(np.float64)))
            cast = relative(gpu.forward(volume), cpu.forward(volume.astype(np.float64)))
            found[name] = {"back": back, "forward": cast}
            if not max(back, cast) < LIMITS[engine]:
                found["wrong"] = f"{name}: {back:.1e}, {cast:.1e} against {LIMITS[engine]:g}"


def tests(machine: Machine, found: Found) -> None:
    """Run tests/gpu."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--maxfail",
        "5",
        "tests/gpu",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    found["pytest"] = done.stdout.strip().splitlines()[-1:]
    if done.returncode:
        found["wrong"] = done.stdout[-3000:]


def memory_failure(machine: Machine, found: Found) -> None:
    """Leave each engine too little memory, and hide that from the planning: it must raise."""
    case = Problem(FAILURE_VOLUME, machine.views)
    images = noise(case.image_shape)
    expected = case.cpu().adjoint(images)
    rooms = {"no room for images": 0.5, "none for boxes": 1.5, "little": 3.0}
    for engine, (room, band) in product(machine.engines, rooms.items()):
        name = f"{engine}, {room}"
        with told(found, name), little_memory(machine, int(band * images.nbytes)):
            try:
                error = relative(case.gpu(engine, machine.device).adjoint(images), expected)
                found[name] = f"right all the same, {error:.1e}"
                if not error < SILENCE:
                    found["wrong"] = found[name] = f"SILENT: a result that is off by {error:.1e}"
            except ResourceError as failure:
                found[name] = f"ResourceError: {str(failure)[:120]}"


@contextmanager
def little_memory(machine: Machine, left: int) -> Iterator[None]:
    """Leave so many bytes on the card, and let the planning believe in plenty."""
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(machine.device)[0]
    hog = torch.empty(max(0, free - left), dtype=torch.uint8, device=machine.device)
    try:
        with mock.patch.object(device_module, "free_bytes", return_value=10**13):
            yield
    finally:
        del hog
        torch.cuda.empty_cache()


def second_gpu(machine: Machine, found: Found) -> None:
    """Back-project on the second GPU, if there is one, while the first is the current one."""
    if torch.cuda.device_count() < 2:
        found["second GPU"] = "there is none"
        return
    case = Problem(PARITY_CASES[0][0], VIEWS, 4.0)
    images = noise(case.image_shape)
    expected = case.cpu().adjoint(images.astype(np.float64))
    for engine in machine.engines:
        found[engine] = error = relative(case.gpu(engine, "cuda:1").adjoint(images), expected)
        if not error < LIMITS[engine]:
            found["wrong"] = f"{engine} on cuda:1 is off by {error:.1e}"


def gradients(machine: Machine, found: Found) -> None:
    """Compare gradients of 1/2 |back-projection|^2, by each way there is, with the exact one."""
    case = Problem(GRADIENT_VOLUME, VIEWS)
    images = noise(case.image_shape)
    cpu = case.cpu()
    exact = cpu.forward(cpu.adjoint(images.astype(np.float64)))
    ways: dict[str, Callable[[], Any]] = {"tomofilt on the GPU": lambda: _by_tomofilt(case, given)}
    if "astra" in machine.engines:
        ways["ASTRA's own pair"] = lambda: _by_astra(case, given)
        ways["tomosipo's to_autograd"] = lambda: _by_tomosipo(case, given)
    for name, way in ways.items():
        given = torch.from_numpy(images).to(machine.device).requires_grad_()
        with told(found, name):
            try:
                found[name] = _beside(way().cpu().numpy().astype(np.float64), exact)
            except ImportError as error:
                found[name] = str(error)
    if not found["tomofilt on the GPU"]["off by"] < LIMITS["triton"]:
        found["wrong"] = "the gradient of torch.ops.tomofilt.backproject is not exact"


def _beside(gradient: Any, exact: Any) -> dict[str, float]:
    """Direction and size of a gradient, and by how much it differs from the exact one."""
    norm = np.linalg.norm
    fine, exact_fine = (np.fft.rfft(g)[..., g.shape[2] // 4 :] for g in (gradient, exact))
    return {
        "cosine": float(np.vdot(gradient, exact) / norm(gradient) / norm(exact)),
        "size": float(norm(gradient) / norm(exact)),
        "size, upper half of the frequencies": float(norm(fine) / norm(exact_fine)),
        "off by": relative(gradient, exact),
        "off by, upper half of the frequencies": relative(fine, exact_fine),
    }


def _by_tomofilt(case: Problem, given: torch.Tensor) -> torch.Tensor:
    volume = backproject(given, torch.from_numpy(case.table), list(case.volume_shape))
    return torch.autograd.grad(0.5 * volume.square().sum(), given)[0]


def _by_tomosipo(case: Problem, given: torch.Tensor) -> torch.Tensor:
    import tomosipo
    from tomosipo.torch_support import to_autograd

    operator = tomosipo.operator(*to_tomosipo(case.slices, case.volume, case.images))
    # its back-projection is the plain sum times a voxel's volume over a pixel's area
    scale = case.volume.voxel_angst
    volume = to_autograd(operator.T)(given.permute(1, 0, 2).contiguous()) / scale
    # and its gradient the forward projection, which is as long as the sum in the same unit
    return torch.autograd.grad(0.5 * volume.square().sum(), given)[0]


def _by_astra(case: Problem, given: torch.Tensor) -> torch.Tensor:
    import astra

    from tomofilt.projectors.vectors import to_astra

    volume_geometry, projection_geometry = to_astra(case.slices, case.volume, case.images)
    number = astra.create_projector("cuda3d", projection_geometry, volume_geometry)
    band = given.detach().permute(1, 0, 2).contiguous()
    volume = band.new_zeros(case.volume_shape)
    seen = torch.zeros_like(band)
    with torch.cuda.device(given.device):
        torch.cuda.synchronize()
        astra.projector3d.direct_BP(number, band, out=volume)
        astra.projector3d.direct_FP(number, volume, out=seen)
    astra.projector3d.delete(number)
    # both in angstrom: once for the sum, once for its gradient
    return seen.permute(1, 0, 2) / case.volume.voxel_angst**2


def rates(machine: Machine, found: Found) -> None:
    """Time the kernels (G updates/s), the card's memory, and the way to the host and back."""
    case = Problem(machine.volume, machine.views)
    tilted = Problem(machine.volume, machine.views, 4.0)
    volume = torch.randn(machine.volume, device=machine.device)
    seconds = machine.seconds(volume.clone)
    found["copy on the card, GB/s read and written"] = 2 * volume.nbytes / seconds / 1e9
    for name, pinned in (("pageable", False), ("pinned", True)):
        host = torch.empty(machine.volume, pin_memory=pinned)
        seconds = machine.seconds(lambda host=host: host.copy_(volume), 1)  # type: ignore[misc]
        found[f"download, {name}, GB/s"] = volume.nbytes / seconds / 1e9
    del host
    images = torch.randn(case.image_shape, device=machine.device)
    for engine, each in product(machine.engines, (case, tilted)):
        name = f"{engine} back{', x tilt 4' if each is tilted else ''}, G/s"
        with told(found, name):
            gpu = each.gpu(engine, machine.device)
            found[name] = each.updates / machine.seconds(lambda: gpu.adjoint(images)) / 1e9  # noqa: B023
    if "triton" in machine.engines:
        from tomofilt.projectors import triton_slice

        gpu = case.gpu("triton", machine.device)
        found["triton forward, G/s"] = (
            case.updates / machine.seconds(lambda: gpu.forward(volume)) / 1e9
        )
        for rows, columns, warps in BLOCKS:
            with (
                mock.patch.object(triton_slice, "BLOCK", (rows, columns)),
                mock.patch.object(triton_slice, "WARPS", warps),
            ):
                back = machine.seconds(lambda: gpu.adjoint(images))
                cast = machine.seconds(lambda: gpu.forward(volume))
            found[f"triton, {rows} x {columns} in {warps} warps, G/s"] = {
                "back": case.updates / back / 1e9,
                "forward": case.updates / cast / 1e9,
            }


def end_to_end(machine: Machine, found: Found) -> None:
    """Run `tomofilt reconstruct` on noise, on the CPU and by each engine; the card's memory."""
    nz, ny, nx = machine.volume
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with MrcWriter(
            folder / "TS_ali.mrc", (machine.views, ny, nx), 10.0, is_volume=False
        ) as writer:
            for view in range(machine.views):
                writer.write(100 + 20 * noise((1, ny, nx), view), z=view)
            writer.commit()
        (folder / "tilt.com").write_text(TILT_COM.format(size=nx, thickness=nz))
        tilts = np.linspace(-60, 60, machine.views)
        (folder / "TS.tlt").write_text("".join(f"{tilt:7.2f}\n" for tilt in tilts))
        ways: dict[str, list[str]] = {
            engine: ["--device", "cuda", "--projector", engine] for engine in machine.engines
        } | {"CPU": ["--device", "cpu"]}
        for way, options in ways.items():
            command = [sys.executable, "-m", "tomofilt", "reconstruct", "--imod-dir", name]
            command += ["-f", "ramp", "--no-preview", "--overwrite", *options]
            for run in ("first", "second"):
                with peak_memory(machine) as peak:
                    start = time.perf_counter()
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    wall = time.perf_counter() - start
                if done.returncode:
                    found["wrong"] = f"{way}: exit code {done.returncode}: {done.stderr[-500:]}"
                found[f"{way}, {run}"] = {"s": wall, "peak of the card, GB": peak[0] / 1e9}


@contextmanager
def peak_memory(machine: Machine) -> Iterator[list[int]]:
    """Most memory of the card, all processes together, that is taken meanwhile, in bytes."""
    peak, over = [0], threading.Event()
    before = torch.cuda.mem_get_info(machine.device)[0]

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], before - torch.cuda.mem_get_info(machine.device)[0])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


#: What is measured, and the seconds that each may take: four minutes in all.
STEPS: dict[Callable[[Machine, Found], None], int] = {
    describe: 5,
    compiling: 40,
    parity: 10,
    gradients: 10,
    memory_failure: 20,
    second_gpu: 10,
    rates: 25,
    end_to_end: 65,
    tests: 55,
}


def main() -> int:
    """Measure, or say what would be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--dry-run", action="store_true")
    chosen = parser.parse_args()
    console = Console(soft_wrap=True, markup=False)
    machine = Machine()
    lacks = {engine: what(0) for engine, what in PROBLEMS.items()}
    if chosen.dry_run:
        for number, (step, seconds) in enumerate(STEPS.items(), 1):
            what = (step.__doc__ or "").strip()
            console.print(f"{number}. {step.__name__}, up to {seconds} s: {what}")
        nz, ny, nx = machine.volume
        console.print(f"Speed: {machine.views} x {ny} x {nx} images, {nx} x {ny} x {nz} voxels.")
        for engine, reason in lacks.items():
            console.print(f"{engine} here: {reason or 'can be called'}")
        return 0
    if all(lacks.values()):
        raise SystemExit(f"no GPU to measure: {lacks['triton']}")
    return run_steps(STEPS, machine, console, chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
