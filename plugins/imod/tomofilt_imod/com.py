"""Com files: the part that one program reads, with the grammar of IMOD's parameter input.

A line holds ``KEY value``, ``KEY = value`` or a key alone. Keys may be in any case, and shortened
as long as they stay unique; ``#`` starts a comment; ``DONE`` ends the input; of a repeated key the
last value counts, except for lists of views, which add up. A line that starts with ``$`` runs a
program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from tomofilt.errors import InputError, MissingFileError
from tomofilt.io.text import count, read_text, split_fields, usable
from tomofilt_imod.views import parse_view_list

__all__ = ["Command", "read_command"]

# Keywords of the programs, from their manual pages: abbreviations are resolved among them.
# EXCLUDE and EXCLUDELIST are IMOD's own abbreviations of EXCLUDELIST2.
_KEYS = {
    "tilt": """
        InputProjections OutputFile RecFileToReproject ProjectModel BaseRecFile ActionIfGPUFails
        AdjustOrigin ANGLES BaseNumViews BoundaryInfoFile COMPFRACTION COMPRESS ConstrainSign
        COSINTERP DENSWEIGHT DONE ExactFilterSize EXCLUDELIST2 FakeSIRTiterations
        FalloffIsTrueSigma FBPINTERP FlatFilterFraction FULLIMAGE HammingLikeFilter IMAGEBINNED
        INCLUDE InternalSIRTSlices LOCALFILE LOCALSCALE LOG MASK MinMaxMean MODE
        MultiplyByGaussian OFFSET PARALLEL PERPENDICULAR RADIAL ReferenceSDofScaling REPLICATE
        REPROJECT RotateBy90 SCALE SHIFT SIRTIterations SIRTSubtraction SLICE StartingIteration
        SUBSETSTART SubtractFromBase THICKNESS TILTFILE TITLE TOTALSLICES UseGPU ViewsToReproject
        VertBoundaryFile VertForSIRTInput VertSliceOutputFile WeightAngleFile WeightFile WIDTH
        XAXISTILT XMinAndMaxReproj XTILTFILE XTILTINTERP YMinAndMaxReproj ZFACTORFILE
        ZMinAndMaxReproj DebugOutput ParameterFile
    """,
    "ctfphaseflip": """
        ActionIfGPUFails AmplitudeContrast AngleFile AxisAngle BoundaryInfoFile CutOnFrequency
        DebugOutput DefocusFile DefocusTol ExpandedByFactor InputStack InterpolationWidth
        InvertTiltAngles MaximumStripWidth MinimumZeroSpacing OffsetInZ OutputFileName Parameter
        PhasePlateShift PhaseShiftInDegrees PixelSize ScaleByCtfPower SkipCorrectedFlag
        SphericalAberration StartingEndingViews TotalViews TransformFile UnbinnedPixelSize UseGPU
        Voltage XAxisTilt
    """,
    "ctfplotter": """
        AmplitudeContrast AngleFile AngleRange AutoFitRangeAndStep AxisAngle ConfigFile
        CropToPixelSize DefocusFile DefocusTol ExpectedDefocus FindAstigPhaseCutonToggles
        FitRangeInPixels FrequencyRangeToFit FullExtraZeros FullyFitFirst InputStack
        InvertTiltAngles LeftDefTol
        MaxCacheSize OffsetToAdd Parameter PhasePlateShift PhaseShiftInDegrees PixelSize
        PSResolution RightDefTol SaveAndExit SphericalAberration TileSize VaryExponentInFit
        VaryPowerInFit ViewsInGroupsRange Voltage
    """,
    "tiltalign": "ExcludeList",
    "newstack": """
        InputFile OutputFile FileOfInputs FileOfOutputs SplitStartingNumber AppendExtension
        FormatOfOutputFile VolumesToRead Store3DVolumes ChunkSizesInXYZ UseMdocFiles SectionsToRead
        NumberedFromOne ExcludeSections TwoDirectionTiltSeries SkipSectionIncrement NumberToOutput
        ReplaceSections BlankOutput OffsetsInXandY ApplyOffsetsFirst TransformFile
        UseTransformLines OneTransformPerFile RotateByAngle ExpandByFactor ShrinkByFactor
        AntialiasFilter BinByFactor DistortionField ImagesAreBinned UseFields GradientFile
        AdjustOrigin LinearInterpolation NearestNeighbor SizeToOutputInXandY ModeToOutput
        BytesSignedInOutput StripExtraHeader FloatDensities MeanAndStandardDeviation
        ContrastBlackWhite ScaleMinAndMax MultiplyAndAdd FillValue TaperAtFill MemoryLimit
        TestLimits VerboseOutput ParameterFile DONE FourierReduceByFactor ReorderByTiltAngle
        ReverseInputFileOrder SameSectionsToRead TiltAngleFile AngleFile NewAngleOutputFile
    """,
}


@dataclass(frozen=True)
class Command:
    """What a com file tells one program.

    Parameters
    ----------
    path : Path
        The com file; file names in it are relative to its folder.
    entries : mapping of str to tuple of str
        Values of each keyword, in full spelling, in the file's order.
    unknown : tuple of str
        Keys that the program does not have, or that are not unique.
    """

    path: Path
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def source(self, key: str) -> str:
        """Say where a value comes from."""
        return f"{self.path.name} {key}"

    def text(self, key: str) -> str | None:
        """Return the value of a key; None when it is absent, or left blank as in template files."""
        values = [value for value in self.entries.get(key, ()) if value]
        return values[-1] if values else None

    def file(self, key: str) -> Path | None:
        """Return the path that a key holds; None when absent."""
        text = self.text(key)
        return None if text is None else self.path.parent / text

    def input_file(self, key: str) -> Path | None:
        """Return the path that a key holds, which has to be there; None when absent.

        Raises
        ------
        MissingFileError
            There is no such file.
        """
        path = self.file(key)
        if path is not None and not path.is_file():
            raise MissingFileError(
                f"{self.path} has {key} {self.text(key)}, but {path} is not there: copy the file "
                "there, or correct the line"
            )
        return path

    def flag(self, key: str) -> bool:
        """Tell whether a switch is on: present, alone or with a number other than 0."""
        return key in self and self.text(key) != "0"

    def views(self, key: str) -> tuple[int, ...]:
        """Collect the view numbers that all entries of a key list."""
        return parse_view_list(self.entries.get(key, ()), f"{self.path} {key}")

    def numbers(self, key: str, least: int, most: int | None = None) -> tuple[float, ...] | None:
        """Return ``least`` to ``most`` numbers (default: just ``least``); None when absent.

        Raises
        ------
        InputError
            The value is anything else.
        """
        most = least if most is None else most
        fields = split_fields((self.text(key) or "").removesuffix("/"))  # a slash asks for defaults
        if not fields:
            return None
        try:
            numbers = tuple(float(text) for text in fields)
        except ValueError:
            numbers = ()
        if not all(map(usable, numbers)):
            raise InputError(
                f"{self.path} has {key} {self.text(key)}, but no such number can be: correct it"
            )
        if not least <= len(numbers) <= most:
            wanted = count(most, "number") if least == most else f"{least} to {most} numbers"
            raise InputError(f"{self.path} has {key} {self.text(key)}, but it takes {wanted}")
        return numbers

    def number(self, key: str) -> float | None:
        """Return the number that a key holds; None when absent."""
        numbers = self.numbers(key, 1)
        return None if numbers is None else numbers[0]

    def integer(self, key: str) -> int | None:
        """Return the whole number, not below 0, that a key holds; None when absent."""
        number = self.number(key)
        if number is None or (number.is_integer() and number >= 0):
            return None if number is None else int(number)
        raise InputError(
            f"{self.path} has {key} {self.text(key)}, but it takes a whole number, 0 or more: "
            "correct the line"
        )


def read_command(path: Path, program: str) -> Command:
    """Read what a com file tells a program, one of those whose keywords are listed above.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It is empty, unreadable, or does not run the program exactly once.
    """
    blocks = _blocks(read_text(path), program)
    if len(blocks) != 1:
        raise InputError(
            f"{path} runs {program} {count(len(blocks), 'time')}, but one line '${program} "
            "-StandardInput' with its parameters below is needed: copy the com file that made the "
            "tomogram, or have etomo write it again"
        )
    entries: dict[str, list[str]] = {}
    unknown = []
    for given, value in blocks[0]:
        key = _full_key(given, program)
        if key == "DONE":
            break
        if key is None:
            unknown.append(given)
        else:
            entries.setdefault(key, []).append(value)
    return Command(path, {key: tuple(values) for key, values in entries.items()}, tuple(unknown))


def _blocks(text: str, program: str) -> list[list[tuple[str, str]]]:
    """Collect key and value of each line below each ``$program`` line."""
    blocks: list[list[tuple[str, str]]] = []
    inside = False
    file_keys: list[str] = []
    for raw_line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", raw_line).strip()
        if line.startswith("$"):
            words = line[1:].split()
            inside = bool(words) and PurePosixPath(words[0]).name.lower() == program
            if inside:
                blocks.append([])
                # Old com files for tilt name the input and the output without keys.
                named = any(word.lower().startswith("-s") for word in words[1:])
                file_keys = [] if named or program != "tilt" else ["InputProjections", "OutputFile"]
        elif line and inside:
            if file_keys and _full_key(re.split(r"[\s=]", line)[0], program) is None:
                blocks[-1].append((file_keys.pop(0), line))
                continue
            file_keys = []
            key, value = re.fullmatch(r"([^\s=]*)\s*=?\s*(.*)", line).groups()  # type: ignore[union-attr]
            blocks[-1].append((key, _unquoted(value)))
    return blocks


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


@cache  # all com files have the same keys
def _full_key(given: str, program: str) -> str | None:
    """Find the one keyword that ``given`` spells or shortens."""
    keys = _KEYS[program].split()
    exact = [key for key in keys if key.lower() == given.lower()]
    matches = exact or [key for key in keys if given and key.lower().startswith(given.lower())]
    return matches[0] if len(matches) == 1 else None
