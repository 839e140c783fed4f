"""A small object store for tests: as much of S3 as reading asks of it, over HTTP on this machine."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

TIME = ("Thu, 01 Jan 2026 00:00:00 GMT", "2026-01-01T00:00:00.000Z")


@dataclass
class Bucket:
    """Its objects by key, and how many pieces of them were fetched; a closed one tells nobody anything."""

    objects: dict[str, bytes] = field(default_factory=dict)
    is_closed: bool = False
    n_fetched: int = 0


@dataclass
class ObjectStore:
    """What it holds, where it listens, and the secret that its requests must not be told with."""

    port: int
    buckets: dict[str, Bucket]

    def url(self, path: str) -> str:
        """That of a bucket or an object, with the credentials of a user."""
        return f"s3://user:S3cret@{path}?scheme=http&endpoint_override=127.0.0.1:{self.port}"


@contextmanager
def object_store(buckets: dict[str, Bucket]) -> Iterator[ObjectStore]:
    """A store that answers while the block runs."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            asked = urlsplit(self.path)
            name, _, key = unquote(asked.path).strip("/").partition("/")
            bucket = buckets.get(name)
            if bucket is None:
                self._send(404, _error("NoSuchBucket"))
            elif bucket.is_closed:
                self._send(403, _error("AccessDenied"))
            elif not key:
                self._send(200, _listing(bucket, parse_qs(asked.query)))
            elif key not in bucket.objects:
                self._send(404, _error("NoSuchKey"))
            else:
                bucket.n_fetched += self.command == "GET"
                self._send_object(bucket.objects[key])

        def _send_object(self, content: bytes) -> None:
            piece = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if piece is None:
                self._send(200, content)
                return
            start, stop = int(piece[1]), min(int(piece[2] or len(content)) + 1, len(content))
            self._send(206, content[start:stop], f"bytes {start}-{stop - 1}/{len(content)}")

        def _send(self, status: int, content: bytes, content_range: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Last-Modified", TIME[0])
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield ObjectStore(server.server_address[1], buckets)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


def _listing(bucket: Bucket, asked: dict[str, list[str]]) -> bytes:
    """What lies under a prefix: objects, and folders where a delimiter is asked for."""
    prefix, delimiter = asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0]
    found, folders = [], set()
    for key, content in sorted(bucket.objects.items()):
        if not key.startswith(prefix):
            continue
        inner = key.removeprefix(prefix)
        if delimiter and delimiter in inner:
            folders.add(prefix + inner.partition(delimiter)[0] + delimiter)
        else:
            found.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                f"<LastModified>{TIME[1]}</LastModified></Contents>"
            )
    parts = [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders)]
    body = "".join([*found, *parts])
    n = f"<KeyCount>{len(found) + len(parts)}</KeyCount><IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult><Prefix>{escape(prefix)}</Prefix>{n}{body}</ListBucketResult>".encode()
