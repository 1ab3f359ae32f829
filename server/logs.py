"""Structured logs: one JSON object a line on stderr. No message content, no token, no address of staff."""

import logging
import sys
from datetime import UTC, datetime

from server.wire.codec import encode


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


def start(level: str, replica: str) -> None:
    """Send everything of `level` and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(replica))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
