"""Pictures of filters: gains against frequency, images of gains, and filters beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tomofilt.draw.figure import COLOURS, new_figure, save_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomofilt.filters.samples import Samples

__all__ = ["Curve", "draw_curves", "draw_gains", "draw_profiles"]

_TICKS = (0.1, 0.2, 0.3, 0.4, 0.5)
#: Views that have an image of their own, with the ends of the series among them.
_IMAGES = 5


class Curve(NamedTuple):
    """Values on a frequency axis."""

    label: str
    values: NDArray[np.float64]


def draw_curves(
    path: Path,
    title: str,
    cycles_per_px: NDArray[np.float64],
    charts: dict[str, list[Curve]],
    pixel_angst: float,
) -> None:
    """Draw one chart under the other, each with a solid and a dashed curve."""
    figure, panels = new_figure(7, 4.2 * len(charts), len(charts), 1)
    for axes, (name, curves) in zip(panels[:, 0], charts.items(), strict=True):
        for curve, style, colour in zip(curves, ("-", "--"), COLOURS, strict=False):
            axes.plot(cycles_per_px, curve.values, style, color=colour, lw=1.8, label=curve.label)
        axes.set(ylabel=name)
        if name == "SNR":
            axes.set_yscale("log")
        axes.legend(frameon=False)
        _finish(axes, pixel_angst)
    panels[0, 0].set_title(f"{title}   ({pixel_angst:g} A/px)", loc="left", pad=14)
    save_png(figure, path)


def draw_profiles(
    path: Path, cycles_per_px: NDArray[np.float64], curves: Sequence[Curve], pixel_angst: float
) -> None:
    """Draw radial profiles twice: divided by their maxima, and as they are."""
    import numpy as np

    figure, panels = new_figure(12, 5, 1, 2)
    for axes, what in zip(panels[0], ("over its maximum", "as it is"), strict=True):
        for i, curve in enumerate(curves):
            largest = float(np.abs(curve.values).max()) or 1.0
            values = curve.values / largest if what == "over its maximum" else curve.values
            # different dashes, so that curves that lie on each other can still be seen
            style = ("-", (0, (6, 3)), (0, (2, 2)), (0, (7, 2, 1, 2)))[i % 4]
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(cycles_per_px, values, ls=style, color=colour, lw=1.8, label=curve.label)
        axes.set(ylabel=f"gain, {what}")
        _finish(axes, pixel_angst)
    lines, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=4, frameon=False)
    title = f"mean over directions, sum over views   ({pixel_angst:g} A/px)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_png(figure, path)


def draw_gains(path: Path, title: str, samples: Samples, pixel_angst: float) -> None:
    """Draw the gains of some views as images, and those of all views across the tilt axis."""
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    order = np.argsort(samples.tilt_deg, kind="stable")
    shown = np.unique(np.linspace(0, len(order) - 1, min(len(order), _IMAGES)).round().astype(int))
    # gains at (-k_x, -k_y) and (k_x, k_y) are equal: the left half is the right one, turned
    both = np.concatenate([samples.gains[:, ::-1, :0:-1], samples.gains], axis=2)
    highest = samples.k_along_per_angst[-1] * pixel_angst
    largest = float(np.abs(both).max()) or 1.0
    signed = float(both.min()) < -1e-3 * largest
    colours = "RdBu_r" if signed else "viridis"
    scale = Normalize(-largest if signed else 0.0, largest)
    figure, panels = new_figure(
        2.5 * len(shown) + 4.2, 3.3, 1, len(shown) + 1, [1] * len(shown) + [1.5]
    )
    for axes, view in zip(panels[0, :-1], order[shown], strict=True):
        edges = (-highest, highest, -highest, highest)
        axes.imshow(both[view], extent=edges, origin="lower", cmap=colours, norm=scale)
        axes.set_title(f"{samples.tilt_deg[view]:.4g} deg", fontsize=10)
        axes.set(xlabel="across, cycles / px", xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
    panels[0, 0].set_ylabel("along the tilt axis, cycles / px")
    middle = samples.gains.shape[1] // 2
    axes = panels[0, -1]
    edges = (0, highest, -0.5, len(order) - 0.5)
    profile = samples.gains[order, middle]
    axes.imshow(
        profile,
        extent=edges,
        origin="lower",
        cmap=colours,
        norm=scale,
        aspect="auto",
        interpolation="nearest",
    )
    some = np.unique(np.linspace(0, len(order) - 1, min(len(order), 7)).round().astype(int))
    axes.set_yticks(some, [f"{samples.tilt_deg[order[i]]:.4g}" for i in some])
    axes.set(xlabel="across, cycles / px", ylabel="tilt, deg")
    axes.set_title("all views, across the axis", fontsize=10)
    figure.colorbar(ScalarMappable(scale, colours), ax=axes, label="gain")
    figure.suptitle(f"{title}   ({pixel_angst:g} A/px)", x=0.01, ha="left", fontsize=11)
    save_png(figure, path)


def _finish(axes: Any, pixel_angst: float) -> None:
    axes.set(xlim=(0, 0.5), xlabel="cycles / px")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    upper = axes.secondary_xaxis("top")
    upper.set_xticks(_TICKS, [f"{pixel_angst / tick:.3g} A" for tick in _TICKS])
    upper.spines["top"].set_visible(False)
    upper.tick_params(length=0)
