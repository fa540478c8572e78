"""Options for many series: several at a time, on a cluster, while the microscope runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tomofilt.cli.options import RUN
from tomofilt.cli.values import whole

CLUSTER = "Several at a time"

Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Let a series that should be looked at count as failed: exit code 1.",
        rich_help_panel=RUN,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        parser=whole("a whole number of workers, 1 or more", least=1),
        help="Reconstruct so many series at a time: on this machine, or with --cluster as jobs of "
        "the site's scheduler.",
        rich_help_panel=CLUSTER,
    ),
]
Cluster = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE.toml",
        help="Start the workers through SLURM, PBS, LSF, SGE or HTCondor: the file says which, and "
        "the queue, cores, memory and time of each (docs/cluster.md).",
        rich_help_panel=CLUSTER,
    ),
]
DaskScheduler = Annotated[
    str | None,
    typer.Option(
        "--dask-scheduler",
        metavar="ADDRESS",
        help="Use the workers of a Dask scheduler that runs already: tcp://HOST:PORT.",
        rich_help_panel=CLUSTER,
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Wait for further series, and for better alignments, while the microscope runs. Ends "
        "with --idle, Ctrl-C, or a file named stop in the output folder.",
        rich_help_panel=RUN,
    ),
]
Idle = Annotated[
    str | None,
    typer.Option(
        "--idle",
        metavar="TIME",
        help="With --watch: end when nothing new came for so long: 90s, 30m, 2h.",
        rich_help_panel=RUN,
    ),
]
Nth = Annotated[
    int | None,
    typer.Option(
        "--nth",
        metavar="N",
        parser=whole("a whole number, 1 or more", least=1),
        help="Reconstruct only the N-th of these series, and do not tell the project: for the "
        "elements of an array job (see tomofilt submit).",
        rich_help_panel=CLUSTER,
    ),
]
