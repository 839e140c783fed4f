import pytest

from training.command import run_command


def test_bad_input_is_one_line_and_a_defect_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def bad() -> None:
        raise ValueError("posts.csv: row 17,\n  toxicity: expected a number")

    def broken() -> None:
        raise RuntimeError("a defect")

    with pytest.raises(SystemExit) as stopped:
        run_command(bad)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "posts.csv: row 17, toxicity: expected a number\n"
    with pytest.raises(RuntimeError):
        run_command(broken)
    run_command(lambda: None)
