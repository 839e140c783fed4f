"""Where a result comes from: digests, commit and library versions."""

import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

_LIBRARIES = ("numpy", "torch", "transformers", "tokenizers", "safetensors")


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit() -> str:
    """The commit of this checkout, with "+changes" where files differ; "unknown" outside one."""
    head = _git("rev-parse", "HEAD")
    if head is None:
        return "unknown"
    return f"{head}+changes" if _git("status", "--porcelain", "--", "models", "training") else head


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide the weights."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version()} | found


def _git(*arguments: str) -> str | None:
    where = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
