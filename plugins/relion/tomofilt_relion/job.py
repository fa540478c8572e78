"""A job of RELION's pipeline: how RELION starts it, and the files by which it is told of the end.

RELION runs ``EXE --o External/job010/ --in_mics FILE --label value ... --j N`` in the project's
folder and forgets about it. The state of the job is known from empty files in its folder alone:
``RELION_JOB_EXIT_SUCCESS``, ``_FAILURE`` or ``_ABORTED``; ``RELION_JOB_ABORT_NOW`` asks it to stop.
"""

from __future__ import annotations

import difflib
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tomofilt.errors import InputError, OutputError
from tomofilt.io.files import write_text_atomic
from tomofilt.util.signals import interrupt_main_thread
from tomofilt_relion.projections import Projection
from tomofilt_relion.ranks import Rank, wait_for_others

if TYPE_CHECKING:
    from tomofilt.jobs.many import Outcome

__all__ = ["JobAborted", "JobControl", "JobReporter", "Request", "control_folder", "split_labels"]

#: How often the request to stop is looked for, in seconds.
_LOOKS_EVERY_S = 0.5

Label = tuple[str, tuple[str, ...]]

_FOLDER, _CONTROL = "--o", "--pipeline-control"
_INPUTS = ("--in-mics", "--in-movies", "--in-tomograms", "--t", "--i", "--relion-star")
_OTHER_NAMES = {"--j": "--threads", "-j": "--threads", "-f": "--filter"}
_SIZES = ("--w", "--h", "--d")
_OFFSET = "--tiltangle-offset"
_ORIGIN = ("--x0", "--y0", "--z0")
_GPU = "--gpu"
_PROJECTION = "--do-proj"
_PROJECTED = {"--centre-proj": "centre", "--thickness-proj": "thickness"}
#: Options of relion_tomo_reconstruct_tomogram that ask for something tomofilt does too.
_MEANING = {
    "--generate-split-tomograms": ("--halves", "frames"),
    "--ctf": ("--ctf", "wiener"),
    "--noctf": ("--ctf", "none"),
    "--no-weight": ("--filter", "none", "--normalise", "count", "--projector", "direct"),
}
#: Those that have no meaning here, with the number of their values.
_WITHOUT_MEANING = {
    "--fourier": 0,
    "--lambda": 1,
    "--ctf-intact-first-peak": 0,
    "--snr": 1,
    "--skip-wiener": 0,
    "--pre-weight": 0,
    "--fc": 0,
    "--keep-mean": 0,
    "--bfactor-per-edose": 1,
    "--td": 1,  # images are tapered anyway
    "--tf": 1,
}


class JobAborted(KeyboardInterrupt):
    """RELION asked the job to stop."""


def split_labels(arguments: Iterable[str]) -> list[Label]:
    """Labels of a command line in one spelling (``--in-mics``), each with its values."""
    labels: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if re.match(r"--?[A-Za-z]", argument):
            name, equals, value = argument.partition("=")
            if name.startswith("--"):
                name = name.replace("_", "-").lower()
            labels.append((name, [value] if equals else []))
        elif labels:
            labels[-1][1].append(argument)
        else:
            raise InputError(f"{argument!r} stands before the first label of the command line")
    return [(name, tuple(values)) for name, values in labels]


def control_folder(labels: Iterable[Label]) -> Path:
    """Folder that RELION watches.

    Raises
    ------
    InputError
        The command line names none.
    """
    given = dict(labels)
    for name in (_CONTROL, _FOLDER):
        if len(given.get(name, ())) == 1:
            return Path(given[name][0])
    raise InputError("the folder of the job is missing: RELION gives it as --o External/job010/")


