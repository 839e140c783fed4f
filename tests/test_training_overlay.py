"""Overlays with fitted numbers: both files or neither, and a date that is one."""

import pytest

from training.overlay import fit_date, write_overlay


@pytest.mark.parametrize("taken", ["own.toml", "own.json"])
def test_a_directory_in_the_way_leaves_neither_file(tmp_path, taken):
    (tmp_path / taken).mkdir()
    with pytest.raises(
        ValueError, match=f"{taken}: expected a file or nothing of that name, got a directory"
    ):
        write_overlay(tmp_path / "own.toml", "schema = 1\n", "{}\n")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"own\.json: expected a name that ends in \.toml"):
        write_overlay(tmp_path / "own.json", "", "")


def test_a_date_is_a_day():
    assert fit_date("2026-11-22") == "2026-11-22"
    with pytest.raises(ValueError, match="--date: expected a day as 2026-11-22, got 'banana'"):
        fit_date("banana")
