"""Where a classifier lies that somebody names: in the package, at a path, or on the hub."""

import re
from pathlib import Path

BUNDLED = {"bundled": "harm-minilm-en-6", "bundled-fast": "harm-bag-en-2"}

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILES = ("artifact.json", "weights.safetensors", "tokenizer.json")


def is_hub_id(source: str | Path) -> bool:
    """Whether a string has the form owner/name and nothing lies at that path; a `Path` is never one."""
    return isinstance(source, str) and not Path(source).exists() and _HUB_ID.fullmatch(source) is not None


def artifact_directory(source: str | Path) -> Path:
    """The directory of a bundled classifier by its name, of one at a path, or of a copy from the hub.

    The names are "bundled", the exact one, and "bundled-fast", the quick one. A path that does not exist
    and has the form owner/name is looked up on the hub, where the files of an artifact are fetched.

    Raises:
        FileNotFoundError: there is nothing at the path, and the hub has no such classifier or is not
            reachable.
    """
    if str(source) in BUNDLED:
        return Path(__file__).parent / "pretrained" / BUNDLED[str(source)]
    if not is_hub_id(source):
        return Path(source)
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - the network, only where a hub id is named
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - as above

    try:
        return Path(snapshot_download(str(source), allow_patterns=list(_FILES)))
    except (HfHubHTTPError, OSError) as error:
        told = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{source}: expected a path or the hub id of a classifier, got neither: {told}"
        ) from None
