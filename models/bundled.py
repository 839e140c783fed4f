"""The classifier that comes with the package, and where a classifier that somebody names lies."""

from pathlib import Path

from models.classifier import BUNDLED


def artifact_directory(source: str | Path) -> Path:
    """The directory of the classifier named "bundled", or the one at a path (which may not be there)."""
    return Path(__file__).parent / "pretrained" / BUNDLED if source == "bundled" else Path(source)
