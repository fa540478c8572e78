"""AreTomo's alignment files: what stands where, in every version."""

import numpy as np
import pytest
from strategies_aretomo import aln_text, rows_of

from tomofilt.errors import InputError, MissingFileError
from tomofilt.series.displaced import displaced
from tomofilt.series.geometry import TiltGeometry
from tomofilt_aretomo.aln import read_aln
from tomofilt_aretomo.local import LocalShift

TILT = [-40.0, -20.0, 0.0, 20.0]


def written(tmp_path, text):
    path = tmp_path / "TS.aln"
    path.write_text(text)
    return path


def test_every_number_is_where_it_belongs(tmp_path):
    rows = [(1, 84.3, 1.5, -2.25, -40.0), (2, 84.25, -1000.125, 3.0, 2.5)]
    text = aln_text(rows, (96, 80, 2), thickness=120, alpha=1.25, beta=-3.0)
    found = read_aln(written(tmp_path, text.replace("\n", "\r\n")))
    np.testing.assert_array_equal(found.rotation_deg, [84.3, 84.25])
    np.testing.assert_array_equal(found.shift_px, [[1.5, -2.25], [-1000.125, 3.0]])
    np.testing.assert_array_equal(found.tilt_deg, [-40.0, 2.5])
    assert found.raw_shape == (2, 80, 96)
    assert (found.thickness_px, found.alpha_deg, found.beta_deg) == (120, 1.25, -3.0)
    assert found.patches is None


def test_version_1_2_has_a_header_of_its_own(tmp_path):
    text = aln_text(rows_of(TILT, range(4))).replace("# NumPatches = 0", "# 4  0")
    found = read_aln(written(tmp_path, text))
    assert found.raw_shape is None
    np.testing.assert_array_equal(found.raw_sections(4), range(4))


@pytest.mark.parametrize(
    ("sections", "dark"),
    [
        ([2, 3, 5, 6], [(0, 1, -60.0), (3, 4, -10.0)]),  # AreTomo3: of the stack, from 1
        ([1, 2, 4, 5], [(0, 0, -60.0), (3, 3, -10.0)]),  # of the stack, from 0
        ([0, 1, 2, 3], [(0, 0, -60.0), (3, 3, -10.0)]),  # AreTomo2: of what is left, from 0
        ([1, 2, 3, 4], [(0, 0, -60.0), (3, 0, -10.0)]),
    ],
)
def test_sections_of_the_stack_with_dark_images(tmp_path, sections, dark):
    found = read_aln(written(tmp_path, aln_text(rows_of(TILT, sections), (8, 8, 6), dark)))
    np.testing.assert_array_equal(found.raw_sections(6), [1, 2, 4, 5])


def test_a_stack_in_another_order(tmp_path):
    found = read_aln(written(tmp_path, aln_text(rows_of(TILT, [3, 1, 4, 2]), (8, 8, 4))))
    np.testing.assert_array_equal(found.raw_sections(4), [2, 0, 3, 1])


def test_sections_of_another_stack_are_refused(tmp_path):
    found = read_aln(written(tmp_path, aln_text(rows_of(TILT, range(1, 5)), (8, 8, 6))))
    with pytest.raises(InputError, match=r"4 aligned images .* 0 dark ones.* the 6 sections"):
        found.raw_sections(6)


def test_columns_without_a_blank_between_them(tmp_path):
    patches = [(0, 0, -10.0, -20.0, 81283.28, -103507.92, 1.0)]
    text = aln_text(rows_of([5.0], [1]), (8, 8, 1), patches=patches)
    assert "81283.28  -103507.92" in text
    found = read_aln(written(tmp_path, text.replace("81283.28  -103507.92", "81283.28-103507.92")))
    np.testing.assert_array_equal(found.patches.shift_px, [[[81283.28, -103507.92]]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  -40.00\n", "\n", r"TS.aln line 5: .* has 9 numbers, but .* has 10"),
        ("RawSize = 8 8 4", "RawSize = 8 8", "'8 8' in the header is not 3 whole numbers"),
        ("# SEC", "# Local Alignment\n# SEC", "line 6: .* has 10 numbers, but .* has 7"),
    ],
)
def test_errors_name_the_line(tmp_path, old, new, message):
    text = aln_text(rows_of(TILT, range(1, 5)), (8, 8, 4))
    assert old in text
    with pytest.raises(InputError, match=message):
        read_aln(written(tmp_path, text.replace(old, new)))


