"""The schema on one page: SQLAlchemy Core tables, read by Alembic and by nobody else.

Queries are text beside the function that asks them. Ids are BIGINT identities, times `timestamptz`.
The triggers that keep `credit_entries` and `audit_log` append-only live in the first migration.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

account_role = Enum("user", "staff", "admin", name="account_role", metadata=metadata)
account_status = Enum("active", "suspended", name="account_status", metadata=metadata)
session_status = Enum("active", "closed", name="session_status", metadata=metadata)
sender_type = Enum("user", "persona", name="sender_type", metadata=metadata)
entry_kind = Enum("grant", "purchase", "message", "refund", "adjustment", name="entry_kind", metadata=metadata)

# Rows that each send rewrites keep a fifth of their page free, so that the new version fits beside the old
# one and no index needs a new entry (a HOT update). No index may name a column that a send changes.
HOT = {"fillfactor": "80"}


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    default = None if nullable else text("now()")
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def _account(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, ForeignKey("accounts.id"), nullable=nullable)


accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("email", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("hashed_password", Text, nullable=False),
    Column("credit_balance", Integer, nullable=False, server_default=text("0")),
    Column("role", account_role, nullable=False, server_default="user"),
    Column("status", account_status, nullable=False, server_default="active"),
    _time("created_at"),
    _time("updated_at"),
    CheckConstraint("credit_balance >= 0", name="credit_balance"),
    Index("accounts_email_key", text("lower(email)"), unique=True),
    postgresql_with=HOT,
)

personas = Table(
    "personas",
    metadata,
    _id(),
    _account("staff_account_id"),
    Column("name", Text, nullable=False),
    Column("avatar_url", Text, nullable=False, server_default=""),
    Column("bio", Text, nullable=False, server_default=""),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("guide", Text, nullable=False, server_default=""),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("message_cost", Integer, nullable=False, server_default=text("1")),
    _time("created_at"),
    _time("updated_at"),
    CheckConstraint("message_cost >= 0", name="message_cost"),
    Index("personas_staff_account_id_idx", "staff_account_id"),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    _account("user_account_id"),
    Column("persona_id", BigInteger, ForeignKey("personas.id"), nullable=False),
    Column("status", session_status, nullable=False, server_default="active"),
    Column("last_message_id", BigInteger, nullable=False, server_default=text("0")),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    _time("waiting_since", nullable=True),
    Column("user_read_id", BigInteger, nullable=False, server_default=text("0")),
    Column("persona_read_id", BigInteger, nullable=False, server_default=text("0")),
    _time("active_at"),  # the newest message, or the opening: what the inbox sorts by
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("user_account_id", "persona_id", name="sessions_user_persona_key"),
    Index("sessions_persona_id_idx", "persona_id"),
    postgresql_with=HOT,
)

messages = Table(
    "messages",
    metadata,
    _id(),
    Column("session_id", BigInteger, ForeignKey("sessions.id"), nullable=False),
    Column("sender_type", sender_type, nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("credit_cost", Integer, nullable=False),
    _time("created_at"),
    Column("prev_id", BigInteger, nullable=False),
    # Who typed it. No foreign key: it would cost 22 % of the sends, and accounts are never deleted.
    Column("author_account_id", BigInteger, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Index("messages_session_id_id_idx", "session_id", "id"),
    UniqueConstraint("author_account_id", "idempotency_key", name="messages_author_key_key"),
)

credit_entries = Table(
    "credit_entries",
    metadata,
    _id(),
    _account("account_id"),
    Column("amount", Integer, nullable=False),
    Column("balance_after", Integer, nullable=False),
    Column("kind", entry_kind, nullable=False),
    Column("message_id", BigInteger, ForeignKey("messages.id"), nullable=True),
    Column("reference", Text, nullable=True),
    Column("note", Text, nullable=False, server_default=""),
    _account("created_by", nullable=True),
    Column("idempotency_key", Text, nullable=True),
    _time("created_at"),
    Index("credit_entries_account_id_id_idx", "account_id", "id"),
    # One debit and one refund for a message, ever.
    Index(
        "credit_entries_message_id_kind_key",
        "message_id",
        "kind",
        unique=True,
        postgresql_where=text("message_id IS NOT NULL"),
    ),
    Index(
        "credit_entries_kind_reference_key",
        "kind",
        "reference",
        unique=True,
        postgresql_where=text("reference IS NOT NULL"),
    ),
    Index(
        "credit_entries_created_by_key_key",
        "created_by",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
)

logins = Table(
    "logins",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    _account("account_id"),
    Column("site", Text, nullable=False, server_default=""),
    _time("created_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    _time("last_seen_at"),
    Index("logins_account_id_idx", "account_id"),
)

templates = Table(
    "templates",
    metadata,
    _id(),
    _account("staff_account_id", nullable=True),
    Column("persona_id", BigInteger, ForeignKey("personas.id"), nullable=True),
    Column("title", Text, nullable=False),
    Column("shortcut", Text, nullable=False, server_default=""),
    Column("body", Text, nullable=False),
    Column("use_count", Integer, nullable=False, server_default=text("0")),
    _time("created_at"),
    _time("updated_at"),
    Index("templates_staff_account_id_idx", "staff_account_id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    _id(),
    _account("actor_account_id", nullable=True),
    Column("action", Text, nullable=False),
    Column("subject_type", Text, nullable=False),
    Column("subject_id", BigInteger, nullable=True),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _time("created_at"),
    Index("audit_log_subject_idx", "subject_type", "subject_id", "id"),
    Index("audit_log_actor_account_id_idx", "actor_account_id", "id"),
)

APPEND_ONLY = ("credit_entries", "audit_log")
