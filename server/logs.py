"""Structured logs: one JSON object a line on stderr. No message content, no token, no address of staff."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

from server.wire.codec import encode

# Whose errors quote what they were given: a row's email, a header's token.
QUOTERS = ("asyncpg", "aiohttp", "msgspec")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def __init__(self, replica: str) -> None:
        super().__init__()
        self._replica = replica

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "replica": self._replica,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return encode(line).decode()

    def formatException(  # noqa: N802 (logging's name)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Give the chain of an error from its root to its end: where each arose, and what it says if it may be told."""
        error, parts = ei[1], []
        while error is not None:
            kind = f"{type(error).__module__}.{type(error).__qualname__}"
            says = kind if kind.startswith(QUOTERS) else f"{kind}: {error}"
            parts.append("".join(traceback.format_tb(error.__traceback__)) + says)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(reversed(parts))


def _who_speaks_no_http(record: logging.LogRecord) -> bool:
    """Make a line of ours of what aiohttp says of bytes that are no request: it quotes them and names the peer."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg, record.args = "a request could not be read: %s", (record.exc_info[0].__name__,)
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
    return True


def start(level: str, replica: str) -> None:
    """Send everything of `level` and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(replica))
    logging.getLogger("aiohttp.server").addFilter(_who_speaks_no_http)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
