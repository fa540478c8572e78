"""The overview of a session: a row a series, the worst first, as a page and as a table."""

from __future__ import annotations

import base64
import csv
import io
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tomofilt import __version__
from tomofilt.errors import InputError, OutputExistsError, TomofiltError
from tomofilt.io.files import write_text_atomic
from tomofilt.io.record import Record, is_record
from tomofilt.jobs.explain import explain
from tomofilt.jobs.finished import known_record
from tomofilt.jobs.session import Row
from tomofilt.series.projects import Destination

if TYPE_CHECKING:
    from jinja2 import Template

    from tomofilt.jobs.many import Job, Outcome

__all__ = ["Overview", "records_below"]

log = logging.getLogger(__name__)
NAME = "tomofilt_session"
_GENERATOR = "tomofilt overview"
#: The page is not written more often than this.
_EVERY_SECONDS = 10.0
#: Width of a small picture, in its pixels; a thousand of them have to fit into 15 MB.
_THUMBNAIL_PX, _QUALITY = 150, 45
#: A small picture in the page, and the tomogram that it is of.
_PICTURE = re.compile(r'data-of="([^"]+)" src="(data:image/jpeg;base64,[^"]+)"')


class _Column(NamedTuple):
    """A number of a row, as the page shows it."""

    name: str
    title: str
    unit: str = ""
    format: str = "%.0f"


_COLUMNS = (
    _Column("specimen_angst", "specimen", "A"),
    _Column("box_angst", "box", "A"),
    _Column("snr_low", "SNR low", "", "%.2g"),
    _Column("snr_middle", "SNR middle", "", "%.2g"),
    _Column("snr_high", "SNR high", "", "%.2g"),
    _Column("signal_to_angst", "signal to", "A"),
    _Column("neighbours_agree", "neighbours agree"),
    _Column("denoising_strength", "denoising", "", "%.2f"),
    _Column("views", "views"),
    _Column("excluded", "left out"),
    _Column("seconds", "time", "s", "%.1f"),
)


class _Entry(NamedTuple):
    """A row with its picture, and what the picture is of: the tomogram's content."""

    row: Row
    picture: str = ""
    picture_of: str = ""


class Overview:
    """Collects rows, and writes them to ``tomofilt_session.html`` and ``.csv``.

    Parameters
    ----------
    folder : Path
        Where the two files go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, _Entry] = {}
        self._pictures = _pictures_in(self._page)
        self._written = -_EVERY_SECONDS
        self._said = ""

    @property
    def _page(self) -> Path:
        return self.folder / f"{NAME}.html"

    @classmethod
    def of(cls, jobs: Sequence[Job], outcomes: Iterable[Outcome] = ()) -> Overview | None:
        """The overview of some jobs, in their common output folder; None if they have none.

        Outcomes are those of jobs that are done already.
        """
        parents: list[str] = []
        for job in jobs:
            try:
                volume = job.project.destination(job.name, job.output_dir).volume
            except TomofiltError:
                continue
            parents.append(str((job.output_dir or volume.parent).absolute()))
        try:
            overview = cls(Path(os.path.commonpath(parents)))
        except ValueError:  # nothing in common, on Windows, or no series at all
            return None
        for outcome in outcomes:
            overview.add(outcome)
        return overview

    def add(self, outcome: Outcome) -> None:
        """Take up how a series ended; one of the same name and place is replaced."""
        name, destination, error = outcome.name, outcome.destination, outcome.error
        if error is not None:
            where = self._place(destination) if destination else ""
            message = explain(error)[0].removeprefix(f"{name}: ")
            seconds = round(outcome.seconds, 1)
            row = Row(series=name, state="failed", message=message, seconds=seconds)
            self._entries[where or name] = _Entry(row)
        elif destination is not None and outcome.result is not None:
            record = outcome.result.record or known_record(destination.record)
            # of a finished one the time that counts is that of making it: the record's
            made = not outcome.result.skipped
            if record is not None:
                self.add_record(record, destination, outcome.seconds if made else None)

    def add_record(
        self, record: Record, destination: Destination, seconds: float | None = None
    ) -> None:
        """Take up a finished tomogram from its record."""
        where = self._place(destination)
        row = Row.of_record(record, where, seconds)
        content = f"{record.fingerprint}-{record.output.data}"
        picture = self._pictures.get(content) or _thumbnail(destination.preview, record)
        self._entries[where] = _Entry(row, picture, content)

    def _place(self, destination: Destination) -> str:
        return Path(os.path.relpath(destination.volume, self.folder)).as_posix()

    def write_now_and_then(self) -> None:
        """Write the files, unless that was done a moment ago."""
        if time.monotonic() - self._written >= _EVERY_SECONDS:
            self.write()

    def write(self) -> Path | None:
        """Write the files; the page's path.

        A failure is said and does no harm: the records have everything. Nothing is written, and
        None returned, where there is no such folder.
        """
        self._written = time.monotonic()
        page = self._page
        if not self.folder.is_dir() or not self._entries:
            return None
        entries = sorted(self._entries.values(), key=lambda entry: entry.row.rank)
        try:
            _refuse_foreign(page, f'name="generator" content="{_GENERATOR}')
            # other versions of tomofilt have other columns behind these
            _refuse_foreign(page.with_suffix(".csv"), ",".join(Row.columns()[:3]))
            write_text_atomic(page.with_suffix(".csv"), _csv(e.row for e in entries), replace=True)
            write_text_atomic(page, _html(self.folder, entries), replace=True)
        except TomofiltError as error:
            if str(error) != self._said:
                log.warning("note: there is no overview of this session: %s", error)
            self._said = str(error)
            return None
        return page


def records_below(folder: Path) -> list[tuple[Record, Destination]]:
    """Every record of a tomogram (not of halves) in a folder and those in it.

    Raises
    ------
    InputError
        There is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    found = []
    for path in sorted(folder.rglob("*.json")):
        record = known_record(path) if is_record(path) else None
        if record is not None and record.output.kind == "whole":
            found.append((record, Destination(path.with_name(record.output.file))))
    return found


