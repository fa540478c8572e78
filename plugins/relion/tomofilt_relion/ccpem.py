"""The same job for the CCP-EM Pipeliner and Doppio, which find it by its entry point.

Only the Pipeliner loads this module: tomofilt itself does not need it.
"""

from __future__ import annotations

try:
    from pipeliner.external_program_utils import ExternalProgram
    from pipeliner.job_options import (
        EXT_STARFILE,
        FileDescription,
        FloatJobOption,
        InputNodeJobOption,
        StringJobOption,
    )
    from pipeliner.nodes import NODE_TILTSERIESGROUPMETADATA, NODE_TOMOGRAMGROUPMETADATA
    from pipeliner.pipeliner_job import PipelinerCommand, PipelinerJob
except ImportError as error:
    raise ImportError(
        "tomofilt's job for the CCP-EM Pipeliner needs the Pipeliner: pip install ccpem-pipeliner"
    ) from error

from tomofilt.reconstruction.settings import Settings

__all__ = ["TomofiltReconstruct"]


class TomofiltReconstruct(PipelinerJob):  # type: ignore[misc]  # the Pipeliner has no types
    """Tomograms from aligned tilt series by filtered back-projection."""

    PROCESS_NAME = "tomofilt.reconstructtomograms"
    OUT_DIR = "Tomograms"
    CATEGORY_LABEL = "Reconstruct"

    def __init__(self) -> None:
        super().__init__()
        self.always_continue_in_schedule = True
        self.can_continue = True
        self.jobinfo.display_name = "Filtered back-projection of tilt series"
        self.jobinfo.short_desc = "Reconstruct tomograms by filtered back-projection"
        self.jobinfo.long_desc = (
            "Reconstructs each tilt series of the set and writes a tomograms.star for the next job."
            " When the job is continued, tomograms that are finished are kept."
        )
        self.jobinfo.programs = [ExternalProgram(command="tomofilt")]
        self.joboptions["in_tiltseries"] = InputNodeJobOption(
            label="Aligned tilt series:",
            node_type=NODE_TILTSERIESGROUPMETADATA,
            pattern=FileDescription("Tilt series STAR file", EXT_STARFILE),
            help_text="The aligned_tilt_series.star of an alignment job.",
            is_required=True,
        )
        self.joboptions["thickness"] = FloatJobOption(
            label="Thickness (A):",
            default_value=3000,
            hard_min=1,
            help_text="Thickness of the tomograms in angstrom.",
            is_required=True,
            in_continue=True,
        )
        self.joboptions["pixel_size"] = FloatJobOption(
            label="Voxel size (A):",
            default_value=10,
            hard_min=0,
            help_text="Voxel size of the tomograms in angstrom.",
            is_required=True,
            in_continue=True,
        )
        self.joboptions["filter"] = StringJobOption(
            label="Filter:",
            default_value=Settings().filter,
            help_text="NAME or NAME:ARGUMENT; 'tomofilt filters list' names them.",
            is_required=True,
            in_continue=True,
        )
        self.joboptions["halves"] = StringJobOption(
            label="Halves:",
            default_value="none",
            validation_regex="none|frames|tilts",
            regex_error_message="none, frames or tilts",
            help_text="Also write two half tomograms: from even and odd frames, or from tilts.",
            is_required=True,
            in_continue=True,
        )
        self.get_runtab_options(threads=True, addtl_args=True)

    def create_output_nodes(self) -> None:
        """Announce the set of tomograms."""
        self.add_output_node("tomograms.star", NODE_TOMOGRAMGROUPMETADATA, ["relion"])

    def get_commands(self) -> list[PipelinerCommand]:
        """The one command of the job."""
        labels = {
            "--o": self.output_dir,
            "--in_tomograms": self.joboptions["in_tiltseries"].get_string(),
            "--thickness": self.joboptions["thickness"].get_string(),
            "--pixel-size": self.joboptions["pixel_size"].get_string(),
            "--filter": self.joboptions["filter"].get_string(),
            "--halves": self.joboptions["halves"].get_string(),
            "--j": self.joboptions["nr_threads"].get_string(),
        }
        words = [word for label in labels.items() for word in label]
        command = ["tomofilt", "relion", *words, *self.parse_additional_args()]
        return [PipelinerCommand(command)]
