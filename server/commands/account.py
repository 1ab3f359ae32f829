"""`account`: create accounts, suspend and activate them, set passwords and roles, grant credits."""

import argparse
import asyncio

import msgspec

from server.__main__ import CommandError
from server.auth import HASHER
from server.commands import people, where
from server.wire import requests, responses
from server.wire.codec import encode, in_words
from storage import accounts, audit, credits
from storage.book import Book
from storage.errors import Conflict
from storage.records import Account, AccountStatus, EntryKind, Role

ROLES = ("user", "staff", "admin")


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = verbs.add_parser("create", help="make an account")
    create.add_argument("--email", required=True)
    create.add_argument("--name", required=True, help="the display name")
    create.add_argument("--role", required=True, choices=ROLES)
    create.add_argument("--password", required=True)
    create.add_argument("--credits", type=int, default=0, help="granted at once (%(default)s)")
    for verb, says in (("suspend", "shut an account out"), ("activate", "let an account in again")):
        verbs.add_parser(verb, help=says).add_argument("email")
    password = verbs.add_parser("password", help="set a password, logging the account out everywhere")
    password.add_argument("email")
    password.add_argument("--password", required=True)
    role = verbs.add_parser("role", help="give another role")
    role.add_argument("email")
    role.add_argument("role", choices=ROLES)
    grant = verbs.add_parser("grant", help="grant credits")
    grant.add_argument("email")
    grant.add_argument("amount", type=int)
    grant.add_argument("--note", required=True, help="shown to the user")
    for each in verbs.choices.values():
        where.add_data_dir(each)
        each.add_argument("--json", action="store_true", help="print the account as JSON")


def run(options: argparse.Namespace) -> int:
    """Do what was asked and print the account."""
    account = asyncio.run(_run(options))
    if options.json:
        print(encode(responses.Account.of(account)).decode())
    else:
        print(
            f"{account.display_name} <{account.email}>: account {account.id}, {account.role}, {account.status}, "
            f"{account.credit_balance:,} credits."
        )
    return 0


async def _run(options: argparse.Namespace) -> Account:
    async with people.book(options.data_dir) as book:
        if options.verb == "create":
            return await create(
                book, options.email, options.name, options.role, options.password, options.credits, "Opening credits"
            )
        account = await people.by_email(book, options.email)
        await _change(book, account, options)
        return await people.by_email(book, options.email)


def _checked(kind: object, value: object, option: str) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        words = in_words(error)
        raise CommandError(f"{option} cannot be used: {'it ' if words.startswith('must') else ''}{words}", 2) from None


async def create(book: Book, email: str, name: str, role: str, password: str, amount: int, note: str) -> Account:
    """Make an account with some credits.

    Raises:
        CommandError: a value cannot be used, or the address is taken.
    """
    _checked(requests.Email, email, "--email")
    _checked(requests.Password, password, "--password")
    _checked(requests.Name, name.strip(), "--name")
    if not 0 <= amount <= 1_000_000_000:
        raise CommandError("--credits cannot be used: it must be from 0 to 1,000,000,000.", 2)
    checked_role = msgspec.convert(role, Role)
    hashed = await asyncio.to_thread(HASHER.hash, password)
    try:
        made = await accounts.create(book, email, name.strip(), hashed, checked_role, amount, note)
    except Conflict:
        raise CommandError(f"There is an account with the address {email} already.") from None
    await audit.record(book, None, "account.create", "account", made.id, role=role)
    return made


async def _change(book: Book, account: Account, options: argparse.Namespace) -> None:
    match options.verb:
        case "suspend" | "activate":
            await _edit(book, account, None, "suspended" if options.verb == "suspend" else "active")
        case "role":
            await _edit(book, account, msgspec.convert(options.role, Role), None)
        case "password":
            _checked(requests.Password, options.password, "--password")
            hashed = await asyncio.to_thread(HASHER.hash, options.password)
            await accounts.set_password(book, account.id, hashed, None)
        case "grant":
            await _grant(book, account, options.amount, options.note)
            return  # the booking writes a record of its own
    await audit.record(book, None, f"account.{options.verb}", "account", account.id)


async def _edit(book: Book, account: Account, role: Role | None, status: AccountStatus | None) -> None:
    outcome = await accounts.change(book, account.id, role, status, None)
    refused = {
        "last_admin": "This is the last active admin; make another one first.",
        "owns_personas": "The account owns personas; hand them over first.",
        "has_sessions": "The account has chats as a user; its role cannot change.",
    }
    if outcome in refused:
        raise CommandError(refused[outcome])


async def _grant(book: Book, account: Account, amount: int, note: str) -> None:
    if amount == 0 or abs(amount) > 1_000_000_000:
        raise CommandError("AMOUNT cannot be used: it must not be 0, nor beyond 1,000,000,000.", 2)
    kind: EntryKind = "grant" if amount > 0 else "adjustment"
    booking = credits.Grant(account.id, amount, kind, None, note, None, None)
    if await credits.grant(book, booking) is None:
        raise CommandError(f"{account.email} has {account.credit_balance:,} credits; the balance would not hold that.")
