"""What admins look at: the audit log."""

from server.context import Context
from server.wire import requests, responses
from server.wire.codec import cut, read_cursor
from storage import audit


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
            query.since,
            before,
            query.limit + 1,
        ),
    )
    page, cursor = cut(found, query.limit, lambda last: [last.id])
    return responses.Items(page, cursor)
