"""A training from its cases to the bundle, its log and its picture."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tomofilt.draw.png import refuse_foreign_png
from tomofilt.errors import InputError, OutputError, OutputExistsError, ResourceError
from tomofilt.filters.learned import LearnedFilter, RadialNodes, fit, read_filter
from tomofilt.filters.protocol import Filter, FilterContext
from tomofilt.filters.registry import parse
from tomofilt.filters.transfer import for_series
from tomofilt.io.bundle import SUFFIX, check_place, load_bundle, save_bundle
from tomofilt.io.files import read_input, write_text_atomic
from tomofilt.training.cases import Cases, check_cases
from tomofilt.training.closed_form import Solution, mean_psnr_db, solve
from tomofilt.training.gradient import Coefficients, Descent, Frozen, Schedule, descend
from tomofilt.training.losses import Loss
from tomofilt.training.model import FilteredBackProjection, Padding
from tomofilt.training.parametrisation import NODES, ORDER, Parametrisation, empty_filter
from tomofilt.util.memory import memory_limit
from tomofilt.util.threads import available_threads

__all__ = ["Outputs", "Reporter", "Result", "Training", "beginning", "train"]

Float64 = NDArray[np.float64]
log = logging.getLogger(__name__)

# How tomofilt's own files begin.
_LOG_BEGINS = re.compile(rb'\{"(step|shrinkage)": |$')
_CHECKPOINT_BEGINS = re.compile(rb'.{8}\{"__metadata__":\{"tomofilt":', re.DOTALL)


class Reporter(Protocol):
    """Whoever shows how far a training is; what there is to say about it is logged."""

    def describe(self, text: str) -> None:
        """What the progress bar says."""

    def progress(self, done: int, total: int) -> None:
        """Work units finished so far."""


@dataclass(frozen=True)
class Training:
    """Everything a user can choose about a training.

    Parameters
    ----------
    parametrisation, nodes, order
        See :func:`~tomofilt.training.parametrisation.empty_filter`.
    init : str
        Where AdamW begins: a filter by name, ``"radial-ramp"``, ``"zero"``, or a bundle.
    padding : "reflect", "zero" or "none"
    loss : Loss
    solver : "auto", "closed-form" or "adamw"
        "auto": in closed form where the loss is quadratic in the coefficients.
    iterations : int
        Products with the normal matrix, of the closed form.
    schedule : Schedule
        Of AdamW.
    frozen : "none", "tilt" or "camera"
        The factor of a factorised filter that stays as it is.
    """

    parametrisation: Parametrisation = "per-tilt"
    nodes: int | None = NODES
    order: int = ORDER
    init: str = "ramp"
    padding: Padding = "reflect"
    loss: Loss = field(default_factory=Loss)
    solver: Literal["auto", "closed-form", "adamw"] = "auto"
    iterations: int = 25
    schedule: Schedule = field(default_factory=Schedule)
    frozen: Frozen = "none"

    @property
    def by_descent(self) -> bool:
        """Whether AdamW does the work.

        Raises
        ------
        InputError
            The closed form is asked for what has none, or something is frozen that is no factor.
        """
        if self.frozen != "none" and self.parametrisation != "factorised":
            raise InputError(
                f"only a factorised filter has a part to freeze, not {self.parametrisation}"
            )
        linear = self.loss.is_quadratic and self.parametrisation != "factorised"
        if self.solver == "closed-form" and not linear:
            raise InputError(
                "the closed form is for mean squared errors without total variation and for "
                "filters that are no products: give --solver adamw"
            )
        return self.solver == "adamw" or not linear


@dataclass(frozen=True)
class Outputs:
    """The files of a training.

    Parameters
    ----------
    bundle : Path
        ``NAME.tomofilt.safetensors``; the others are beside it.
    licence, citation : str
        What the bundle says about passing it on, and what to cite for it.
    """

    bundle: Path
    licence: str = "not stated"
    citation: str = "not stated"

    def __post_init__(self) -> None:
        check_place(self.bundle)

    def _beside(self, ending: str) -> Path:
        return self.bundle.with_name(self.bundle.name.removesuffix(SUFFIX) + ending)

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self._beside(".jsonl")

    @property
    def picture(self) -> Path:
        """Learning curve and gains."""
        return self._beside(".png")

    @property
    def checkpoint(self) -> Path:
        """Of an unfinished descent."""
        return self._beside(".checkpoint.safetensors")


@dataclass(frozen=True, eq=False)
class Result:
    """What a training has found.

    Attributes
    ----------
    filter : LearnedFilter
    metrics : mapping
        PSNR in dB of held-out series, by set and filter.
    curve : sequence of mappings
        What the log holds: validations of AdamW, or trials of the shrinkage.
    """

    filter: LearnedFilter
    metrics: dict[str, Any]
    curve: Sequence[dict[str, Any]]


def train(
    cases: Cases,
    wanted: Training,
    outputs: Outputs,
    reporter: Reporter,
    *,
    resume: bool = False,
    overwrite: bool = False,
    max_memory_bytes: int | None = None,
) -> Result:
    """Train a filter and write its bundle, log and picture.

    Parameters
    ----------
    cases : Cases
    wanted : Training
    outputs : Outputs
    reporter : Reporter
    resume : bool
        Go on from the checkpoint of a training that was interrupted.
    overwrite : bool
        Replace what an earlier training left.
    max_memory_bytes : int, optional
        Default: what the machine has free.

    Raises
    ------
    InputError
        Options contradict each other, or the cases cannot be used.
    ResourceError
        They do not fit into memory.
    OutputExistsError
        There is a bundle or a checkpoint of that name already.
    """
    import torch

    # torch counts cores, whatever the process may use of them
    torch.set_num_threads(available_threads())
    by_descent = wanted.by_descent
    _refuse_occupied(outputs, resume=resume, overwrite=overwrite)
    check_cases(cases)
    empty = empty_filter(wanted.parametrisation, cases.train[0], wanted.nodes, wanted.order)
    _check_memory(cases, empty, max_memory_bytes)
    models = {
        purpose: [FilteredBackProjection(case, empty, wanted.padding) for case in chosen]
        for purpose, chosen in (("train", cases.train), ("validation", cases.validation))
    }
    log.info(
        f"{empty.coefficients.size} coefficients ({wanted.parametrisation}) from "
        f"{len(cases.train)} series, {len(cases.validation)} for validation, "
        f"{len(cases.test)} to test, by {'AdamW' if by_descent else 'the closed form'}"
    )
    if by_descent:
        found = _descend(models, empty, cases, wanted, outputs, reporter, resume)
        coefficients, curve = found.best, found.history
    else:
        solution = _solve(models, empty, cases, wanted, reporter)
        coefficients = solution.coefficients
        curve = [{"shrinkage": s, "psnr_db": psnr} for s, psnr in solution.trials]
    filter_ = replace(
        empty,
        coefficients=coefficients.astype(np.float32),
        name=outputs.bundle.name.removesuffix(SUFFIX),
    )
    metrics = _metrics(cases, models["validation"], filter_, wanted)
    result = Result(filter_, metrics, curve)
    _write(result, cases, wanted, outputs, overwrite=overwrite)
    if metrics["test_psnr_db"]:
        told = ", ".join(f"{name} {psnr:.2f}" for name, psnr in metrics["test_psnr_db"].items())
        log.info(f"PSNR of {len(cases.test)} test series, dB: {told}")
    outputs.checkpoint.unlink(missing_ok=True)
    return result


def _refuse_occupied(outputs: Outputs, *, resume: bool, overwrite: bool) -> None:
    unfinished = outputs.checkpoint.exists()
    if overwrite:
        refuse_foreign_png(outputs.picture)
        for path, begin in ((outputs.log, _LOG_BEGINS), (outputs.checkpoint, _CHECKPOINT_BEGINS)):
            if path.exists() and not begin.match(read_input(path)):
                raise OutputExistsError(
                    f"{path} exists and tomofilt did not make it: move it away, or choose another "
                    "name"
                )
    if overwrite and outputs.bundle.exists():
        load_bundle(outputs.bundle)  # refuses what is none of tomofilt's
    elif unfinished and not (resume or overwrite):
        raise OutputExistsError(
            f"{outputs.checkpoint} is left of an unfinished training: give --resume to go on "
            "with it, or --overwrite to start again"
        )
    else:
        for path in (outputs.bundle, outputs.picture, outputs.log):
            if path.exists() and not (unfinished and path == outputs.log):
                raise OutputExistsError(
                    f"{path} exists already: choose another name, or give --overwrite to replace "
                    "an earlier training"
                )
    if overwrite:
        outputs.checkpoint.unlink(missing_ok=True)


def _check_memory(cases: Cases, empty: LearnedFilter, allowed: int | None) -> None:
    """Refuse what does not fit, before hours are spent."""
    largest = held = 0
    for case in cases.all:
        ny, nx = case.problem.frame.grid.shape
        image_bytes = 4 * len(case.problem.frame.slices.a) * ny * nx
        held += image_bytes + 4 * case.truth.size
        if case not in cases.test:
            held += int(1.5 * (1 + 64 / ny) * image_bytes)  # spectra
        slab = 128 * case.truth.shape[0] * nx * 4
        largest = max(largest, 8 * image_bytes + 4 * slab)
    needed = held + largest + 30 * 8 * empty.coefficients.size
    if allowed is None:
        allowed = _free_bytes()
    if allowed is not None and needed > allowed:
        raise ResourceError(
            f"this training needs about {needed / 1e9:.1f} GB of memory, and there are "
            f"{allowed / 1e9:.1f}: train on fewer series, or on larger voxels (--downsample)"
        )


def _free_bytes() -> int | None:
    known = [_available_bytes(), (memory_limit() or (None,))[0]]
    return min((each for each in known if each is not None), default=None)


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * found[0] if found else None


def _solve(
    models: dict[str, list[FilteredBackProjection]],
    empty: LearnedFilter,
    cases: Cases,
    wanted: Training,
    reporter: Reporter,
) -> Solution:
    reporter.describe("solving")
    most, done = 2 * wanted.iterations, 0

    def advance() -> None:
        nonlocal done
        done += 1
        reporter.progress(min(done, most), most)

    solution = solve(
        models["train"],
        models["validation"],
        empty,
        empty_filter("radial", cases.train[0], NODES),
        iterations=wanted.iterations,
        advance=advance,
    )
    psnr = max(psnr for _, psnr in solution.trials)
    log.info(
        f"{solution.iterations} iterations, residual {solution.residual:.1e}, shrinkage "
        f"{solution.shrinkage:g}: validation PSNR {psnr:.2f} dB"
    )
    return solution


def _descend(
    models: dict[str, list[FilteredBackProjection]],
    empty: LearnedFilter,
    cases: Cases,
    wanted: Training,
    outputs: Outputs,
    reporter: Reporter,
    resume: bool,
) -> Descent:
    start = beginning(wanted.init, empty, cases.train[0].problem.filter_context)
    coefficients = Coefficients(
        start, factorised=wanted.parametrisation == "factorised", frozen=wanted.frozen
    )
    digests = [dict(model.case.digests) for each in models.values() for model in each]
    fingerprint = sha256(json.dumps([asdict(wanted), digests]).encode()).hexdigest()

    def advance(state: Descent) -> None:
        last = state.history[-1]
        reporter.describe(f"loss {last['loss']:.4f}, validation PSNR {last['psnr_db']:.2f} dB")
        reporter.progress(state.step, wanted.schedule.steps)
        _write_log(outputs, state.history)

    state = descend(
        models["train"],
        models["validation"],
        coefficients,
        wanted.loss,
        wanted.schedule,
        checkpoint=outputs.checkpoint,
        fingerprint=fingerprint,
        resume=resume,
        advance=advance,
    )
    log.info(
        f"{state.step} steps, loss {state.history[-1]['loss']:.4f}; the best validation PSNR, "
        f"{state.best_psnr_db:.2f} dB, was at step {state.best_step}"
    )
    return state


def beginning(init: str, empty: LearnedFilter, context: FilterContext) -> Float64:
    """Coefficients that make the filter where AdamW begins; see :class:`Training`."""
    if init == "zero":
        return np.zeros(empty.coefficients.shape)
    if init.endswith(SUFFIX):
        learned = read_filter(Path(init))
        chosen: Filter = for_series(learned, context.tilt_deg, context.pixel_angst)
    elif init == "radial-ramp":
        nodes = RadialNodes(np.array([empty.nodes.highest_k]))
        chosen = LearnedFilter("radial-ramp", "shared", nodes, empty.tilt_deg, np.ones((1, 1)))
    else:
        chosen = parse(init)
    return np.asarray(fit(chosen, empty, context).coefficients)


def _metrics(
    cases: Cases,
    validation: Sequence[FilteredBackProjection],
    filter: LearnedFilter,
    wanted: Training,
) -> dict[str, Any]:
    """PSNR of held-out series by the filter and, to compare with, by the ramp."""
    values = np.asarray(filter.coefficients)
    test = [FilteredBackProjection(case, filter, wanted.padding) for case in cases.test]
    metrics: dict[str, Any] = {"validation_psnr_db": mean_psnr_db(validation, values)}
    metrics["test_psnr_db"] = {}
    if test:
        ramp = np.mean([case.psnr_db(case.tomogram("ramp")) for case in cases.test])
        metrics["test_psnr_db"] = {"learned": mean_psnr_db(test, values), "ramp": float(ramp)}
    return metrics


def _write(
    result: Result,
    cases: Cases,
    wanted: Training,
    outputs: Outputs,
    *,
    overwrite: bool,
) -> None:
    from tomofilt.draw.learned import draw

    metadata = {
        "training": {
            **asdict(wanted),
            "solver": "adamw" if wanted.by_descent else "closed-form",
            **{
                purpose: [case.facts() for case in getattr(cases, purpose)]
                for purpose in ("train", "validation", "test")
            },
        },
        "metrics": result.metrics,
        "licence": outputs.licence,
        "citation": outputs.citation,
    }
    # the bundle first: nothing else that cannot be written is to cost it
    save_bundle(outputs.bundle, result.filter.to_bundle(metadata), overwrite=overwrite)
    try:
        _write_log(outputs, result.curve)
        draw(outputs.picture, result.filter, cases.train[0].problem.filter_context, result.curve)
    except OutputError as error:
        log.info("  note: the bundle is finished, but not all that goes with it: %s", error)


def _write_log(outputs: Outputs, curve: Sequence[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(entry) + "\n" for entry in curve)
    write_text_atomic(outputs.log, lines, replace=True)
