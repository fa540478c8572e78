"""`tomofilt doctor`: what is installed, what the machine offers, what is missing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from tomofilt.cli import options
from tomofilt.util.plugins import plugins

__all__ = ["doctor", "examine"]

REQUIRED = (
    "numpy",
    "scipy",
    "numba",
    "torch",
    "mrcfile",
    "gemmi",
    "starfile",
    "safetensors",
    "typer",
    "rich",
    "pillow",
    "matplotlib",
    "jinja2",
)
#: Libraries of GPU back-ends, and how to get them.
OPTIONAL = {
    "astra-toolbox": "pip install 'tomofilt[astra]'",
    "tomosipo": "pip install git+https://github.com/cicwi/tomosipo.git",
}


def doctor(as_json: options.Json = False) -> None:
    """Say what is installed, what the machine offers, and what is missing.

    Exit code: 0, or 3 when something that tomofilt needs is missing.
    """
    found = examine()
    if as_json:
        typer.echo(json.dumps(found, indent=1, default=str))
    else:
        typer.echo("\n".join(_lines(found)))
    raise typer.Exit(3 if found["problems"] else 0)


def examine() -> dict[str, Any]:
    """Everything `tomofilt doctor` shows, ready for JSON."""
    from tomofilt.util.threads import available_threads

    versions = {"tomofilt": _version("tomofilt"), "python": platform.python_version()}
    versions |= {name: _version(name) for name in REQUIRED}
    plugins = _plugins()
    return {
        "versions": versions,
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "threads": available_threads(),
            "SLURM_CPUS_PER_TASK": os.environ.get("SLURM_CPUS_PER_TASK"),
            "memory_bytes": _memory(),
            "kernels_compiled": _compiled_kernels(),
        },
        "gpu": {
            "nvidia_smi": _nvidia_smi(),
            "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),
            **_gpus(),
        },
        "optional": {
            name: {"version": _version(name), "get_it": command}
            for name, command in OPTIONAL.items()
        },
        "plugins": plugins,
        "problems": [
            *(f"{name} is not installed" for name in REQUIRED if versions[name] is None),
            *(f"plug-in {p['name']} is broken: {p['error']}" for p in plugins if p["error"]),
        ],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory() -> dict[str, int | None]:
    """Memory of the machine, what is free of it, and the limit of this job's control group."""
    facts: dict[str, int | None] = {
        "total": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "available": None,
        "limit": None,
    }
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                facts["available"] = int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < int(facts["total"] or 0):
            facts["limit"] = int(text)
    return facts


def _compiled_kernels() -> int:
    """Kernels that numba has compiled and kept, wherever it may keep them."""
    package = Path(__file__).parent.parent
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    kept = [*package.rglob("*.nbi")]
    for folder in (Path(chosen) if chosen else None, Path.home() / ".cache" / "numba"):
        if folder is not None:
            kept += [*folder.glob("tomofilt_*/*.nbi"), *folder.glob("projectors_*/*.nbi")]
    return len(kept)


