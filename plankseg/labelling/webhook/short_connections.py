"""Connections of the webhook relay: few at once and each a short one, so that nobody keeps the relay busy by waiting.

uvicorn gives a client all the time in the world to send its request, and its limit of connections answers 503 to
everybody once so many are open. Here an idle one makes room instead.
"""

import asyncio
from collections import OrderedDict
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 200  # at once; one more ends the oldest, which an answered webhook never becomes
CONNECTION_S = 10.0  # from the first byte to the last; Label Studio itself waits one second


class ShortConnections(H11Protocol):
    """HTTP as uvicorn speaks it, on a connection that ends after some seconds, or when many newer ones are open."""

    _open: ClassVar["OrderedDict[ShortConnections, asyncio.TimerHandle]"] = OrderedDict()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; where too many are open, end the oldest."""
        super().connection_made(transport)
        self._open[self] = self.loop.call_later(CONNECTION_S, transport.abort)
        if len(self._open) > CONNECTIONS:
            oldest, timer = self._open.popitem(last=False)
            timer.cancel()
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self in self._open:
            self._open.pop(self).cancel()
        super().connection_lost(exc)
