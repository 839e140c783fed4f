"""Where data lie: a path of this machine, or a URL of an object store, as it was typed.

`pathlib` would make one slash of the two in a URL, so that commands keep a `Location` and not a path. A URL
may hold a secret: it is never written out whole, only without its user, password and query.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote


class UrlParts(NamedTuple):
    """The parts of a URL, as they stand in it."""

    scheme: str
    user: str
    host: str
    path: str
    query: str


@dataclass(frozen=True)
class Location:
    """A file or a folder; small and picklable: whoever receives one opens the storage itself.

    Attributes:
        typed: a path or a URL.
        file: the path of a file in the folder that a URL stands for; "" for what the URL itself stands for.
    """

    typed: str = field(repr=False)
    file: str = ""

    @classmethod
    def of(cls, where: "Where") -> "Location":
        """What was typed as a location; a file:// URL of this machine is the path it holds."""
        if isinstance(where, Location):
            return where
        if isinstance(where, Path) or "://" not in where:
            return cls(str(Path(where)))
        parts = cls(where).parts
        if parts.scheme == "file" and parts.host in {"", "localhost"}:
            return cls(str(Path(unquote(parts.path))))
        return cls(where)

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return "://" not in self.typed

    @property
    def parts(self) -> UrlParts:
        """The parts of a URL; a secret may have a slash in it, which the standard's parsers cut at."""
        scheme, _, rest = self.typed.partition("://")
        rest, _, query = rest.partition("?")
        first = rest.partition("/")[0]
        user, at, _ = first.rpartition("@")
        if not at and re.search(r":(?!\d+$)", first):
            user, at, _ = rest.rpartition("@")
        host, slash, path = rest[len(user + at) :].partition("/")
        return UrlParts(scheme, user, host, slash + path, query)

    @property
    def name(self) -> str:
        """The last part of the path."""
        if self.is_local:
            return Path(self.typed).name
        return PurePosixPath(self.file or self.parts.path).name or self.parts.host

    @property
    def suffix(self) -> str:
        """That of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    def child(self, path: str) -> "Location":
        """A file below the folder, by its path from there."""
        return Location(str(Path(self.typed) / path)) if self.is_local else replace(self, file=path)

    def absolute(self) -> "Location":
        """The same for a process that runs in another folder."""
        return Location(str(Path(self.typed).absolute())) if self.is_local else self

    def __str__(self) -> str:
        if self.is_local:
            return self.typed
        scheme, user, host, path, _ = self.parts
        container = f"{user}@" if scheme.startswith("abfs") and user and ":" not in user else ""
        return f"{scheme}://{container}{host}{path.rstrip('/')}" + f"/{self.file}" * bool(self.file)


Where: TypeAlias = str | Path | Location
