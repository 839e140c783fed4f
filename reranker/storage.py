"""Files of any storage that arrow knows, opened and listed in one way: disks, s3, gs, abfs and hdfs.

Credentials are looked for where each storage's own tools look (environment, configuration, the machine's
role). A storage that does not answer is given up in seconds, where arrow alone waits for minutes; but one of
Google's that takes the connection and stays silent is given up after 120 s, which arrow has no option for.
"""

import io
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import parse_qsl, unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from reranker.columns import FeedError
from reranker.location import Location, UrlParts

SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
ANSWER_S = 5  # without a byte, of each attempt
ATTEMPTS = 3
PARTS = ".parts"  # ends the folder of a result that is not whole yet
_PIECE_BYTES = 1 << 22  # of a stream, each a request to a storage far away
_S3_OPTIONS = ("endpoint_override", "region", "scheme")
_REFUSED = (
    "access_denied",
    "access denied",
    "status 401",
    "status 403",
    "401 unauthorized",
    "403 forbidden",
    "permission_denied",
    "unauthenticated",
    "access token",
    "invalid_access_key_id",
    "invalid_client_token_id",
    "signature_does_not_match",
    "authenticat",
    "authoriz",
    "credential",
)
_NO_ANSWER = ("network_connection", "curl", "unavailable", "timeout", "timed out", "connect", "resolve host")


def parquet(file: Location) -> pq.ParquetFile:
    """The file, opened; to be closed by the caller. Far away, a row group is fetched in few large pieces."""
    filesystem, path = _opened(file)
    return pq.ParquetFile(path, filesystem=filesystem, pre_buffer=not file.is_local)


def parquet_schema(file: Location) -> pa.Schema:
    """The columns of a file, and its metadata."""
    filesystem, path = _opened(file)
    return pq.read_schema(path, filesystem=filesystem)


def parquet_files(folder: Location) -> list[Location]:
    """The .parquet files of a folder and of those below it, in the order of their paths.

    Files and folders that begin with . or _ are left out, and so are the parts of unfinished results.

    Raises:
        FeedError: there is none, or the storage does not tell.
    """
    filesystem, path = _opened(folder)
    try:
        paths = _paths_on_disk(path) if folder.is_local else _paths_below(filesystem, path)
        found = sorted(filter(_is_partition, paths))
    except (pa.ArrowException, OSError) as error:
        raise unreadable(folder, error, "a readable folder") from None
    if not found:
        raise FeedError(f"{folder}: expected .parquet files in the directory, found none")
    return [folder.child(path) for path in found]


def _paths_below(filesystem: fs.FileSystem, folder: str) -> Iterator[str]:
    below = fs.SubTreeFileSystem(folder, filesystem)
    for found in below.get_file_info(fs.FileSelector("", recursive=True)):
        if found.type == fs.FileType.File:
            yield found.path


def _paths_on_disk(folder: str) -> Iterator[str]:
    """Arrow would follow links to folders: one called "latest" would be read twice, one upwards for ever."""

    def refuse(error: OSError) -> None:
        raise error

    for inner, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(inner, name).relative_to(folder).as_posix() for name in names)


def _is_partition(path: str) -> bool:
    *folders, name = path.split("/")
    is_hidden = any(one.startswith((".", "_")) for one in (*folders, name))
    return name.endswith(".parquet") and not is_hidden and not any(one.endswith(PARTS) for one in folders)


def stat(location: Location) -> fs.FileInfo:
    """What the storage says of a file or folder: its type, size and time of change.

    Raises:
        FeedError: there is none, or the storage does not tell.
    """
    filesystem, path = _opened(location)
    try:
        found = filesystem.get_file_info(path)
        if found.type != fs.FileType.NotFound:
            return found
        bucket = "" if location.is_local else path.partition("/")[0]
        if bucket and filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
            raise FeedError(f"{location}: expected a bucket {bucket}, found none")
    except (pa.ArrowException, OSError) as error:
        raise unreadable(location, error, "a readable file") from None
    raise FeedError(f"{location}: expected a file, found none")


def is_folder(found: fs.FileInfo) -> bool:
    """Whether it holds files."""
    return bool(found.type == fs.FileType.Directory)