def test_files_of_another_kind(tmp_path):
    with pytest.raises(InputError, match="no aligned image"):
        read_aln(written(tmp_path, "# AreTomo Alignment\n"))
    with pytest.raises(InputError, match="has 0 numbers"):
        read_aln(written(tmp_path, ">sequence\nACGT\n"))
    with pytest.raises(MissingFileError):
        read_aln(tmp_path / "none.aln")


def test_a_local_alignment_cut_short_is_refused(tmp_path):
    patches = [(t, p, 0, 0, 1, 1, 1.0) for t in range(4) for p in range(3)]
    path = written(tmp_path, aln_text(rows_of(TILT, range(1, 5)), (8, 8, 4), patches=patches[:-1]))
    with pytest.raises(InputError, match=r"11 lines, but 4 images with 3 patches need 12"):
        read_aln(path)


def local(tmp_path, patches, image_shape=(200, 400)):
    rows = [(1, 84.3, 30.0, -20.0, 40.0)]
    alignment = read_aln(written(tmp_path, aln_text(rows, (400, 200, 1), patches=patches)))
    return alignment, LocalShift(alignment, alignment.patches, image_shape, 2.0)


def test_patches_are_weighed_as_aretomo_does(tmp_path):
    patches = [
        (0, 0, -100.0, -50.0, 3.0, 1.0, 1.0),
        (0, 1, 100.0, -50.0, -2.0, 4.0, 1.0),
        (0, 2, 0.0, 50.0, 99.0, 99.0, 0.0),  # a bad one
    ]
    alignment, shift = local(tmp_path, patches)
    q = np.array([-13.0, -41.0])  # in pixels, without the shift of the whole
    weights = [
        np.exp(-100 * (((q[0] - x) / 400) ** 2 + ((q[1] - y) / 200) ** 2))
        for _, _, x, y, _, _, good in patches
        if good
    ]
    expected = (weights[0] * np.array([3.0, 1.0]) + weights[1] * np.array([-2.0, 4.0])) / sum(
        weights
    )
    found = shift(0, 2.0 * (q + alignment.shift_px[0]))
    np.testing.assert_allclose(found, 2.0 * expected, rtol=1e-12)
    np.testing.assert_allclose(shift(0, np.array([1e6, -1e6])), [-4.0, 8.0])  # far away: nearest


def test_no_good_patch_no_shift(tmp_path):
    _, shift = local(tmp_path, [(0, 0, 0.0, 0.0, 5.0, 5.0, 0.0)])
    np.testing.assert_array_equal(shift(0, np.ones((2, 3, 2))), np.zeros((2, 3, 2)))


def test_local_maps_send_points_where_aretomo_does(tmp_path):
    """R p + shift of the whole + local shift at R p: at nodes exactly, above and below nearly."""
    patches = [
        (0, p, x, y, 0.02 * x + 1.0, 0.01 * y - 0.5, 1.0)
        for p, (x, y) in enumerate((x, y) for y in (-60.0, 0.0, 60.0) for x in (-150.0, 0.0, 150.0))
    ]
    alignment, shift = local(tmp_path, patches)
    geometry = TiltGeometry.from_angles(
        alignment.tilt_deg, alignment.rotation_deg, shift_angst=2.0 * alignment.shift_px
    )
    moved = displaced(geometry, (300.0, 700.0, 100.0), shift).local
    for j, i in ((3, 5), (30, 11), (64, 27)):
        for z in (-50.0, 0.0, 20.0, 50.0):
            point = np.array([moved.x_angst[i], moved.y_angst[j], z])
            place = geometry.project([point])[0, 0]
            m = moved.image_from_volume[0, j, i]
            expected = place + shift(0, place)
            np.testing.assert_allclose(m[:, :3] @ point + m[:, 3], expected, atol=0.4)
            if z == 0:
                np.testing.assert_allclose(m[:, :3] @ point + m[:, 3], expected, atol=1e-9)
