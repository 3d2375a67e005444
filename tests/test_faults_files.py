"""Damaged and forged files of every estimator (rows 90 to 93 of the table in tests/README.md), in short.

The long run, with every truncation, is tools/corrupt_models.py; the file format itself: test_persistence.py.
"""

import numpy as np
import pytest
from corrupt_models import DAMAGES, GOLDEN, damaged, examine, sealed
from every_estimator import EXAMPLES

import lstmfast
from lstmfast import persistence


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_files_are_refused_and_forged_ones_sound_90_93(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where files that go wrong are kept
    monkeypatch.setattr(persistence.os, "fsync", lambda handle: None)
    counts = examine(name, 40, 60, np.random.default_rng(90), tmp_path, truncations=False)
    assert not [what for what in counts if "WRONG" in what]
    assert counts["damages refused"] == 40
    assert counts["forgeries refused"] > 10
    assert counts["forgeries predicted"] + counts["forgeries explained"] > 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_damages(damage):
    data = bytes(range(256)) * 8
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(20):
        copy = bytearray(data)
        damage(copy, rng)
        changed += copy != data
    assert changed > 15


def test_sealed_files_pass_the_checksum(tmp_path):
    data = (GOLDEN / "classifier.lstmfast").read_bytes()
    assert sealed(data) == data
    wrong = bytearray(data)
    wrong[-1] ^= 1  # the last bit of a weight
    for whole, reason in ((bytes(wrong), "checksum mismatch"), (sealed(wrong), None)):
        (tmp_path / "model").write_bytes(whole)
        if reason:
            with pytest.raises(lstmfast.ModelFormatError, match=reason):
                lstmfast.load(tmp_path / "model")
        else:
            lstmfast.load(tmp_path / "model")


def test_damaged_is_never_the_original():
    rng = np.random.default_rng(0)
    assert all(damaged(bytes(300), rng) != bytes(300) for _ in range(50))  # where swapped blocks are equal
