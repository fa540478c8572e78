"""The job for the CCP-EM Pipeliner, with stand-ins for the parts of the Pipeliner that it uses."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tomofilt_relion.job import Request, split_labels


class Option:
    def __init__(self, label, default_value="", **how):
        self.value = default_value

    def get_string(self):
        return str(self.value)


class Job:
    def __init__(self):
        self.jobinfo, self.joboptions, self.nodes = SimpleNamespace(), {}, []
        self.output_dir = "Tomograms/job010/"

    def get_runtab_options(self, threads, addtl_args):
        self.joboptions["nr_threads"] = Option("Threads", 4)

    def parse_additional_args(self):
        return ["--preview"]

    def add_output_node(self, *node):
        self.nodes.append(node)


@pytest.fixture
def pipeliner(monkeypatch):
    contents = {
        "pipeliner": {},
        "pipeliner.external_program_utils": {"ExternalProgram": lambda command: command},
        "pipeliner.job_options": {
            "EXT_STARFILE": [".star"],
            "FileDescription": lambda *words: words,
            "FloatJobOption": Option,
            "InputNodeJobOption": Option,
            "StringJobOption": Option,
        },
        "pipeliner.nodes": {
            "NODE_TILTSERIESGROUPMETADATA": "TiltSeriesGroupMetadata",
            "NODE_TOMOGRAMGROUPMETADATA": "TomogramGroupMetadata",
        },
        "pipeliner.pipeliner_job": {"PipelinerCommand": lambda words: words, "PipelinerJob": Job},
    }
    for name, attributes in contents.items():
        module = ModuleType(name)
        module.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "tomofilt_relion.ccpem", raising=False)
    yield
    sys.modules.pop("tomofilt_relion.ccpem", None)


@pytest.mark.usefixtures("pipeliner")
def test_command_is_one_that_the_job_understands():
    job = importlib.import_module("tomofilt_relion.ccpem").TomofiltReconstruct()
    job.joboptions["in_tiltseries"].value = "Align/aligned_tilt_series.star"
    ((program, command, *arguments),) = job.get_commands()
    assert (program, command) == ("tomofilt", "relion")
    known = dict.fromkeys(("--thickness", "--pixel-size", "--filter", "--halves", "--threads"), 1)
    request = Request.read(split_labels(arguments), known | {"--preview": 0})
    assert str(request.folder) == "Tomograms/job010"
    assert request.options[:2] == ("--relion-star", "Align/aligned_tilt_series.star")
    assert request.options[-3:] == ("--threads", "4", "--preview")
    job.create_output_nodes()
    assert job.nodes == [("tomograms.star", "TomogramGroupMetadata", ["relion"])]


def test_without_the_pipeliner(monkeypatch):
    monkeypatch.setitem(sys.modules, "pipeliner", None)
    monkeypatch.delitem(sys.modules, "tomofilt_relion.ccpem", raising=False)
    with pytest.raises(ImportError, match="pip install ccpem-pipeliner"):
        importlib.import_module("tomofilt_relion.ccpem")
