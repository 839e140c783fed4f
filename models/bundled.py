"""The classifiers that come with the package, and where a classifier that somebody names lies."""

from pathlib import Path

BUNDLED = {"bundled": "harm-minilm-en-2", "bundled-fast": "harm-bag-en-1"}


def artifact_directory(source: str | Path) -> Path:
    """The directory of a bundled classifier by its name, or the one at a path (which may not be there).

    The names are "bundled", the exact one, and "bundled-fast", the quick one.
    """
    if str(source) in BUNDLED:
        return Path(__file__).parent / "pretrained" / BUNDLED[str(source)]
    return Path(source)
