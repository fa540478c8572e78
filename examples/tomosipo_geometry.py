"""Hand the geometry of a tilt series to tomosipo, whose operators work on torch tensors.

Usage: python tomosipo_geometry.py

Needs tomosipo and astra-toolbox (docs/gpu.md). The geometry is made and checked on any machine; the
operator is applied only where there is a GPU.
"""

from pathlib import Path

import numpy as np
import tomosipo

import tomofilt
from tomofilt.projectors.gpu import problem
from tomofilt.projectors.vectors import to_tomosipo
from tomofilt.series.geometry import ImageGrid


def main() -> None:
    """Make tomosipo's geometry of the example series, check it, and back-project where possible."""
    series = tomofilt.open(Path(__file__).parent / "mycoplasma")
    _, ny, nx = series.images.shape
    images = ImageGrid.centred((ny, nx), series.images.pixel_angst)

    # the raw images with all of their alignment: tilts, rotation of the axis, shifts
    volume_geometry, projection_geometry = to_tomosipo(series.geometry, series.grid, images)
    print(volume_geometry)

    # tomosipo (v, u) about the detector's middle, in pixels, against tomofilt (x, y) in angstrom
    point = np.array([300.0, -200.0, 150.0])  # x, y, z in angstrom about the specimen centre
    theirs = projection_geometry.project_point(point[::-1])[:, ::-1]
    ours = series.geometry.project(point[None])[:, 0] / series.images.pixel_angst
    print(f"a point lands at the same place, to {np.abs(theirs - ours).max():.1e} pixels")

    operator = tomosipo.operator(volume_geometry, projection_geometry)
    print(f"operator from {operator.domain_shape} (z, y, x) to {operator.range_shape} (y, view, x)")
    reason = problem()
    if reason is not None:
        # without a GPU ASTRA would end the process here, without a Python error
        print(f"not applied: {reason}")
        return

    import torch
    from tomosipo.torch_support import to_autograd

    stack = np.stack([series.images.read(int(view)) for view in series.views])
    projections = torch.from_numpy(stack).cuda().permute(1, 0, 2).contiguous().requires_grad_()
    volume = to_autograd(operator.T)(projections)
    volume.square().sum().backward()
    print(f"back-projected {tuple(volume.shape)}; gradient {tuple(projections.grad.shape)}")


if __name__ == "__main__":
    main()
