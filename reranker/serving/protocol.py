"""`TimedHttp`: uvicorn's HTTP protocol with a limit on how long and how large a request's head may be.

Without it a client that sends a header now and then holds its connection for ever, and one that never ends
its headers fills the memory.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
HEAD_BYTES = 65_536


class TimedHttp(HttpToolsProtocol):
    """Closes connections whose next request line and headers are late; answers 400 to endless ones."""

    _clock: asyncio.TimerHandle | None = None
    _n_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: the first request is expected."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end."""
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes, of which those of a head are counted."""
        if self._clock is not None:
            self._n_bytes += len(data)
        super().data_received(data)
        if self._clock is not None and self._n_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._clock is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._forget_head()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._n_bytes = 0
        self._clock = self.loop.call_later(HEAD_S, self._too_late)

    def _forget_head(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_late(self) -> None:
        self._clock = None
        if not self.transport.is_closing():
            self.transport.close()
