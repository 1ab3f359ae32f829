"""Accounts: registering, logging in and out, and what admins do with them."""

from datetime import UTC, datetime
from unicodedata import category

from msgspec import UNSET, structs

from server.actions.logins import revoked
from server.auth import Caller, hash_token, new_token
from server.context import Context
from server.errors import Invalid, Refusal
from server.wire import requests, responses
from server.wire.codec import cut, read_cursor
from storage import accounts, audit, logins
from storage.errors import Conflict
from storage.records import Account, Role

WELCOME_NOTE = "ご登録ありがとうございます。 Welcome credits."


def clean_name(text: str, field: str = "display_name") -> str:
    """Give a name without spaces around it, and one between its words.

    Raises:
        Invalid: nothing is left, or something that cannot be seen.
    """
    text = " ".join(text.split())
    if not text:
        raise Invalid((field, "must not be empty."))
    if any(category(character) == "Cc" for character in text):
        raise Invalid((field, "must not have control characters."))
    return text


async def _log_in(context: Context, account: Account, site: str, *, cookie: bool) -> tuple[responses.LoggedIn, str]:
    token = new_token()
    expires_at = datetime.now(UTC) + context.tokens.lifetime(account.role)
    await logins.create(context.book, hash_token(token), account.id, site, expires_at)
    answer = responses.LoggedIn(expires_at, responses.Account.of(account), UNSET if cookie else token)
    return answer, token


async def register(
    context: Context, body: requests.Register, address: str, site: str
) -> tuple[responses.LoggedIn, str]:
    """Make a user and log it in; gives the answer and the token."""
    await context.limits.take_register(address)
    await context.limits.take_login(address, body.email)
    name = clean_name(body.display_name)
    hashed = await context.passwords.hash(body.password)
    credits = context.settings.welcome_credits
    try:
        account = await accounts.create(context.book, body.email, name, hashed, "user", credits, WELCOME_NOTE)
    except Conflict:
        raise Refusal("email_taken") from None
    return await _log_in(context, account, site, cookie=False)


async def log_in(
    context: Context, body: requests.LogIn, address: str, site: str, roles: frozenset[Role]
) -> tuple[responses.LoggedIn, str]:
    """Log an account in; gives the answer and the token.

    Args:
        roles: who may come in by this entry; anybody else has bad credentials here.
    """
    await context.limits.take_login(address, body.email)
    found = await accounts.credentials(context.book, body.email)
    right = await context.passwords.verify(found.hashed_password if found else None, body.password)
    if found is None or not right or found.account.role not in roles:
        raise Refusal("bad_credentials")
    if found.account.status != "active":
        raise Refusal("suspended")
    return await _log_in(context, found.account, site, cookie=body.cookie)


async def log_out(context: Context, caller: Caller) -> None:
    """Revoke the login that calls."""
    await logins.revoke(context.book, caller.token_hash)
    context.tokens.forget(caller.token_hash)
    revoked(context)


async def me(context: Context, caller: Caller) -> responses.Account:
    """Give the caller's account."""
    return responses.Account.of(await _get(context, caller.account_id))


async def rename(context: Context, caller: Caller, display_name: str) -> responses.Account:
    """Give the caller a new name."""
    await accounts.change(context.book, caller.account_id, None, None, clean_name(display_name))
    return await me(context, caller)


async def change_password(context: Context, caller: Caller, body: requests.ChangePassword, address: str) -> None:
    """Set a new password, revoking the account's other logins."""
    await context.limits.take_login(address, f"account {caller.account_id}")
    found = await accounts.credentials_of(context.book, caller.account_id)
    if not await context.passwords.verify(found.hashed_password if found else None, body.current_password):
        raise Refusal("bad_credentials", "The current password is wrong.")
    hashed = await context.passwords.hash(body.new_password)
    await accounts.set_password(context.book, caller.account_id, hashed, caller.token_hash)
    context.tokens.forget_account(caller.account_id)
    revoked(context)
    await audit.record(context.book, caller.account_id, "account.password", "account", caller.account_id)


async def _get(context: Context, account_id: int) -> Account:
    account = await accounts.get(context.book, account_id)
    if account is None:
        raise Refusal("not_found")
    return account


async def get(context: Context, account_id: int) -> responses.Account:
    """Give any account, for an admin."""
    return responses.Account.of(await _get(context, account_id))


async def search(context: Context, query: requests.AccountsQuery) -> responses.Items[responses.Account]:
    """Find accounts, newest first."""
    (before,) = read_cursor(query.cursor, tuple[int]) or (None,)
    found = await accounts.search(context.book, query.q, query.role, query.status, before, query.limit + 1)
    page, cursor = cut(found, query.limit, lambda last: [last.id])
    return responses.Items([responses.Account.of(account) for account in page], cursor)


async def create(context: Context, caller: Caller, body: requests.NewAccount) -> responses.Account:
    """Make an account of any role."""
    name = clean_name(body.display_name)
    hashed = await context.passwords.hash(body.password)
    try:
        account = await accounts.create(context.book, body.email, name, hashed, body.role, 0, "")
    except Conflict:
        raise Refusal("email_taken") from None
    await audit.record(context.book, caller.account_id, "account.create", "account", account.id, role=body.role)
    return responses.Account.of(account)


async def edit(context: Context, caller: Caller, account_id: int, body: requests.EditAccount) -> responses.Account:
    """Rename, suspend or activate an account, or give it another role."""
    before = await _get(context, account_id)
    name = None if body.display_name is None else clean_name(body.display_name)
    outcome = await accounts.change(context.book, account_id, body.role, body.status, name)
    match outcome:
        case "owns_personas":
            raise Invalid(("role", "cannot change: the account owns personas; hand them over first."))
        case "has_sessions":
            raise Invalid(("role", "cannot change: the account has chats as a user."))
        case "last_admin" | "not_found":
            raise Refusal(outcome)
    context.tokens.forget_account(account_id)
    revoked(context)
    after = await _get(context, account_id)
    for field in ("status", "role", "display_name"):
        was, now = getattr(before, field), getattr(after, field)
        if was != now:
            action = {"suspended": "suspend", "active": "activate"}[now] if field == "status" else field
            await audit.record(
                context.book, caller.account_id, f"account.{action}", "account", account_id, was=was, now=now
            )
    return responses.Account.of(after)


async def log_out_everywhere(context: Context, caller: Caller, account_id: int) -> responses.LoggedOut:
    """Revoke every login of an account."""
    await _get(context, account_id)
    count = await logins.revoke_all(context.book, account_id)
    context.tokens.forget_account(account_id)
    revoked(context)
    await audit.record(context.book, caller.account_id, "account.logout", "account", account_id, revoked=count)
    return responses.LoggedOut(count)


async def staff(context: Context) -> responses.Items[responses.Staff]:
    """Give the active staff: who is online, from which site, with how many chats waiting."""
    members = await accounts.staff(context.book)
    online = await context.presence.online({str(member.id) for member in members})
    sites = {present.member: present.meta for present in await context.presence.listing("staff")}
    return responses.Items(
        [
            responses.Staff(
                member.id,
                member.display_name,
                str(member.id) in online,
                sites.get(str(member.id)) or None,
                member.waiting,
            )
            for member in members
        ]
    )


async def stats(context: Context) -> responses.Stats:
    """Count what an admin looks at."""
    counted = await accounts.stats(context.book)
    online = await context.presence.count()
    return responses.Stats(online=online, sockets=len(context.sockets), **structs.asdict(counted))