@dataclass(frozen=True)
class Request:
    """What RELION's command line asks for.

    Parameters
    ----------
    folder : Path
        The job's folder.
    options : tuple of str
        The same as arguments of ``tomofilt reconstruct``.
    tilt_offset_deg : float
        Added to every tilt angle.
    projection : Projection, optional
        Slices of each tomogram to sum up as well.
    without_meaning : tuple of str
        Options that were accepted and do nothing.
    """

    folder: Path
    options: tuple[str, ...]
    tilt_offset_deg: float = 0.0
    projection: Projection | None = None
    without_meaning: tuple[str, ...] = ()

    @classmethod
    def read(cls, labels: Sequence[Label], known: Mapping[str, int | None]) -> Request:
        """Translate a command line.

        Parameters
        ----------
        labels : sequence
            From :func:`split_labels`.
        known : mapping
            Options of ``tomofilt reconstruct``, with the number of their values, None for any.

        Raises
        ------
        InputError
            A label is unknown, or lacks its value, or an input is missing.
        """
        taken = _Translation(known)
        for name, values in labels:
            taken.label(_OTHER_NAMES.get(name, name), values)
        if taken.folder is None:
            raise InputError("the folder of the job is missing: give it as --o External/job010/")
        if taken.star is None:
            raise InputError(
                "the tilt series are missing: type the path of aligned_tilt_series.star into "
                "'Input micrographs', or give it as --in_tomograms"
            )
        return cls(
            taken.folder,
            ("--relion-star", taken.star, "--output-dir", str(taken.folder), *taken.all_options()),
            taken.tilt_offset_deg,
            Projection(**taken.projected) if taken.projects else None,
            tuple(taken.without_meaning),
        )


@dataclass
class _Translation:
    known: Mapping[str, int | None]
    folder: Path | None = None
    star: str | None = None
    tilt_offset_deg: float = 0.0
    projects: bool = False
    projected: dict[str, int] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)
    sizes: dict[str, str] = field(default_factory=dict)
    without_meaning: list[str] = field(default_factory=list)

    def label(self, name: str, values: Sequence[str]) -> None:
        if name in (_FOLDER, _CONTROL, _OFFSET, *_ORIGIN, *_PROJECTED, *_INPUTS, *_SIZES):
            _check_count(name, values, 1)
            self._own(name, values[0])
        elif name == _PROJECTION:
            _check_count(name, values, 0)
            self.projects = True
        elif name == _GPU:  # an empty value asks for any GPU, which is the default
            named = ",".join(values).replace(":", ",")
            self.options += ("--device", f"cuda:{named}") if named else ()
        elif name in _MEANING and not (values and name in self.known):
            _check_count(name, values, 0)
            self.options += _MEANING[name]
        elif name in _WITHOUT_MEANING:
            _check_count(name, values, _WITHOUT_MEANING[name])
            self.without_meaning.append(name)
        elif name in self.known:
            _check_count(name, values, self.known[name])
            if self.known[name] is None:
                self.options += [part for value in values for part in (name, value)]
            else:
                self.options += [name, *values]
        else:
            self._refuse(name)

    def _own(self, name: str, value: str) -> None:
        if name == _FOLDER:
            self.folder = Path(value)
        elif name == _OFFSET:
            self.tilt_offset_deg = _number(value, "--tiltangle_offset", "no angle")
        elif name in _ORIGIN:
            if _number(value, name, "no position"):
                raise InputError(
                    f"{name} {value} would move the tomogram against the particles that later jobs "
                    "find in it: leave it out, or give 0"
                )
        elif name in _PROJECTED:
            what = f"{name.replace('-proj', '_proj')}"
            self.projected[_PROJECTED[name]] = round(_number(value, what, "no number of slices"))
        elif name in _SIZES:
            self.sizes[name] = value
        elif name in _INPUTS:
            if self.star not in (None, value):
                raise InputError(f"two inputs are given, {self.star} and {value}: give one of them")
            self.star = value

    def all_options(self) -> list[str]:
        """Return the options with RELION's --w, --h and --d among them."""
        sizes = [self.sizes.get(name) for name in _SIZES]
        if all(sizes):
            return [*self.options, "--shape", *(size for size in sizes if size)]
        if sizes[0] or sizes[1]:
            raise InputError("--w, --h and --d belong together: give all three, or --d alone")
        return [*self.options, "--thickness-px", sizes[2]] if sizes[2] else self.options

    def _refuse(self, name: str) -> None:
        own = (*_SIZES, _OFFSET, _PROJECTION, *_PROJECTED, _GPU)
        names = sorted({*_INPUTS[:3], *own, *_MEANING, *self.known})
        names = [known for known in names if known.startswith("--")]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(f"there is no option {name}.{hint} Options: {', '.join(names)}")


def _number(value: str, name: str, what: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"{name} {value} is {what}") from None


