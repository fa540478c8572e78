"""What the site's pages get from the program itself, so that they cannot be out of date."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def commands() -> str:
    """Every command with every option, from the command line's own declarations."""
    import typer.cli
    import typer.main

    from tomofilt.cli.app import make_app

    group = typer.main.get_command(make_app())
    context = typer.Context(group, info_name="tomofilt")
    text = typer.cli.get_docs_for_click(obj=group, ctx=context, name="tomofilt", title="Commands")
    for part in (group, *(each for each in group.commands.values() if hasattr(each, "commands"))):
        for name, command in part.commands.items():  # typer cuts these lines
            short = command.get_short_help_str()
            text = text.replace(
                f"* `{name}`: {short}\n", f"* `{name}`: {command.help.splitlines()[0]}\n"
            )
    return text.replace("docs/evaluation.md", "[Measuring tomograms](../evaluation.md)")


def filters() -> str:
    """Every name that ``--filter`` takes."""
    from tomofilt.reconstruction.methods.registry import available

    rows = "\n".join(f"| `{name}{arg}` | {text} |" for name, arg, text in available()).replace(
        "|k|", "\\|k\\|"
    )
    return f"""# Filters

What `tomofilt reconstruct --filter NAME[:ARG]` takes. A CUTOFF or SIGMA is in cycles per pixel of
the tomogram (0.35) or a resolution (60A). `tomofilt filters show NAME --plot gains.png` draws one.
Another package can add filters: see [a filter of your own](../tutorials/own-filter.md).

| name | what it is |
|---|---|
{rows}
"""


def python() -> str:
    """Everything that ``import tomofilt`` offers."""
    import tomofilt

    names = [name for name in tomofilt.__all__ if not name.startswith("__")]
    homes = (getattr(tomofilt, name) for name in names)
    entries = "\n\n".join(
        f"::: {home.__module__}.{home.__qualname__}\n"
        f"    options: {{heading: {name}, toc_label: {name}}}"
        for name, home in zip(names, homes, strict=True)
    )
    return f"""# Python

What `import tomofilt` offers, as `tomofilt.NAME`. [How to use it](../how-to/python.md).

{entries}
"""


def exit_codes() -> str:
    """Exit codes, with those of the errors as they are declared."""
    from tomofilt import errors

    kinds = [getattr(errors, name) for name in errors.__all__]
    rows = "\n".join(f"| `{kind.__name__}` | {kind.exit_code} | {kind.__doc__} |" for kind in kinds)
    return f"""# Exit codes and errors

| code | meaning |
|---|---|
| 0 | all done, or finished before |
| 1 | some series failed, others did not |
| 2 | a file or an option cannot be used; nothing was done |
| 3 | there is not enough memory, or no such device |
| 130 | interrupted (Ctrl-C, or the end of a job) |

After any of them there is no half-written file under a final name. Give the same command again:
what is finished is skipped.

In Python, everything that tomofilt raises on purpose is a `tomofilt.TomofiltError`:

| error | exit code | meaning |
|---|---|---|
{rows}
"""


def record() -> str:
    """The parts of the record, from the types that read and write it."""
    import msgspec

    from tomofilt.io import record as module

    kinds = [getattr(module, name) for name in module.__all__]
    parts = [each for each in kinds if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    parts.sort(key=lambda each: each is not module.Record)
    # the signatures of these types are made when they are imported: griffe does not see them
    quiet = "docstring_options: {warn_unknown_params: false, warn_missing_types: false}"
    entries = "\n\n".join(
        f"::: {each.__module__}.{each.__qualname__}\n    options: {{members: false, {quiet}}}"
        for each in parts
    )
    return f"""# The record

Beside each tomogram lies a JSON file that says how it was made. It is written last: a tomogram
without a record counts as unfinished. `tomofilt report` draws its pages from records, and
`tomofilt evaluate --series` makes tomograms again by them. In Python:
`tomofilt.io.record.read_record(path)`.

The file is a `Record`, an object whose parts are described below it. Lengths are in angstrom,
angles in degrees; images and views are counted from 1.

{entries}
"""


PAGES = {
    "reference/commands.md": commands,
    "reference/filters.md": filters,
    "reference/python.md": python,
    "reference/record.md": record,
    "reference/exit-codes.md": exit_codes,
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those of the folder."""
    from mkdocs.structure.files import File

    for path, write in PAGES.items():
        files.append(File.generated(config, path, content=write()))
    return files


def on_pre_build(**_: Any) -> None:
    """Make the folder where the tutorials work, ``$TUTORIAL``, with the example in it."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["TUTORIAL"] = tempfile.mkdtemp()
    shutil.copytree(ROOT / "examples" / "mycoplasma", Path(os.environ["TUTORIAL"], "mycoplasma"))
    os.environ["COLUMNS"] = "80"
    os.environ["EXAMPLES"] = str(ROOT / "examples")


def on_shutdown(**_: Any) -> None:
    """Remove it."""
    shutil.rmtree(os.environ.get("TUTORIAL", ""), ignore_errors=True)