def _nvidia_smi() -> list[str]:
    """One line a GPU: name, memory, driver; empty without any."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=name,memory.total,driver_version"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [f"nvidia-smi fails: {error}"]
    return done.stdout.strip().splitlines()


def _gpus() -> dict[str, Any]:
    """GPUs as torch sees them, whether they back-project rightly, and what computes by default."""
    from tomofilt.projectors.gpu import built_for
    from tomofilt.projectors.select import choose, unusable

    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        build, names = built_for(), [torch.cuda.get_device_name(gpu) for gpu in range(count)]
        memory = [torch.cuda.mem_get_info(gpu) for gpu in range(count)]
    except Exception as error:
        build, names, memory = f"not usable ({error})", [], []
    choice = choose("auto")
    return {
        "torch_built_for": build or "the CPU alone",
        "triton": _of_module("triton", lambda triton: triton.__version__),
        "astra_has_cuda": _of_module("astra", lambda astra: astra.has_feature("cuda")),
        "devices": [
            {
                "name": name,
                "memory_bytes": total,
                "free_bytes": free,
                "triton": unusable(gpu, "triton") or "works",
                "astra": unusable(gpu, "astra") or "works",
            }
            for gpu, (name, (free, total)) in enumerate(zip(names, memory, strict=True))
        ],
        "auto": {
            "device": choice.gpus[0] if choice.gpus else "cpu",
            "engine": choice.engine if choice.gpus else "numba",
            "reason": choice.reason,
        },
    }


def _of_module(name: str, fact: Callable[[Any], Any]) -> Any:
    """A fact of a module that may be missing or broken; None then."""
    try:
        return fact(import_module(name))
    except Exception:
        return None


def _plugins() -> list[dict[str, str | None]]:
    found = []
    for point in plugins("tomofilt.projects"):
        try:
            point.load()
            error = None
        except Exception as reason:
            error = f"{type(reason).__name__}: {reason}"
        found.append({"name": point.name, "from": point.value, "error": error})
    return found


def _lines(found: dict[str, Any]) -> list[str]:
    machine, memory, gpu = found["machine"], found["machine"]["memory_bytes"], found["gpu"]
    kernels = machine["kernels_compiled"]
    sizes = [f"{memory['total'] / 1e9:.0f} GB"]
    if memory["available"] is not None:
        sizes.append(f"{memory['available'] / 1e9:.0f} GB available")
    if memory["limit"] is not None:
        sizes.append(f"limited to {memory['limit'] / 1e9:.0f} GB")
    slurm = machine["SLURM_CPUS_PER_TASK"]
    threads = f"{machine['threads']} of {machine['cores']} cores"
    sections = {
        "Versions": {name: text or "MISSING" for name, text in found["versions"].items()},
        "Machine": {
            "platform": machine["platform"],
            "threads": threads + (f" (SLURM_CPUS_PER_TASK={slurm})" if slurm else ""),
            "memory": ", ".join(sizes),
            "kernels": f"{kernels} compiled"
            if kernels
            else "not compiled yet: the first reconstruction takes longer",
        },
        "GPU": _gpu_entries(gpu, found["optional"]),
        "Projects": {
            each["name"]: f"BROKEN: {each['error']}" if each["error"] else each["from"]
            for each in found["plugins"]
        },
    }
    lines = []
    for title, entries in sections.items():
        lines += [title, *(f"  {name:<14} {text}" for name, text in entries.items()), ""]
    problems = found["problems"]
    lines += [f"Problem: {problem}" for problem in problems] or ["No problems found."]
    if problems:
        lines.append(f"Reinstall with: {sys.executable} -m pip install --force-reinstall tomofilt")
    return lines


def _gpu_entries(gpu: dict[str, Any], optional: dict[str, Any]) -> dict[str, str]:
    auto = gpu["auto"]
    entries = {
        "nvidia-smi": "; ".join(gpu["nvidia_smi"])
        or "no NVIDIA GPU found; if there is one, install its driver",
        "torch": f"built for {gpu['torch_built_for']}",
    }
    for number, each in enumerate(gpu["devices"]):
        size, free = each["memory_bytes"] / 1e9, each["free_bytes"] / 1e9
        entries[f"GPU {number}"] = f"{each['name']}, {size:.0f} GB, {free:.0f} GB free"
        entries |= {f"GPU {number}, {engine}": each[engine] for engine in ("triton", "astra")}
    entries["triton"] = gpu["triton"] or "not installed; it comes with torch for Linux"
    entries |= {
        name: each["version"] or f"not installed; optional: {each['get_it']}"
        for name, each in optional.items()
    }
    if gpu["astra_has_cuda"] is not None:
        entries["astra-toolbox"] += f", built with{'out' * (not gpu['astra_has_cuda'])} CUDA"
    what = "the CPU"
    if auto["device"] != "cpu":
        what = f"{auto['device']} by {auto['engine']}, for large work"
    entries["--device auto"] = f"{what}: {auto['reason']}" if auto["reason"] else what
    return entries
