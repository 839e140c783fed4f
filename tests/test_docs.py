"""The documents say what the code holds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.bundled import BUNDLED, artifact_directory
from reranker.assembly import feed_from_columns
from reranker.presets import preset_names
from reranker.writing import write_feed

ROOT = Path(__file__).parent.parent


def cited(text: str) -> set[str]:
    """Row names such as W3, with ranges such as W27-W31 spelled out."""
    found = set(re.findall(r"\b[WEC]\d+\b", text))
    for letter, first, last in re.findall(r"\b([WEC])(\d+)-[WEC](\d+)\b", text):
        found |= {f"{letter}{i}" for i in range(int(first), int(last) + 1)}
    return found


def test_every_row_that_policies_and_code_cite_is_on_the_sources_page() -> None:
    known = cited((ROOT / "docs" / "sources.md").read_text("utf-8"))
    files = [*(ROOT / "reranker").glob("**/*.toml"), *(ROOT / "reranker").glob("*.py")]
    used = set().union(*(cited(path.read_text("utf-8")) for path in files))
    assert used - known == set()


def test_the_readme_counts_the_presets() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert f"{len(preset_names())} presets and overlays" in text


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target


def run_code_of(document: Path, folder: Path) -> str:
    """What the document's one block of Python prints, run in a folder of its own, as a user would type it."""
    (code,) = re.findall(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    return done.stdout


def test_the_readmes_code_runs(tmp_path: Path) -> None:
    texts = ["Thank you all for the help.", "You are a pathetic idiot."]
    columns = {"request_id": ["r", "r"], "post_id": ["a", "b"], "text": texts, "like": [3, 9]}
    write_feed(feed_from_columns(columns), tmp_path / "feeds.parquet")
    assert run_code_of(ROOT / "README.md", tmp_path).startswith("['a', 'b']")


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_the_cards_code_runs(tmp_path: Path, name: str) -> None:
    card = artifact_directory(name) / "README.md"
    assert "array([0.0" in run_code_of(card, tmp_path)
