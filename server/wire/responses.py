"""What the house answers, and how records become it. Times are RFC 3339 in UTC, ids integers."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import UNSET, Struct, UnsetType, convert, structs

from storage import records
from storage.records import AccountStatus, EntryKind, LastMessage, Role, SenderType, SessionStatus

T = TypeVar("T")


class Items(Struct, Generic[T], frozen=True):
    """A page of a collection; `next_cursor` asks for the next one, null at the end."""

    items: list[T]
    next_cursor: str | None = None


class Account(Struct, frozen=True):
    """An account. Of two balances, the one with the higher `credit_entry_id` is newer."""

    id: int
    email: str
    display_name: str
    role: Role
    status: AccountStatus
    credit_balance: int
    credit_entry_id: int
    created_at: datetime

    @classmethod
    def of(cls, record: records.Account) -> "Account":
        """Give the wire's form of a record."""
        return convert(record, cls, from_attributes=True)


class LoggedIn(Struct, frozen=True, omit_defaults=True):
    """A login. Without `token`, the cookie carries it."""

    expires_at: datetime
    account: Account
    token: str | UnsetType = UNSET


class Persona(Struct, frozen=True):
    """A persona; who answers as it, and its guide, are for staff and admins only."""

    id: int
    name: str
    avatar_url: str
    bio: str
    attributes: dict[str, Any]
    is_active: bool
    message_cost: int
    online: bool
    staff_account_id: int | UnsetType = UNSET
    guide: str | UnsetType = UNSET

    @classmethod
    def of(cls, record: records.Persona, *, online: bool, for_staff: bool) -> "Persona":
        """Give the wire's form of a record, for a user or for staff."""
        return cls(
            record.id,
            record.name,
            record.avatar_url,
            record.bio,
            record.attributes,
            record.is_active,
            record.message_cost,
            online,
            record.staff_account_id if for_staff else UNSET,
            record.guide if for_staff else UNSET,
        )


class SessionUser(Struct, frozen=True):
    """The user of a session."""

    id: int
    display_name: str
    online: bool


class SessionPersona(Struct, frozen=True):
    """The persona of a session."""

    id: int
    name: str
    avatar_url: str
    message_cost: int
    online: bool


class Session(Struct, frozen=True):
    """One chat. `waiting_since` is for staff only; what depends on the reader is absent in events."""

    id: int
    status: SessionStatus
    revision: int
    user: SessionUser
    persona: SessionPersona
    last_message_id: int
    user_read_id: int
    persona_read_id: int
    created_at: datetime
    updated_at: datetime
    waiting_since: datetime | None | UnsetType = UNSET
    unread_count: int | UnsetType = UNSET
    last_message: LastMessage | None | UnsetType = UNSET

    @classmethod
    def of(
        cls, record: records.Session, *, online: Collection[int], for_staff: bool, for_reader: bool = True
    ) -> "Session":
        """Give the wire's form of a record; `online` holds the account ids of who is."""
        return cls(
            record.id,
            record.status,
            record.revision,
            SessionUser(record.user_account_id, record.user_display_name, record.user_account_id in online),
            SessionPersona(
                record.persona_id,
                record.persona_name,
                record.persona_avatar_url,
                record.message_cost,
                record.staff_account_id in online,
            ),
            record.last_message_id,
            record.user_read_id,
            record.persona_read_id,
            record.created_at,
            record.updated_at,
            record.waiting_since if for_staff else UNSET,
            record.unread_count if for_reader else UNSET,
            record.last_message if for_reader else UNSET,
        )


class SessionChanges(Struct, frozen=True):
    """What differs from what the client knows."""

    items: list[Session]
    gone: list[int]
    credit_balance: int | UnsetType = UNSET
    credit_entry_id: int | UnsetType = UNSET


class Message(Struct, frozen=True):
    """One message, as every door gives it: exactly these seven fields."""

    id: int
    session_id: int
    sender_type: SenderType
    sender_id: int
    content: str
    credit_cost: int
    created_at: datetime

    @classmethod
    def of(cls, record: records.Message) -> "Message":
        """Give the wire's form of a record."""
        return cls(
            record.id,
            record.session_id,
            record.sender_type,
            record.sender_id,
            record.content,
            record.credit_cost,
            record.created_at,
        )


class SentMessage(Struct, frozen=True):
    """The message as the book has it; for users their balance after it."""

    message: Message
    credit_balance: int | UnsetType = UNSET
    credit_entry_id: int | UnsetType = UNSET


class Balance(Struct, frozen=True):
    """A balance, and the newest entry that made it."""

    account_id: int
    credit_balance: int
    credit_entry_id: int


class PersonaName(Struct, frozen=True):
    """Which persona a debit belongs to."""

    id: int
    name: str


class Entry(Struct, frozen=True):
    """One line of a statement."""

    id: int
    amount: int
    balance_after: int
    kind: EntryKind
    message_id: int | None
    session_id: int | None
    persona: PersonaName | None
    note: str
    created_at: datetime

    @classmethod
    def of(cls, record: records.Entry) -> "Entry":
        """Give the wire's form of a record."""
        persona = None
        if record.persona_id is not None and record.persona_name is not None:
            persona = PersonaName(record.persona_id, record.persona_name)
        return cls(
            record.id,
            record.amount,
            record.balance_after,
            record.kind,
            record.message_id,
            record.session_id,
            persona,
            record.note,
            record.created_at,
        )


class Template(Struct, frozen=True):
    """A text that staff send often."""

    id: int
    persona_id: int | None
    title: str
    shortcut: str
    body: str
    use_count: int
    shared: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, record: records.Template) -> "Template":
        """Give the wire's form of a record."""
        values = structs.asdict(record)
        return cls(shared=values.pop("staff_account_id") is None, **values)


class Rendered(Struct, frozen=True):
    """A template with every placeholder filled."""

    content: str


class Staff(Struct, frozen=True):
    """A staff member to hand over to; `waiting` counts the chats that wait for an answer."""

    id: int
    display_name: str
    online: bool
    site: str | None
    waiting: int


class LoggedOut(Struct, frozen=True):
    """How many logins were revoked."""

    revoked: int


# Some records are their own form on the wire.
AuditRecord = records.AuditRecord


class Stats(Struct, frozen=True):
    """The house at a glance; `sockets` are those of the replica that answers."""

    accounts: int
    online: int
    sockets: int
    active_sessions: int
    waiting: int
    longest_waiting_since: datetime | None
    sends_last_minute: int
    median_response_seconds: float | None
    p90_response_seconds: float | None
    credits_outstanding: int
    credits_spent_today: int
