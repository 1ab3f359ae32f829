"""`account`: the people of the house, looked after from the command line."""

import asyncio
import json
import secrets

import aiohttp
import pytest

from tests.commands.conftest import Run
from tests.embedded.stacks import Up
from tests.people import Answer, Client

PASSWORD = "correct horse"


def new_email() -> str:
    return f"{secrets.token_hex(6)}@example.com"


def create(there: Run, role: str = "user", *more: str) -> str:
    email = new_email()
    made = there("account", "create", "--email", email, "--name", "花子", "--role", role, "--password", PASSWORD, *more)
    assert (made.code, made.err) == (0, "")
    return email


def log_in(stack: Up, email: str, password: str = PASSWORD) -> Answer:
    """Log in as a user, and see that the token is worth something."""

    async def work() -> Answer:
        async with aiohttp.ClientSession() as http:
            door = Client(http, stack.user_entry)
            answer = await door.post("/auth/login", {"email": email, "password": password})
            if answer.status == 200:
                door.token = answer.json["token"]
                (await door.get("/auth/me")).done()
            return answer

    return asyncio.run(work())


def test_an_account_made_by_hand_can_log_in_and_has_its_credits(stack: Up, there: Run) -> None:
    email = new_email()
    words = ["--email", email, "--name", "花子", "--role", "user", "--password", PASSWORD, "--credits", "30", "--json"]
    made = there("account", "create", *words)
    account = json.loads(made.out)
    assert (account["email"], account["display_name"], account["role"]) == (email, "花子", "user")
    assert (account["status"], account["credit_balance"]) == ("active", 30)
    assert log_in(stack, email).done()["account"] == account


def test_an_address_is_there_once(there: Run) -> None:
    email = create(there)
    again = there(
        "account", "create", "--email", email.upper(), "--name", "B", "--role", "staff", "--password", PASSWORD
    )
    again.refused(1, "already")


def test_suspended_is_out_and_activated_is_in_again(stack: Up, there: Run) -> None:
    email = create(there)
    suspended = there("account", "suspend", email, "--json")
    assert json.loads(suspended.out)["status"] == "suspended"
    log_in(stack, email).refused(403, "suspended")
    activated = there("account", "activate", email)
    assert (activated.code, activated.out.count("active")) == (0, 1)
    log_in(stack, email).done()


def test_a_new_password_takes_the_old_ones_place(stack: Up, there: Run) -> None:
    email = create(there)
    assert there("account", "password", email, "--password", "battery staple").code == 0
    log_in(stack, email).refused(401, "bad_credentials")
    log_in(stack, email, "battery staple").done()
    there("account", "password", email, "--password", "short").refused(2, "--password")


def test_a_role_is_given_unless_that_would_break_something(stack: Up, there: Run) -> None:
    email = create(there)
    assert json.loads(there("account", "role", email, "staff", "--json").out)["role"] == "staff"
    there("account", "role", "admin@example.com", "staff").refused(1, "last active admin")
    there("account", "suspend", "admin@example.com").refused(1, "last active admin")
    there("account", "role", "user1@example.com", "staff").refused(1, "chats")
    there("account", "role", "staff1@example.com", "user").refused(1, "personas")


def test_credits_are_granted_and_taken_but_never_below_zero(there: Run) -> None:
    email = create(there, "user", "--credits", "10")
    granted = there("account", "grant", email, "1500", "--note", "いつもありがとう", "--json")
    assert json.loads(granted.out)["credit_balance"] == 1510
    taken = there("account", "grant", email, "-510", "--note", "correction")
    assert "1,000 credits" in taken.out
    there("account", "grant", email, "-1001", "--note", "too much").refused(1, "1,000 credits")
    there("account", "grant", email, "0", "--note", "nothing").refused(2, "AMOUNT")


@pytest.mark.parametrize(
    "words", ["suspend {}", "activate {}", "role {} staff", "password {} --password long-enough", "grant {} 5 --note x"]
)
def test_nobody_of_that_address_is_one_sentence(words: str, there: Run) -> None:
    there("account", *words.format("nobody@example.com").split()).refused(1, "no account", "nobody@example.com")
