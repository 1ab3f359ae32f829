"""Websocket frames: commands from client to server, events from server to client, each tagged by `type`."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from server.wire.requests import Content, Id, Key, Position
from server.wire.responses import Account, Message, Session
from storage.records import SenderType

Ref = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[str, Meta(max_length=64)]


class Command(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag=str.lower):
    """What a client says."""


class Resume(Command, frozen=True):
    """What came after these positions? Answered by `message` events, `gap`s and one `ok`."""

    ref: Ref
    positions: Annotated[dict[Id, Position], Meta(max_length=5000)]


class Send(Command, frozen=True):
    """The body of POST /messages, with its idempotency key."""

    ref: Ref
    session_id: Id
    content: Content
    idempotency_key: Key | None = None
    expected_cost: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    seen_message_id: Position | None = None
    template_id: Id | None = None


class Read(Command, frozen=True):
    """The newest message that was read."""

    ref: Ref
    session_id: Id
    message_id: Position


class Typing(Command, frozen=True):
    """The sender is typing; said again at most every 5 s, it expires after 8 s."""

    session_id: Id
    ref: Ref | None = None


class Ping(Command, frozen=True):
    """Are you there? Answered by `ok`."""

    ref: Ref


AnyCommand = Resume | Send | Read | Typing | Ping


class Event(Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """What the house says."""


class Hello(Event, frozen=True):
    """The first event of a connection, once everything that happens from now on will be heard."""

    connection_id: str
    account: Account
    now: datetime
    version: str
    heartbeat_seconds: int


class MessageEvent(Event, frozen=True, tag="message"):
    """A message was committed. `idempotency_key` is there on the author's own connections."""

    message: Message
    prev_id: int
    revision: Annotated[
        int, Meta(description="The session's, after this message; 0 when it is told again: the heads say it then.")
    ]
    idempotency_key: str | UnsetType = UNSET


class ReadEvent(Event, frozen=True, tag="read"):
    """A participant has read up to a message."""

    session_id: int
    sender_type: SenderType
    message_id: int
    revision: int


class TypingEvent(Event, frozen=True, tag="typing"):
    """A participant is typing; expires after 8 s."""

    session_id: int
    sender_type: SenderType


class PresenceEvent(Event, frozen=True, tag="presence"):
    """A participant came or went."""

    session_id: int
    sender_type: SenderType
    online: bool


class BalanceEvent(Event, frozen=True, tag="balance"):
    """One's own balance; the highest `credit_entry_id` holds."""

    credit_balance: int
    credit_entry_id: int


class SessionEvent(Event, frozen=True, tag="session"):
    """A session was opened, closed, handed over, or waits no more."""

    session: Session


class Gone(Event, frozen=True):
    """These sessions are no longer one's own."""

    session_ids: list[int]


class HeadState(Struct, frozen=True):
    """How far a session is."""

    message_id: int
    revision: int


class Heads(Event, frozen=True):
    """How far one's sessions are: what a client holds less of, it fetches."""

    heads: dict[int, HeadState]
    credit_balance: int | UnsetType = UNSET
    credit_entry_id: int | UnsetType = UNSET


class Gap(Event, frozen=True):
    """More than a resume carries is missing in this session: poll it."""

    session_id: int


class Reconnect(Event, frozen=True):
    """Please come back elsewhere, after a while."""

    after_ms: int


class Ok(Event, frozen=True):
    """The answer to a command; the members depend on it."""

    ref: int | str
    gone: list[int] | UnsetType = UNSET
    heads: dict[int, HeadState] | UnsetType = UNSET
    credit_balance: int | UnsetType = UNSET
    credit_entry_id: int | UnsetType = UNSET
    message: Message | UnsetType = UNSET
    replayed: bool = False


class FieldError(Struct, frozen=True):
    """What is wrong with one field of a command."""

    field: str
    message: str


class Error(Event, frozen=True):
    """A command was refused: the members of the HTTP problem, and its `ref` where it had one."""

    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    request_id: str
    ref: int | str | UnsetType = UNSET
    errors: list[FieldError] | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET
    credit_balance: int | UnsetType = UNSET
    message_cost: int | UnsetType = UNSET
    messages: list[Message] | UnsetType = UNSET


AnyEvent = (
    Hello
    | MessageEvent
    | ReadEvent
    | TypingEvent
    | PresenceEvent
    | BalanceEvent
    | SessionEvent
    | Gone
    | Heads
    | Gap
    | Reconnect
    | Ok
    | Error
)
