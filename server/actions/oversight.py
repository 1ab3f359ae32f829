"""What admins look at: the audit log."""

from datetime import UTC, datetime

from server.context import Context
from server.errors import Invalid
from server.wire import requests, responses
from server.wire.codec import cut, read_cursor
from storage import audit


def _in_utc(since: datetime | None) -> datetime | None:
    try:
        return since and since.astimezone(UTC)
    except OverflowError:  # the first and the last day of the calendar, elsewhere in the world
        raise Invalid(("since", "is out of range.")) from None


async def audit_log(context: Context, query: requests.AuditQuery) -> responses.Items[responses.AuditRecord]:
    """Give who did what, newest first."""
    (before,) = read_cursor(query.cursor, tuple[int]) or (None,)
    found = await audit.search(
        context.book,
        audit.AuditQuery(
            query.actor_id,
            query.subject_type,
            query.subject_id,
            query.action,
            _in_utc(query.since),
            before,
            query.limit + 1,
        ),
    )
    page, cursor = cut(found, query.limit, lambda last: [last.id])
    return responses.Items(page, cursor)
