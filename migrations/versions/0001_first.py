"""The first schema: accounts, personas, sessions, messages, the ledger, logins, templates, the audit log."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TYPES = {
    "account_role": "'user', 'staff', 'admin'",
    "account_status": "'active', 'suspended'",
    "session_status": "'active', 'closed'",
    "sender_type": "'user', 'persona'",
    "entry_kind": "'grant', 'purchase', 'message', 'refund', 'adjustment'",
}

ACCOUNTS = """
create table accounts (
  id bigint generated always as identity,
  email text not null,
  display_name text not null,
  hashed_password text not null,
  credit_balance integer not null default 0,
  role account_role not null default 'user',
  status account_status not null default 'active',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint accounts_pkey primary key (id),
  constraint accounts_credit_balance_check check (credit_balance >= 0)
) with (fillfactor = 80);
create unique index accounts_email_key on accounts (lower(email));
"""

PERSONAS = """
create table personas (
  id bigint generated always as identity,
  staff_account_id bigint not null,
  name text not null,
  avatar_url text not null default '',
  bio text not null default '',
  attributes jsonb not null default '{}'::jsonb,
  guide text not null default '',
  is_active boolean not null default true,
  message_cost integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint personas_pkey primary key (id),
  constraint personas_staff_account_id_fkey foreign key (staff_account_id) references accounts (id),
  constraint personas_message_cost_check check (message_cost >= 0)
);
create index personas_staff_account_id_idx on personas (staff_account_id);
"""

SESSIONS = """
create table sessions (
  id bigint generated always as identity,
  user_account_id bigint not null,
  persona_id bigint not null,
  status session_status not null default 'active',
  last_message_id bigint not null default 0,
  revision bigint not null default 1,
  waiting_since timestamptz,
  user_read_id bigint not null default 0,
  persona_read_id bigint not null default 0,
  active_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint sessions_pkey primary key (id),
  constraint sessions_user_account_id_fkey foreign key (user_account_id) references accounts (id),
  constraint sessions_persona_id_fkey foreign key (persona_id) references personas (id),
  constraint sessions_user_persona_key unique (user_account_id, persona_id)
) with (fillfactor = 80);
create index sessions_persona_id_idx on sessions (persona_id);
"""

MESSAGES = """
create table messages (
  id bigint generated always as identity,
  session_id bigint not null,
  sender_type sender_type not null,
  sender_id bigint not null,
  content text not null,
  credit_cost integer not null,
  created_at timestamptz not null default now(),
  prev_id bigint not null,
  author_account_id bigint not null,
  idempotency_key text not null,
  constraint messages_pkey primary key (id),
  constraint messages_session_id_fkey foreign key (session_id) references sessions (id),
  constraint messages_author_key_key unique (author_account_id, idempotency_key)
);
create index messages_session_id_id_idx on messages (session_id, id);
"""

CREDIT_ENTRIES = """
create table credit_entries (
  id bigint generated always as identity,
  account_id bigint not null,
  amount integer not null,
  balance_after integer not null,
  kind entry_kind not null,
  message_id bigint,
  reference text,
  note text not null default '',
  created_by bigint,
  idempotency_key text,
  created_at timestamptz not null default now(),
  constraint credit_entries_pkey primary key (id),
  constraint credit_entries_account_id_fkey foreign key (account_id) references accounts (id),
  constraint credit_entries_message_id_fkey foreign key (message_id) references messages (id),
  constraint credit_entries_created_by_fkey foreign key (created_by) references accounts (id)
);
create index credit_entries_account_id_id_idx on credit_entries (account_id, id);
create unique index credit_entries_message_id_kind_key on credit_entries (message_id, kind)
  where message_id is not null;
create unique index credit_entries_kind_reference_key on credit_entries (kind, reference)
  where reference is not null;
create unique index credit_entries_created_by_key_key on credit_entries (created_by, idempotency_key)
  where idempotency_key is not null;
"""

LOGINS = """
create table logins (
  token_hash bytea not null,
  account_id bigint not null,
  site text not null default '',
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  last_seen_at timestamptz not null default now(),
  constraint logins_pkey primary key (token_hash),
  constraint logins_account_id_fkey foreign key (account_id) references accounts (id)
);
create index logins_account_id_idx on logins (account_id);
"""

TEMPLATES = """
create table templates (
  id bigint generated always as identity,
  staff_account_id bigint,
  persona_id bigint,
  title text not null,
  shortcut text not null default '',
  body text not null,
  use_count integer not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint templates_pkey primary key (id),
  constraint templates_staff_account_id_fkey foreign key (staff_account_id) references accounts (id),
  constraint templates_persona_id_fkey foreign key (persona_id) references personas (id)
);
create index templates_staff_account_id_idx on templates (staff_account_id);
"""

AUDIT_LOG = """
create table audit_log (
  id bigint generated always as identity,
  actor_account_id bigint,
  action text not null,
  subject_type text not null,
  subject_id bigint,
  detail jsonb not null default '{}'::jsonb,
  created_at timestamptz not null default now(),
  constraint audit_log_pkey primary key (id),
  constraint audit_log_actor_account_id_fkey foreign key (actor_account_id) references accounts (id)
);
create index audit_log_subject_idx on audit_log (subject_type, subject_id, id);
create index audit_log_actor_account_id_idx on audit_log (actor_account_id, id);
"""

# Not even a fault of ours may rewrite the ledger or the log: the database itself refuses.
REFUSE_CHANGE = """
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;
"""

TABLES = (ACCOUNTS, PERSONAS, SESSIONS, MESSAGES, CREDIT_ENTRIES, LOGINS, TEMPLATES, AUDIT_LOG)
NAMES = ("accounts", "personas", "sessions", "messages", "credit_entries", "logins", "templates", "audit_log")
APPEND_ONLY = ("credit_entries", "audit_log")


def _run(script: str) -> None:
    """Run statements one by one, as asyncpg's prepared statements want them."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Build everything."""
    for name, values in TYPES.items():
        op.execute(f"create type {name} as enum ({values})")
    for table in TABLES:
        _run(table)
    op.execute(REFUSE_CHANGE)
    for table in APPEND_ONLY:
        op.execute(
            f"create trigger {table}_append_only before update or delete or truncate on {table} "
            "for each statement execute function refuse_change()"
        )


def downgrade() -> None:
    """Take everything down."""
    for name in reversed(NAMES):
        op.execute(f"drop table {name}")
    op.execute("drop function refuse_change()")
    for name in TYPES:
        op.execute(f"drop type {name}")
