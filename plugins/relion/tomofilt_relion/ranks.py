"""Several processes that share the series of a job, as RELION starts them with mpirun.

They do not talk to each other. Each takes every n-th series and adds its rows to tomograms.star.
How it went, each says in a file of the job's folder, which the first process reads when it is done
itself: it alone tells RELION of the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tomofilt.errors import OutputError

__all__ = ["Rank", "RankFile", "wait_for_others"]

#: Names of a process's number, of how many there are, and of the run, by who starts them.
_NAMES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE"),
    ("PMI_RANK", "PMI_SIZE", "PMI_JOBID"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_ID"),
)
#: A process says so often that it is alive, in seconds; one that is silent so long is not.
_BEATS_EVERY_S, _SILENT_S = 5.0, 120.0


@dataclass(frozen=True)
class Rank:
    """Which of several processes this is.

    Parameters
    ----------
    number, count : int
    run : str
        The same for all of them, and for no others.
    """

    number: int = 0
    count: int = 1
    run: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Rank:
        """Read what mpirun or srun tells its processes; without them, there is one."""
        for number, count, run in _NAMES:
            if number in environment and count in environment:
                name = "".join(c for c in environment.get(run, "") if c.isalnum())
                return cls(int(environment[number]), int(environment[count]), name)
        return cls()

    def path(self, folder: Path, number: int | None = None) -> Path:
        """File in which this process, or another, says how it is."""
        number = self.number if number is None else number
        return folder / f".tomofilt_{self.run}_rank{number}"


class RankFile:
    """Says in a file that a process is alive, and then how it went; a context manager.

    The first process, which reads such files, has none: it removes those of an earlier run.

    Parameters
    ----------
    folder : Path
        The job's.
    rank : Rank

    Attributes
    ----------
    succeeded : bool
        To be set before leaving.
    """

    def __init__(self, folder: Path, rank: Rank) -> None:
        self.rank, self.path, self.succeeded = rank, rank.path(folder), False
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> RankFile:
        if self.rank.number == 0:
            for path in self.path.parent.glob(".tomofilt_*_rank*"):
                if not path.name.startswith(f".tomofilt_{self.rank.run}_"):
                    path.unlink(missing_ok=True)
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("working 0")
        except OSError as error:
            raise OutputError(
                f"{self.path.parent} cannot be written ({error.strerror}): is it the job's folder?"
            ) from error
        self._beat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.rank.number == 0:
            return
        self._over.set()
        self._beat.join()
        done = self.succeeded and error is None
        self.path.write_text("succeeded" if done else "failed")

    def _keep_beating(self) -> None:
        beats = 0
        while not self._over.wait(_BEATS_EVERY_S):
            beats += 1
            self.path.write_text(f"working {beats}")


def wait_for_others(folder: Path, rank: Rank, silent_s: float = _SILENT_S) -> bool:
    """Wait until every other process has said how it went.

    Returns
    -------
    bool
        Whether all succeeded. One that has not moved for ``silent_s`` is taken for dead.
    """
    heard: dict[int, tuple[str, float]] = {}
    while True:
        states = {}
        for number in range(rank.count):
            if number == rank.number:
                continue
            path = rank.path(folder, number)
            text = path.read_text() if path.exists() else ""
            if number not in heard or heard[number][0] != text:
                heard[number] = text, time.monotonic()
            silent = time.monotonic() - heard[number][1] > silent_s
            states[number] = text if text in ("succeeded", "failed") else "failed" * silent
        if all(states.values()):
            for number in states:
                rank.path(folder, number).unlink(missing_ok=True)
            return all(state == "succeeded" for state in states.values())
        time.sleep(min(0.5, silent_s / 4))
