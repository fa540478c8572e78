"""Warp's .xml files and projects."""

import numpy as np

ANGLES = [40.0, 10.0, -25.0]


def grid_xml(name, values):
    """A grid of the shape (tilt, y, x)."""
    values = np.asarray(values, dtype=float)
    depth, height, width = values.shape
    nodes = "".join(
        f'<Node X="{x}" Y="{y}" Z="{z}" Value="{values[z, y, x]}" />'
        for z in range(depth)
        for y in range(height)
        for x in range(width)
    )
    return f'<{name} Width="{width}" Height="{height}" Depth="{depth}">{nodes}</{name}>'


def per_tilt(name, values):
    """A grid with one value a tilt."""
    return grid_xml(name, np.reshape(values, (-1, 1, 1)))


def xml_text(attributes="", lists=None, grids=(), ctf='<Param Name="Voltage" Value="200" />'):
    """The .xml of three tilts; ``lists`` replace the usual ones, None leaves one out."""
    usual = {
        "Angles": ANGLES,
        "Dose": [6.0, 0.0, 3.0],
        "UseTilt": ["True", "True", "True"],
        "AxisAngle": [-85.5, -85.25, -85.0],
        "AxisOffsetX": [12.0, -30.5, 4.0],
        "AxisOffsetY": [-5.0, 8.0, 60.25],
        "MoviePath": [f"../frames/tilt {i}.tif" for i in range(3)],
    }
    values = {name: v for name, v in (usual | (lists or {})).items() if v is not None}
    body = "".join(f"<{n}>" + "\n".join(map(str, v)) + f"</{n}>" for n, v in values.items())
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return (
        f'{head}<TiltSeries DataDirectory="../tomostar" {attributes}>{body}'
        f"<CTF>{ctf}</CTF>{''.join(grids)}</TiltSeries>"
    )


def project(root, text, *, shape=(30, 40), halves=False, pixel_angst=10.0):
    """A project's folders with averages; returns the .xml."""
    from tomofilt.series.projects import write_stack
    from tomofilt.simulate.series import ImagesInMemory

    folders = ["", "even", "odd"] if halves else [""]
    for half in folders:
        folder = root / "frames" / "average" / half
        folder.mkdir(parents=True)
        for tilt in range(3):
            image = np.full((1, *shape), tilt, dtype=np.float32)
            image[0, 0, 0] = 9.0
            write_stack(folder / f"tilt {tilt}.mrc", ImagesInMemory(image, pixel_angst))
    (root / "warp_tiltseries").mkdir()
    path = root / "warp_tiltseries" / "TS_1.xml"
    path.write_text(text)
    return path
