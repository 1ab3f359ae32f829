"""Bytes to types and back. The table of every path, on one page; the rules are in `actions`."""

from server.routes import admin, auth, credits, messages, operation, personas, sessions, socket, templates
from server.routes.door import ADMIN, ALL, STAFF, USER, Route
from server.wire import requests as q
from server.wire import responses as r

BASE = "/api/v1"

_KEY = {"Idempotency-Key": "1 to 255 printable ASCII characters; the same key never does the same thing twice."}
_REPLAYED = {"Idempotent-Replayed": "`true` when this had been done before with the same key."}
_PREFER = {"Prefer": "`wait=SECONDS`, at most 25: hold the answer until there is something (RFC 7240)."}
_POLL_REPLIES = {
    "X-Next-Poll-Ms": "When to ask again; 0: at once, more is waiting.",
    "X-Session-Revision": "Grows with every lasting change of the session.",
    "X-Credit-Balance": "For users: their balance.",
    "Preference-Applied": "`wait=SECONDS`, when the call was held.",
}
_OPENED = "Open the chat with a persona; 200 when it was there (opened again if closed, with its history)."
_POLLED = "What came after `last_message_id`: a bare array, ascending, at most 500 rows and 1 MiB; `[]` when none."
_WHOSE = "one's own, or for an admin anybody's by `account_id`."
_TAKEN = ("email_taken", "rate_limited")
_SEND = (
    "insufficient_credits suspended not_found session_closed persona_unavailable price_changed newer_answer "
    "idempotency_key_reused rate_limited outcome_unknown"
)