def _refuse_foreign(path: Path, mark: str) -> None:
    if not os.path.lexists(path):
        return
    with path.open(errors="replace") as file:
        head = file.read(1000)
    if mark not in head:
        raise OutputExistsError(f"{path} exists and tomofilt did not make it: move it away")


def _csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row.columns())
    writer.writerows([getattr(row, name) for name in Row.columns()] for row in rows)
    return text.getvalue()


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("tomofilt.jobs"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("overview.html")


def _html(folder: Path, entries: Sequence[_Entry]) -> str:
    states = [entry.row.state for entry in entries]
    return _template().render(
        generator=f"{_GENERATOR} {__version__}",
        folder=folder.absolute().name,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        counts={state: states.count(state) for state in ("ok", "look", "failed")},
        entries=entries,
        columns=[
            column
            for column in _COLUMNS
            if any(getattr(entry.row, column.name) is not None for entry in entries)
        ],
    )


def _pictures_in(page: Path) -> Mapping[str, str]:
    """Small pictures of an earlier page, by what they are of.

    To make one, a whole preview has to be unpacked: that takes longer than to see that a tomogram
    is finished.
    """
    try:
        return dict(_PICTURE.findall(page.read_text(errors="replace")))
    except OSError:
        return {}


def _thumbnail(preview: Path, record: Record) -> str:
    """XY above XZ, from the preview, with the specimen's limits; nothing if there is no preview."""
    from PIL import Image, ImageDraw

    from tomofilt.draw.preview import panel_boxes

    nz, ny, nx = record.output.shape_zyx
    try:
        with Image.open(preview) as picture:
            flat, upright = (
                picture.crop((left, top, left + width, top + height)).convert("L")
                for left, top, width, height in panel_boxes((nz, ny, nx))[:2]
            )
    except (OSError, SyntaxError, ValueError):
        return ""
    height = max(1, round(_THUMBNAIL_PX * ny / nx))
    depth = max(1, round(_THUMBNAIL_PX * nz / nx))
    small = Image.new("RGB", (_THUMBNAIL_PX, height + 2 + depth), (128, 128, 128))
    small.paste(flat.resize((_THUMBNAIL_PX, height), Image.Resampling.BOX), (0, 0))
    small.paste(upright.resize((_THUMBNAIL_PX, depth), Image.Resampling.BOX), (0, height + 2))
    thickness = record.filter.measured.get("specimen_thickness_angst")
    if thickness is not None:
        middle = record.filter.measured["specimen_height_angst"]
        draw = ImageDraw.Draw(small)
        scale = _THUMBNAIL_PX / nx / record.output.voxel_angst
        for limit in (middle - thickness / 2, middle + thickness / 2):
            up = -limit if record.output.flip_z else limit
            y = height + 2 + depth / 2 - up * scale
            if height + 2 <= y < small.height:
                draw.line((0, y, _THUMBNAIL_PX, y), fill=(255, 150, 40))
    packed = io.BytesIO()
    small.save(packed, format="JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode()
