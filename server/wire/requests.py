"""What clients ask: bodies and query parameters. Unknown fields are refused, so that a misspelt one is noticed."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from storage.records import AccountStatus, Role, SessionStatus

MAX_ID = 2**63 - 1
Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Position = Annotated[int, Meta(ge=0, le=MAX_ID, description="A message id; 0 for the beginning.")]
Limit = Annotated[int, Meta(ge=1, le=200)]
# (Python's `$` also matches before a last line end, JavaScript's does not: `(?!\n)` makes them agree.)
EMAIL = r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$(?!\n)"
PATH = r"^(/[^/\\\s\x00-\x1f][^\\\s\x00-\x1f]*)?$(?!\n)"
KEY = r"^[\x20-\x7e]{1,255}$(?!\n)"
# What a value that does not match is told.
IN_WORDS = {
    EMAIL: "must be an email address.",
    PATH: "must be a path on this site, like /avatars/1.png, or empty.",
    KEY: "must be 1 to 255 printable ASCII characters.",
}
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=EMAIL,
        examples=["user@example.com"],
    ),
]
# argon2 hashes any length; the upper bound keeps a hash from being made expensive.
Password = Annotated[str, Meta(min_length=8, max_length=200)]
GivenPassword = Annotated[str, Meta(max_length=200)]
Name = Annotated[str, Meta(min_length=1, max_length=60)]
# Longer than any content can be after trimming is refused early; the rule itself is in actions.messages.
Content = Annotated[str, Meta(description="1 to 4,000 code points after trimming; line ends are LF.")]
Key = Annotated[str, Meta(pattern=KEY, description="An idempotency key.")]
Note = Annotated[str, Meta(min_length=1, max_length=500, description="Shown to the user.")]
Money = Annotated[int, Meta(ge=-1_000_000_000, le=1_000_000_000)]
# A picture elsewhere would show its host who looks at it. Browsers drop tabs and line ends from a URL and read `\` as
# `/`, so that `/<tab>/host` would be another host: none of them is in a path of ours.
AvatarUrl = Annotated[
    str,
    Meta(
        max_length=500,
        pattern=PATH,
        description="A path on this site, or empty.",
    ),
]
Attributes = Annotated[dict[str, str | int | float | bool | None], Meta(max_length=50)]


class Body(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A JSON body."""


class Query(Struct, frozen=True, kw_only=True):
    """Query parameters."""


class Nothing(Body, frozen=True):
    """An empty body."""


class Register(Body, frozen=True):
    """A new user."""

    email: Email
    password: Password
    display_name: Name


class LogIn(Body, frozen=True):
    """Who wants in. With `cookie` the token is set as a cookie instead of being answered."""

    email: Annotated[str, Meta(max_length=254)]
    password: GivenPassword
    cookie: bool = False


class EditMe(Body, frozen=True):
    """A new name for oneself."""

    display_name: Name


class ChangePassword(Body, frozen=True):
    """The password used now, and the next one."""

    current_password: GivenPassword
    new_password: Password


class NewPersona(Body, frozen=True):
    """A persona. Staff create their own; an admin names the staff account."""

    name: Name
    staff_account_id: Id | None = None
    avatar_url: AvatarUrl = ""
    bio: Annotated[str, Meta(max_length=2000)] = ""
    attributes: Attributes = {}
    guide: Annotated[str, Meta(max_length=4000)] = ""
    is_active: bool = True
    message_cost: Annotated[int, Meta(ge=0, le=1_000_000)] = 1


class EditPersona(Body, frozen=True):
    """Changes of a persona; `staff_account_id` hands it over, with all its sessions."""

    name: Name | None = None
    staff_account_id: Id | None = None
    avatar_url: AvatarUrl | None = None
    bio: Annotated[str, Meta(max_length=2000)] | None = None
    attributes: Attributes | None = None
    guide: Annotated[str, Meta(max_length=4000)] | None = None
    is_active: bool | None = None
    message_cost: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None


class OpenSession(Body, frozen=True):
    """Whom to talk with."""

    persona_id: Id


class KnownRevisions(Body, frozen=True):
    """The revision that the client knows of each session."""

    known: Annotated[dict[Id, Position], Meta(max_length=5000)]


class SetRead(Body, frozen=True):
    """The newest message that was read."""

    message_id: Position


class SetWaiting(Body, frozen=True):
    """False: the chat needs no answer."""

    waiting: bool


class SendMessage(Body, frozen=True):
    """A message to send. The guards are optional, and refuse instead of surprising."""

    session_id: Id
    content: Content
    expected_cost: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    seen_message_id: Position | None = None
    template_id: Id | None = None


class GrantCredits(Body, frozen=True):
    """A booking. Only an adjustment may be negative."""

    account_id: Id
    amount: Money
    note: Note
    kind: Literal["grant", "purchase", "adjustment"] = "grant"
    reference: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Refund(Body, frozen=True):
    """Why a message is paid back."""

    note: Note


class NewTemplate(Body, frozen=True):
    """A text to send often: one's own, or shared with all staff."""

    title: Annotated[str, Meta(min_length=1, max_length=100)]
    body: Annotated[str, Meta(min_length=1, max_length=4000)]
    shortcut: Annotated[str, Meta(max_length=30)] = ""
    persona_id: Id | None = None
    shared: bool = False


class EditTemplate(Body, frozen=True):
    """Changes of a template."""

    title: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    body: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    shortcut: Annotated[str, Meta(max_length=30)] | None = None


class RenderTemplate(Body, frozen=True):
    """For which chat, and the answers to the template's prompts."""

    session_id: Id
    answers: Annotated[dict[str, Annotated[str, Meta(max_length=4000)]], Meta(max_length=50)] = {}


class NewAccount(Body, frozen=True):
    """An account made by an admin."""

    email: Email
    password: Password
    display_name: Name
    role: Role = "staff"


class EditAccount(Body, frozen=True):
    """Changes by an admin. A new role logs the account out everywhere; suspension shuts it out at once."""

    display_name: Name | None = None
    role: Role | None = None
    status: AccountStatus | None = None


class Paging(Query, frozen=True):
    """A page of a collection."""

    limit: Limit = 50
    cursor: str | None = None


class InboxQuery(Paging, frozen=True):
    """Which sessions, and in which order."""

    status: SessionStatus | None = None
    persona_id: Id | None = None
    waiting: bool | None = None
    sort: Literal["activity", "waiting"] = "activity"


class Poll(Query, frozen=True):
    """What came after `last_message_id`?"""

    session_id: Id
    last_message_id: Position


class HistoryQuery(Query, frozen=True):
    """A page of history, newest first."""

    session_id: Id
    before_id: Id | None = None
    limit: Limit = 50


class OfAccount(Query, frozen=True):
    """Whose credits: one's own, or for an admin anybody's."""

    account_id: Id | None = None


class EntriesQuery(Paging, frozen=True):
    """Whose statement: one's own, or for an admin anybody's."""

    account_id: Id | None = None


class AccountsQuery(Paging, frozen=True):
    """Which accounts: a part of the address or name, role, status."""

    q: Annotated[str, Meta(max_length=200)] | None = None
    role: Role | None = None
    status: AccountStatus | None = None


class AuditQuery(Paging, frozen=True):
    """Which records of the audit log."""

    actor_id: Id | None = None
    subject_type: Annotated[str, Meta(max_length=50)] | None = None
    subject_id: Id | None = None
    action: Annotated[str, Meta(max_length=50)] | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
