"""From the options of `tomofilt train` to a training and its tilt series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tomofilt.errors import InputError

if TYPE_CHECKING:
    from tomofilt.training.cases import Cases
    from tomofilt.training.supervised import Training

__all__ = ["cases_of", "training_of"]


def training_of(values: dict[str, Any]) -> Training:
    """What is learned and how.

    Raises
    ------
    InputError
        A value is none of those there are.
    """
    from tomofilt.training.gradient import Schedule
    from tomofilt.training.losses import Loss
    from tomofilt.training.supervised import Training

    for name in ("huber_delta", "lr"):
        if not values[name] > 0:
            raise InputError(f"--{name.replace('_', '-')} {values[name]:g} is not positive")
    kept = "huber_delta tv_volume tv_filter tv_projections tv_kind"
    schedule = "steps lr weight_decay patience seed"
    same = "parametrisation order init padding solver iterations"
    return Training(
        nodes=_nodes(values["nodes"]),
        loss=Loss(values["loss"], **{name: values[name] for name in kept.split()}),
        schedule=Schedule(**{name: values[name] for name in schedule.split()}),
        frozen=values["freeze"],
        **{name: values[name] for name in same.split()},
    )


def _nodes(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit():
        raise InputError(f"--nodes {text}: give a number of frequencies, or all")
    return int(text)


def cases_of(values: dict[str, Any]) -> Cases:
    """The series to train on, from one of the sources.

    Raises
    ------
    InputError
        No source is given, or several; or what it holds cannot be trained on.
    """
    from tomofilt.training import cases

    given = [name for name in ("simulate", "shrec", "pairs") if values[name] is not None]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none"
        raise InputError(f"give one of --simulate, --shrec and --pairs to train on, not {found}")
    if values["pairs"]:
        return cases.cases_from_table(values["pairs"])
    if values["shrec"]:
        from tomofilt.training.shrec import shrec_cases

        lists = {
            name: _models(f"--{name}-models", values[f"{name}_models"])
            for name in ("train", "validation", "test")
        }
        return shrec_cases(values["shrec"], **lists, downsample=values["downsample"])
    from tomofilt.cli.simulate import parse_angles

    nx, ny, nz = values["shape"]
    return cases.simulated_cases(
        values["simulate"],
        seed=values["seed"],
        shape=(nz, ny, nx),
        pixel_angst=values["pixel_size"],
        tilt_deg=parse_angles(values["tilts"]),
        snr=values["snr"],
    )


def _models(option: str, text: str) -> tuple[int, ...]:
    """Numbers of SHREC's models, 0 to 9, from a list such as ``"1-3,7"``."""
    numbers: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise InputError(f"{option} {text}: {part!r} is no model and no range: give 1-3,7")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(numbers))
