"""How well particles stand out: a matched filter, and the area under its ROC curve.

A template is correlated with the volume. Its values at the particles' centres are compared with
those at places without particles: the area under the receiver operating characteristic is the
probability that a particle gets the larger one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomofilt.errors import InputError

__all__ = ["Detection", "auc", "background_places", "detection", "radial_template"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Number of places without particles that are drawn, and the seed, the same for every tomogram.
_BACKGROUND, _SEED = 20_000, 1


@dataclass(frozen=True)
class Detection:
    """Area under the ROC curve of one kind of particle.

    Attributes
    ----------
    auc : float
        In the volume as it is.
    auc_whitened : float
        In the volume after its radial spectrum was made flat, so that radial filters do not matter.
    particles : int
    """

    auc: float
    auc_whitened: float
    particles: int


def detection(
    volume: Float32, template: Float32, centres: Float64, background: Float64, threads: int = 1
) -> Detection:
    """Find one kind of particle by matched filtering.

    Parameters
    ----------
    volume : (z, y, x) float32
    template : (z, y, x) float32
        With odd sizes, the particle's centre in the middle, and the same contrast as the volume.
    centres, background : (place, 3)
        Voxel positions (z, y, x) of the particles, and of places without any.
    threads : int

    Raises
    ------
    InputError
        There are no particles or no background places inside the volume, or the template does not
        fit.
    """
    from scipy import fft

    if any(n % 2 == 0 for n in template.shape) or np.any(np.array(template.shape) > volume.shape):
        raise InputError(
            f"a template of {template.shape} voxels: its sizes have to be odd and "
            f"fit into {volume.shape}"
        )
    particles, places = _inside(centres, volume.shape), _inside(background, volume.shape)
    if len(particles) == 0 or len(places) == 0:
        raise InputError(
            f"{len(particles)} of {len(centres)} particles and {len(places)} of {len(background)} "
            "background places lie inside the volume: both are needed"
        )
    matched = np.zeros(volume.shape, dtype=np.float32)
    corner = tuple(slice(n) for n in template.shape)
    matched[corner] = template - template.mean()
    matched = np.roll(matched, [-(n // 2) for n in template.shape], axis=(0, 1, 2))
    kernel = fft.rfftn(matched, workers=threads, overwrite_x=True).conj()
    centred = volume - np.float32(volume.mean(dtype=np.float64))
    spectrum = fft.rfftn(centred, workers=threads, overwrite_x=True)
    areas = []
    for whiten in (False, True):
        if whiten:
            _flatten(spectrum, volume.shape)
        scores = fft.irfftn(spectrum * kernel, volume.shape, workers=threads, overwrite_x=True)
        areas.append(auc(scores[tuple(particles.T)], scores[tuple(places.T)]))
    return Detection(areas[0], areas[1], len(particles))


def auc(positives: Float64 | Float32, negatives: Float64 | Float32) -> float:
    """Area under the ROC curve: how often a positive exceeds a negative; ties count half.

    The Mann-Whitney statistic, from ranks.
    """
    from scipy.stats import rankdata

    n, m = len(positives), len(negatives)
    if n == 0 or m == 0:
        raise InputError("an ROC curve needs positives and negatives")
    ranks = rankdata(np.concatenate([positives, negatives]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def radial_template(truth: Float32, centres: Float64, reach_px: int) -> Float32:
    """Mean density around particles as a function of the distance alone, as a ball of voxels.

    It has no orientation, so that particles of all orientations can be found without a search.

    Parameters
    ----------
    truth : (z, y, x) float32
    centres : (particle, 3)
        Voxel positions (z, y, x), not necessarily integers.
    reach_px : int
        Largest radius; the ball ends where the profile falls below a tenth of its maximum.

    Raises
    ------
    InputError
        There is no density at the particles' places.
    """
    grid = np.indices((2 * reach_px + 1,) * 3) - reach_px
    offsets = grid.reshape(3, -1).T
    sums, counts = np.zeros(reach_px + 1), np.zeros(reach_px + 1)
    for centre in centres:
        voxels = np.rint(centre).astype(np.intp) + offsets
        rings = np.rint(np.linalg.norm(voxels - centre, axis=1)).astype(np.intp)
        kept = np.all((voxels >= 0) & (voxels < truth.shape), axis=1) & (rings <= reach_px)
        rings, voxels = rings[kept], voxels[kept]
        sums += np.bincount(rings, truth[tuple(voxels.T)], reach_px + 1)
        counts += np.bincount(rings, minlength=reach_px + 1)
    profile = sums / np.maximum(counts, 1)
    if not profile.max() > 0:
        raise InputError(
            "the truth has no density at the particles' places: is this the right particle list?"
        )
    beyond = np.flatnonzero(profile < 0.1 * profile.max())
    radius = int(beyond[beyond > profile.argmax()].min(initial=reach_px))
    profile[radius + 1 :] = 0
    distance = np.linalg.norm(grid, axis=0)
    inner = slice(reach_px - radius, reach_px + radius + 1)
    ball = np.interp(distance, np.arange(reach_px + 1), profile, right=0.0)
    return np.asarray(ball[inner, inner, inner], dtype=np.float32)


def background_places(
    shape: tuple[int, int, int], centres: Float64, distance_px: float, margin_px: float
) -> Float64:
    """Places without particles, at random in the planes that hold particles.

    Parameters
    ----------
    shape : (nz, ny, nx)
    centres : (particle, 3)
        Of every kind of particle.
    distance_px : float
        Smallest distance of a place from every centre.
    margin_px : float
        Smallest distance in x and y from the edge of the volume.

    Returns
    -------
    (place, 3) voxel positions, the same in every call.

    Raises
    ------
    InputError
        The particles leave no room.
    """
    from scipy.spatial import cKDTree

    low = np.array([centres[:, 0].min(), margin_px, margin_px])
    high = np.array([centres[:, 0].max(), shape[1] - 1 - margin_px, shape[2] - 1 - margin_px])
    if np.any(high < low):
        raise InputError(f"a volume of {shape} voxels has no place {margin_px:g} from its edges")
    places = np.random.default_rng(_SEED).uniform(low, high, size=(_BACKGROUND, 3))
    gaps, _ = cKDTree(centres).query(places)
    free = places[gaps >= distance_px]
    if len(free) == 0:
        raise InputError(
            f"particles fill the volume: no place is {distance_px:g} voxels away from all of them"
        )
    return np.asarray(free)


def _inside(places: Float64, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """The places, rounded to voxels, that lie inside the volume."""
    voxels = np.rint(places).astype(np.intp).reshape(-1, 3)
    return np.asarray(voxels[np.all((voxels >= 0) & (voxels < shape), axis=1)])


def _flatten(spectrum: NDArray[np.complex64], shape: tuple[int, ...]) -> None:
    """Divide a spectrum by its rotationally averaged amplitude, in place."""
    n = max(shape)
    squares = [np.fft.fftfreq(size) ** 2 for size in shape[:2]] + [np.fft.rfftfreq(shape[2]) ** 2]
    length = n + 1
    sums, counts = np.zeros(length), np.zeros(length)

    def ring(z: int) -> NDArray[np.intp]:
        radius = np.sqrt(squares[0][z] + squares[1][:, None] + squares[2])
        return np.asarray(np.rint(radius * n), dtype=np.intp)

    for z, plane in enumerate(spectrum):
        index = ring(z).ravel()
        sums += np.bincount(index, (np.abs(plane) ** 2).ravel(), length)
        counts += np.bincount(index, minlength=length)
    power = sums / np.maximum(counts, 1)
    inverse = np.divide(1, np.sqrt(power), out=np.zeros_like(power), where=power > 0)
    for z in range(len(spectrum)):
        spectrum[z] *= inverse[ring(z)].astype(np.float32)
