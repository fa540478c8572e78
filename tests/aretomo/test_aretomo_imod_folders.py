"""AreTomo3's folders of -OutImod without an .aln beside them: IMOD folders, with habits."""

import numpy as np
import pytest
from strategies_aretomo import write_mrc

from tomofilt.series.projects import detect

TILT = [-40.0, -20.0, 0.0, 20.0]


def imod_folder(root, out_imod):
    """What -OutImod 1 or 2 leaves of a series without dark images."""
    folder = root / "TS_Imod"
    folder.mkdir()
    stack = root / "TS.mrc" if out_imod == 1 else folder / "TS_st.mrc"
    write_mrc(stack, (4, 32, 48))
    if out_imod == 1:
        for seed, half in enumerate(("EVN", "ODD"), start=1):
            write_mrc(root / f"TS_{half}.mrc", (4, 32, 48), seed=seed)
    a = np.radians(-84.3)
    row = " ".join(f"{n:9.3f}" for n in (np.cos(a), -np.sin(a), np.sin(a), np.cos(a)))
    (folder / "TS_st.xf").write_text(f"{row}      0.00       0.00\n" * 4 + "\n")
    (folder / "TS_st.tlt").write_text("".join(f"{t:8.2f}\n" for t in TILT))
    (folder / "TS_st.xtilt").write_text("0\n" * 4)
    (folder / "newst.com").write_text(
        f"$newstack -StandardInput\nInputFile\t{stack.name}\nOutputFile\tTS_st.ali\n"
        "TransformFile\tTS_st.xf\nOffsetsInXandY  0.0,0.0\nBinByFactor     1\n"
    )
    (folder / "tilt.com").write_text(
        "$tilt -StandardInput\nInputProjections TS_st.ali\nIMAGEBINNED 1\nTILTFILE TS_st.tlt\n"
        "THICKNESS 24\nMode 2\nFULLIMAGE 32 48\nSUBSETSTART 0 0\nLOCALFILE TS_st.xf\n"
        "XTILTFILE TS_st.xtilt\nOFFSET 0.0\nSHIFT 0.0 0.0\n"
    )
    (folder / "TS_ctf.txt").write_text(
        "1  0  0.0  0.0  0.0  3\n"
        + "".join(f"{i} {i} {t:.2f} {t:.2f} 3000.00 3100.00 20.00\n" for i, t in enumerate(TILT, 1))
    )
    return folder


@pytest.mark.parametrize("out_imod", [1, 2])
def test_stack_halves_and_defocus_are_found(tmp_path, out_imod):
    folder = imod_folder(tmp_path, out_imod)
    inside, above = detect(folder), detect(tmp_path)
    assert inside.names == ("TS_st",)
    assert above.names == ("TS",)
    one, other = inside.read("TS_st"), above.read("TS")
    for series in (one, other):
        axes = np.sort([series.ctf.defocus_u_angst, series.ctf.defocus_v_angst], axis=0)
        np.testing.assert_allclose(axes.T, [[30000.0, 31000.0]] * 4)
        assert series.grid.shape == (24, 48, 32)
        assert (series.halves is not None) == (out_imod == 1)
    np.testing.assert_array_equal(one.geometry.image_from_volume, other.geometry.image_from_volume)
    assert other.name == "TS"
    assert above.destination("TS", None).volume == tmp_path / "TS_tomofilt_rec.mrc"