def _check_count(name: str, values: Sequence[str], wanted: int | None) -> None:
    if len(values) == wanted or (wanted is None and values):
        return
    if wanted == 0:
        raise InputError(
            f"{name} takes no value, but {' '.join(values)!r} was given: leave it empty"
        )
    expected = "a value" if wanted in (1, None) else f"{wanted} values"
    raise InputError(f"{name} needs {expected}, but {' '.join(values)!r} was given")


class JobControl:
    """The marker files of a job; a context manager that leaves the right one behind.

    While it is entered, a thread looks for RELION's request to stop, whatever the job is doing.

    Parameters
    ----------
    folder : Path
        Folder that RELION watches.
    rank : Rank, optional
        Which of several processes this is. The first waits for the others and leaves the marker;
        the others leave none.

    Attributes
    ----------
    succeeded : bool
        To be set before leaving.
    """

    def __init__(self, folder: Path, rank: Rank | None = None) -> None:
        self.folder, self.rank = folder, rank or Rank()
        self.succeeded = False
        self._asked = False
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> JobControl:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for state in ("SUCCESS", "FAILURE", "ABORTED") if self.rank.number == 0 else ():
                (self.folder / f"RELION_JOB_EXIT_{state}").unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written ({error.strerror}): is it the job's folder?"
            ) from error
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = isinstance(error, KeyboardInterrupt)
        self._over.set()
        try:
            self._watcher.join()
        except KeyboardInterrupt:  # asked for at the last moment
            stopped = True
        if self.rank.number == 0:
            self._leave_marker(stopped, error)
        if stopped and self._asked:
            raise JobAborted(f"{self._request} asked the job to stop") from error

    def _leave_marker(self, stopped: bool, error: BaseException | None) -> None:
        if self.rank.count > 1 and not wait_for_others(self.folder, self.rank):
            self.succeeded = False
        stopped = stopped or (self._request.exists() and not self.succeeded)
        if stopped:
            state = "ABORTED"
            # a rerun by hand is not to stop at once; RELION removes it itself
            self._request.unlink(missing_ok=True)
        else:
            state = "SUCCESS" if self.succeeded and error is None else "FAILURE"
        (self.folder / f"RELION_JOB_EXIT_{state}").touch()

    @property
    def _request(self) -> Path:
        return self.folder / "RELION_JOB_ABORT_NOW"

    def _watch(self) -> None:
        while not self._over.is_set():
            if self._request.exists():
                self._asked = True
                interrupt_main_thread()
                return
            self._over.wait(_LOOKS_EVERY_S)

    def write_nodes(self, star: str) -> None:
        """Tell RELION of the set of tomograms that the next job can use.

        Parameters
        ----------
        star : str
            Path from the project's folder.
        """
        write_text_atomic(
            self.folder / "RELION_OUTPUT_NODES.star",
            "data_output_nodes\n\nloop_\n_rlnPipeLineNodeName #1\n_rlnPipeLineNodeTypeLabel #2\n"
            f"{star} TomogramGroupMetadata.star.relion.tomo.reconstruct\n",
            replace=True,
        )


class JobReporter:
    """Writes what happens to run.out and run.err (a :class:`~tomofilt.jobs.many.BatchReporter`)."""

    def __init__(self) -> None:
        self._name = ""
        self._said = (0.0, 0.0)

    def start(self, name: str, number: int, count: int) -> None:
        """Name the series that is worked on."""
        self._name = f"{name} ({number} of {count})"
        self._said = (time.monotonic(), 0.0)

    def note(self, message: str) -> None:
        """Print a line."""
        print(message, flush=True)

    def progress(self, done: int, total: int) -> None:
        """Print a line now and then."""
        said_at, said = self._said
        now, fraction = time.monotonic(), done / total
        if now - said_at >= 10 and fraction - said >= 0.1:
            self._said = (now, fraction)
            self.note(f"{self._name}: {fraction:.0%}")

    def finish(self, outcome: Outcome) -> None:
        """Say how the series ended."""
        from tomofilt.jobs.many import explain

        if outcome.error is None:
            self.note(f"{self._name}: done, {outcome.verdict}")
            for flag in outcome.flags:
                self.note(f"  {flag.sentence}: {flag.mend}")
        else:
            print(f"tomofilt: {outcome.name}: {explain(outcome.error)[0]}", file=sys.stderr)