def read_bytes(file: Location) -> bytes:
    """All that the file holds."""
    if file.is_local:
        return Path(file.typed).read_bytes()
    with stream(file) as opened:
        return opened.read()


def stream(file: Location) -> io.BufferedReader:
    """The file, opened for reading from its start; to be closed by the caller.

    However little is asked for, it is fetched in large pieces, which io.BufferedReader.read1 does not do.
    """
    filesystem, path = _opened(file)
    opened = filesystem.open_input_stream(path, compression=None, buffer_size=_PIECE_BYTES)
    return cast("io.BufferedReader", opened)  # it has its methods


def unreadable(file: Location, error: BaseException, expected: str, got: str = "") -> FeedError:
    """The error to raise of a file that could not be read: the storage's fault, or else the file's."""
    said = (str(error).splitlines() or [type(error).__name__])[0][:200]
    if not file.is_local:
        words = str(error).lower()
        if isinstance(error, PermissionError) or any(word in words for word in _REFUSED):
            return FeedError(f"{file}: expected permission to read, got {said}")
        if any(word in words for word in _NO_ANSWER):
            return FeedError(f"{file}: expected an answer from the storage, got {said}")
        got = "" if isinstance(error, OSError) else got
    return FeedError(f"{file}: expected {expected}, got {got or said}")


def _opened(location: Location) -> tuple[fs.FileSystem, str]:
    """The file system and the path in it.

    Raises:
        FeedError: the URL says no place, or the storage cannot be reached.
    """
    if location.is_local:
        return _of_this_machine(), location.typed
    scheme, _, host, *_ = location.parts
    if scheme == "file":
        raise FeedError(f"{location}: expected file:///PATH, a file of this machine, got one of {host}")
    if scheme not in SCHEMES:
        raise FeedError(
            f"{location}: expected a path or a URL of {', '.join(SCHEMES)}, got {scheme or 'none'}"
        )
    try:
        filesystem, path = _of_url(location.typed)
    except (pa.ArrowException, ValueError, OSError) as error:
        if location.typed in str(error):  # which may hold a secret
            error = ValueError("one that cannot be parsed; %20 stands for a blank")
        raise unreadable(location, error, "a URL that leads to files") from None
    return filesystem, f"{path.rstrip('/')}/{location.file}" if location.file else path


@cache
def _of_this_machine() -> fs.FileSystem:
    return fs.LocalFileSystem()


@cache
def _of_url(url: str) -> tuple[fs.FileSystem, str]:
    """Once in a process: connections are kept."""
    parts = Location(url).parts
    if parts.scheme == "s3":
        return _of_s3(parts)
    whole = url.replace("#", "%23")  # a name may have one; fragments have no meaning here
    if parts.scheme in {"gs", "gcs"} and "retry_limit_seconds" not in parts.query:
        whole += f"{'&' if parts.query else '?'}retry_limit_seconds={ANSWER_S}"
    try:
        return fs.FileSystem.from_uri(whole)
    except pa.ArrowInvalid as error:
        raise ValueError(str(error).replace(whole, url)) from None


def _of_s3(parts: UrlParts) -> tuple[fs.FileSystem, str]:
    """As `FileSystem.from_uri`, which knows no limits of time."""
    asked = dict(parse_qsl(parts.query))
    if unknown := sorted(set(asked) - set(_S3_OPTIONS)):
        raise ValueError(f"?{unknown[0]}; known are {', '.join(_S3_OPTIONS)}")
    if not parts.host:
        raise ValueError("no bucket")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in asked:
        scheme, _, host = endpoint.rstrip("/").rpartition("://")
        asked |= {"endpoint_override": host, "scheme": scheme or "https"}
    if not {"endpoint_override", "region"} & set(asked):
        asked["region"] = fs.resolve_s3_region(parts.host)
    key, _, secret = parts.user.partition(":")
    opened = fs.S3FileSystem(
        access_key=unquote(key) or None,
        secret_key=unquote(secret) or None,
        connect_timeout=ANSWER_S,
        request_timeout=ANSWER_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        region=asked.get("region"),
        scheme="http" if asked.get("scheme") == "http" else "https",
        endpoint_override=asked.get("endpoint_override"),
    )
    return opened, str(PurePosixPath(parts.host, unquote(parts.path).strip("/")))
