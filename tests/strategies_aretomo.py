"""AreTomo's files, written as its versions write them."""

import numpy as np

COLUMNS = (
    "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT"
)


def aln_text(rows, raw=None, dark=(), thickness=None, alpha=None, beta=0.0, patches=None):
    """An .aln file.

    rows: (section, rotation, shift x, shift y, tilt); dark: (place, section, tilt);
    patches: (row, patch, x, y, dx, dy, good).
    """
    lines = ["# AreTomo Alignment / Priims bprmMn"]
    if raw is not None:
        lines.append(f"# RawSize = {raw[0]} {raw[1]} {raw[2]}")
    lines.append(f"# NumPatches = {len({p[1] for p in patches or ()})}")
    lines += [f"# DarkFrame =  {place:4d} {sec:4d} {tilt:8.2f}" for place, sec, tilt in dark]
    if alpha is not None:
        lines += [f"# AlphaOffset = {alpha:8.2f}", f"# BetaOffset = {beta:8.2f}"]
    if thickness is not None:
        lines.append(f"# Thickness = {thickness}")
    lines.append(COLUMNS)
    lines += [
        f"{sec:5d}  {rot:9.4f}  {1:9.5f}  {x:9.3f}  {y:9.3f}  {1:7.2f}  {1:7.2f}  {1:7.2f}  "
        f"{0:7.2f}  {tilt:8.2f}"
        for sec, rot, x, y, tilt in rows
    ]
    if patches:
        lines.append("# Local Alignment")
        lines += [
            f"{t:4d} {p:3d} {x:8.2f}  {y:8.2f}  {dx:8.2f}  {dy:8.2f}  {good:4.1f}"
            for t, p, x, y, dx, dy, good in patches
        ]
    return "\n".join(lines) + "\n"


def rows_of(tilt_deg, sections, rotation_deg=84.3):
    """Lines of a global alignment, with shifts unlike each other."""
    return [
        (section, rotation_deg, 3.25 * i - 5.0, 7.5 - 2.125 * i, tilt)
        for i, (section, tilt) in enumerate(zip(sections, tilt_deg, strict=True))
    ]


def write_mrc(path, shape, pixel_angst=10.0, seed=0):
    """A stack of noise whose section i has the mean i."""
    from tomofilt.series.projects import write_stack
    from tomofilt.simulate.series import ImagesInMemory

    stack = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    stack += np.arange(shape[0], dtype=np.float32)[:, None, None]
    write_stack(path, ImagesInMemory(stack, pixel_angst))
