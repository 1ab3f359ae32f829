"""The frozen Structs that storage returns. Ids are BIGINT, times are aware and in UTC, credits are whole numbers."""

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

Role = Literal["user", "staff", "admin"]
AccountStatus = Literal["active", "suspended"]
SessionStatus = Literal["active", "closed"]
SenderType = Literal["user", "persona"]
EntryKind = Literal["grant", "purchase", "message", "refund", "adjustment"]


class Account(Struct, frozen=True):
    """A person who can log in. `credit_entry_id` is the newest entry of the ledger, 0 before the first."""

    id: int
    email: str
    display_name: str
    role: Role
    status: AccountStatus
    credit_balance: int
    credit_entry_id: int
    created_at: datetime


class Login(Struct, frozen=True):
    """An authenticated token of an account, by its hash."""

    token_hash: bytes
    account_id: int
    role: Role
    status: AccountStatus
    site: str
    expires_at: datetime
    last_seen_at: datetime


class Persona(Struct, frozen=True):
    """The identity that staff answer as."""

    id: int
    staff_account_id: int
    name: str
    avatar_url: str
    bio: str
    attributes: dict[str, Any]
    guide: str
    is_active: bool
    message_cost: int
    created_at: datetime
    updated_at: datetime


class LastMessage(Struct, frozen=True):
    """What the inbox shows of a session's newest message; `preview` has at most 120 characters."""

    id: int
    sender_type: SenderType
    preview: str
    created_at: datetime


class Session(Struct, frozen=True):
    """One chat between a user and a persona, as one of its participants reads it."""

    id: int
    status: SessionStatus
    revision: int
    user_account_id: int
    user_display_name: str
    persona_id: int
    persona_name: str
    persona_avatar_url: str
    message_cost: int
    staff_account_id: int
    last_message_id: int
    user_read_id: int
    persona_read_id: int
    waiting_since: datetime | None
    active_at: datetime
    created_at: datetime
    updated_at: datetime
    unread_count: int = 0
    last_message: LastMessage | None = None


class Message(Struct, frozen=True):
    """One immutable chat message. `prev_id` is the session's message before it, 0 for the first."""

    id: int
    session_id: int
    sender_type: SenderType
    sender_id: int
    content: str
    credit_cost: int
    created_at: datetime
    prev_id: int


class Page(Struct, frozen=True):
    """What came after a position: messages in order, and the session's state at that moment.

    `more` says that messages beyond these wait. `credit_balance` is the reader's, None for staff.
    """

    messages: list[Message]
    more: bool
    status: SessionStatus
    revision: int
    last_message_id: int
    active_at: datetime
    credit_balance: int | None


class Entry(Struct, frozen=True):
    """One line of the ledger. `amount` is signed; the persona is that of the message it belongs to."""

    id: int
    account_id: int
    amount: int
    balance_after: int
    kind: EntryKind
    message_id: int | None
    session_id: int | None
    persona_id: int | None
    persona_name: str | None
    note: str
    created_at: datetime


class Template(Struct, frozen=True):
    """A text that staff send often; without an owner it is shared by all staff."""

    id: int
    staff_account_id: int | None
    persona_id: int | None
    title: str
    shortcut: str
    body: str
    use_count: int
    created_at: datetime
    updated_at: datetime


class AuditRecord(Struct, frozen=True):
    """Who did what to whom, and when."""

    id: int
    actor_account_id: int | None
    action: str
    subject_type: str
    subject_id: int | None
    detail: dict[str, Any]
    created_at: datetime