# fmt: off
API: tuple[Route, ...] = (
    Route("POST", "/auth/register", auth.register, "Register as a user.", None, q.Register, answer=r.LoggedIn, status=201, codes=("wrong_entry", *_TAKEN)),
    Route("POST", "/auth/login", auth.log_in, "Log in; with `cookie`, the token is set as a cookie.", None, q.LogIn, answer=r.LoggedIn, codes=("bad_credentials", "suspended", "origin_refused", "rate_limited")),
    Route("POST", "/auth/logout", auth.log_out, "Revoke this login.", status=204),
    Route("GET", "/auth/me", auth.me, "Give one's own account.", answer=r.Account),
    Route("PATCH", "/auth/me", auth.rename, "Change one's name.", body=q.EditMe, answer=r.Account),
    Route("POST", "/auth/password", auth.change_password, "Change one's password, revoking the other logins.", body=q.ChangePassword, status=204, codes=("bad_credentials", "rate_limited")),
    Route("GET", "/personas", personas.listing, "List personas: users see active ones, staff also their own, admins all.", query=q.Paging, answer=r.Items[r.Persona]),
    Route("GET", "/personas/{id}", personas.get, "Give one persona.", answer=r.Persona, codes=("not_found",)),
    Route("POST", "/personas", personas.create, "Create a persona.", STAFF | ADMIN, q.NewPersona, answer=r.Persona, status=201),
    Route("PATCH", "/personas/{id}", personas.edit, "Edit a persona, or hand it over with all its chats.", STAFF | ADMIN, q.EditPersona, answer=r.Persona, codes=("not_found",)),
    Route("POST", "/sessions", sessions.open_, _OPENED, USER, q.OpenSession, answer=r.Session, status=201, also=(200,), codes=("not_found", "persona_unavailable")),
    Route("GET", "/sessions", sessions.inbox, "The inbox: newest activity first, or longest waiting first.", USER | STAFF, query=q.InboxQuery, answer=r.Items[r.Session]),
    Route("POST", "/sessions/changes", sessions.changes, "Give the chats whose revision differs from what the client knows.", USER | STAFF, q.KnownRevisions, answer=r.SessionChanges, codes=("rate_limited",), headers=_PREFER, replies={name: _POLL_REPLIES[name] for name in ("X-Next-Poll-Ms", "Preference-Applied")}, bounded=False),
    Route("GET", "/sessions/{id}", sessions.get, "Give one chat.", USER | STAFF, answer=r.Session, codes=("not_found",)),
    Route("POST", "/sessions/{id}/close", sessions.close, "Close a chat.", USER | STAFF, answer=r.Session, codes=("not_found",)),
    Route("PUT", "/sessions/{id}/read", sessions.read, "Move one's read position, only ever forward.", USER | STAFF, q.SetRead, answer=r.Session, codes=("not_found",)),
    Route("POST", "/sessions/{id}/waiting", sessions.set_waiting, "Say that a chat needs no answer.", STAFF, q.SetWaiting, answer=r.Session, codes=("not_found",)),
    Route("GET", "/messages/poll", messages.poll, _POLLED, USER | STAFF, query=q.Poll, answer=list[r.Message], codes=("not_found", "rate_limited"), headers=_PREFER, replies=_POLL_REPLIES, bounded=False),
    Route("POST", "/messages", messages.send, "Send a message exactly once.", USER | STAFF, q.SendMessage, answer=r.SentMessage, status=201, codes=tuple(_SEND.split()), headers=_KEY, replies=_REPLAYED, bounded=False),
    Route("GET", "/messages", messages.history, "A page of history, newest first; `next_cursor` is the next `before_id`.", ALL, query=q.HistoryQuery, answer=r.Items[r.Message], codes=("not_found",)),
    Route("GET", "/credits", credits.balance, f"A balance: {_WHOSE}", query=q.OfAccount, answer=r.Balance, codes=("not_found",)),
    Route("GET", "/credits/entries", credits.entries, f"A statement: {_WHOSE}", query=q.EntriesQuery, answer=r.Items[r.Entry], codes=("not_found",)),
    Route("POST", "/credits/grants", credits.grant, "Book a grant, a purchase or an adjustment.", ADMIN, q.GrantCredits, answer=r.Entry, status=201, codes=("balance_too_low", "idempotency_key_reused"), headers=_KEY, replies=_REPLAYED),
    Route("POST", "/messages/{id}/refund", messages.refund, "Pay a message back, once for ever; 200 when it was already.", ADMIN, q.Refund, answer=r.Entry, status=201, also=(200,), codes=("not_found",)),
    Route("GET", "/templates", templates.listing, "List one's own and the shared templates.", STAFF, query=q.Paging, answer=r.Items[r.Template]),
    Route("POST", "/templates", templates.create, "Create a template.", STAFF, q.NewTemplate, answer=r.Template, status=201),
    Route("PATCH", "/templates/{id}", templates.edit, "Edit a template.", STAFF, q.EditTemplate, answer=r.Template, codes=("not_found",)),
    Route("DELETE", "/templates/{id}", templates.delete, "Forget a template.", STAFF, status=204, codes=("not_found",)),
    Route("POST", "/templates/{id}/render", templates.render, "Fill a template for a chat, strictly.", STAFF, q.RenderTemplate, answer=r.Rendered, codes=("not_found", "unresolved_placeholders")),
    Route("GET", "/staff", admin.staff, "List the staff to hand over to.", STAFF | ADMIN, answer=r.Items[r.Staff]),
    Route("GET", "/accounts", admin.search, "Find accounts.", ADMIN, query=q.AccountsQuery, answer=r.Items[r.Account]),
    Route("GET", "/accounts/{id}", admin.get, "Give one account.", ADMIN, answer=r.Account, codes=("not_found",)),
    Route("POST", "/accounts", admin.create, "Make an account of any role.", ADMIN, q.NewAccount, answer=r.Account, status=201, codes=("email_taken",)),
    Route("PATCH", "/accounts/{id}", admin.edit, "Rename, suspend, activate, or give another role.", ADMIN, q.EditAccount, answer=r.Account, codes=("not_found", "last_admin")),
    Route("DELETE", "/accounts/{id}/logins", admin.log_out_everywhere, "Log an account out everywhere.", ADMIN, answer=r.LoggedOut, codes=("not_found",)),
    Route("GET", "/ws", socket.connect, "Open a websocket; its frames are on the page of this document.", ALL, status=101, codes=("rate_limited", "malformed_body"), bounded=False),
    Route("GET", "/audit", admin.audit, "Who did what, newest first.", ADMIN, query=q.AuditQuery, answer=r.Items[r.AuditRecord]),
    Route("GET", "/stats", admin.stats, "The house at a glance.", ADMIN, answer=r.Stats),
)

OPERATION: tuple[Route, ...] = (
    Route("GET", "/healthz", operation.health, "Alive?", None),
    Route("GET", "/readyz", operation.ready, "Ready for requests?", None, answer=operation.Ready),
    Route("GET", "/metrics", operation.metrics, "Prometheus.", None),
)
# fmt: on
