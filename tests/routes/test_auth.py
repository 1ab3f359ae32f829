"""Registering, logging in, oneself; and who tries too often."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from server import auth
from server.auth import hash_token, new_token
from storage import accounts, audit, logins
from storage.book import Book
from storage.records import Role
from tests.people import PASSWORD, Answer, Client, Person, balance
from tests.routes.conftest import House
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def fresh(name: str = "guest") -> str:
    """Give an address that nobody has."""
    return f"{name}-{secrets.token_hex(6)}@Example.com"


async def _register(client: Client, email: str, **more: str) -> Answer:
    body = {"email": email, "password": "long enough", "display_name": "花子", **more}
    return await client.post("/auth/register", body)


async def _log_in(client: Client, email: str, password: str = PASSWORD) -> Answer:
    return await client.post("/auth/login", {"email": email, "password": password})


async def test_who_registers_is_a_user_and_logged_in(house: House) -> None:
    email = fresh()
    made = (await _register(house.guest(), email, display_name="  花  子\n")).done(201)
    assert set(made) == {"token", "expires_at", "account"}
    account = made["account"]
    assert set(account) == {
        "id", "email", "display_name", "role", "status", "credit_balance", "credit_entry_id", "created_at",
    }  # fmt: skip
    assert (account["email"], account["display_name"], account["role"], account["status"]) == (
        email, "花 子", "user", "active",
    )  # fmt: skip
    assert (account["credit_balance"], account["credit_entry_id"]) == (0, 0)
    assert len(made["token"]) >= 43, "256 bits"
    assert (await Client(house.http, house.there.url, made["token"]).get("/auth/me")).done() == account


async def test_an_address_is_taken_in_whatever_case(house: House) -> None:
    email = fresh()
    assert (await _register(house.guest(), email)).status == 201
    for same in (email, email.lower(), email.upper()):
        (await _register(house.guest(), same)).refused(409, "email_taken")
    assert (await _log_in(house.guest(), email.upper(), "long enough")).status == 200
    both = await asyncio.gather(*(_register(house.guest(), "Same" + email) for _ in range(3)))
    assert sorted(answer.status for answer in both) == [201, 409, 409]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"), ("email", "@example.com"), ("email", "a b@example.com"), ("email", "a@b\n"),
        ("email", "a" * 250 + "@b.jp"), ("password", "short"), ("password", "x" * 201), ("display_name", ""),
        ("display_name", " \n "), ("display_name", "長" * 61), ("display_name", "a\x07b"),
    ],
)  # fmt: skip
async def test_what_cannot_be_registered_is_named(house: House, field: str, value: str) -> None:
    (await _register(house.guest(), **{"email": fresh(), field: value})).refused(422, "validation_failed", field)


async def test_welcome_credits_are_booked_as_a_grant(house: House) -> None:
    generous = await house.replica(welcome_credits=100, limits="off")
    made = (await _register(house.guest(generous), fresh())).done(201)
    assert made["account"]["credit_balance"] == 100
    assert await balance(house.book, made["account"]["id"]) == (100, 100)
    (entry,) = (await Client(house.http, generous.url, made["token"]).get("/credits/entries")).items
    assert (entry["kind"], entry["amount"], entry["id"]) == ("grant", 100, made["account"]["credit_entry_id"])
    assert entry["note"]


@pytest.mark.parametrize(("role", "hours"), [("user", 30 * 24), ("staff", 12), ("admin", 12)])
async def test_a_login_gives_a_token_for_as_long_as_the_role_allows(house: House, role: Role, hours: int) -> None:
    person = await house.people.make(role)
    answer = await _log_in(house.guest(), person.email.upper())
    made = answer.done()
    assert made["account"]["id"] == person.id
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=hours) - timedelta(minutes=1) < left <= timedelta(hours=hours)
    assert "Set-Cookie" not in answer.headers
    kept = await house.book.fetchval("select count(*) from logins where token_hash = $1", hash_token(made["token"]))
    assert kept == 1, "as a hash"
    assert made["token"] not in str(await house.book.fetch("select * from logins where account_id = $1", person.id))


async def test_an_unknown_email_and_a_wrong_password_are_answered_alike(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes: list[str] = []
    verify = auth._verify

    def counted(hashed: str, password: str) -> bool:
        hashes.append(hashed)
        return verify(hashed, password)

    monkeypatch.setattr(auth, "_verify", counted)
    person = await house.people.user()
    suspended = await house.people.user()
    await accounts.change(house.book, suspended.id, None, "suspended", None)
    bodies = set()
    emails = (person.email, fresh(), suspended.email, "not an address", "")
    for email in emails:
        refused = (await _log_in(house.guest(), email, "wrong password")).refused(401, "bad_credentials")
        bodies.add(refused.raw.replace(refused.json["request_id"].encode(), b""))
    assert len(bodies) == 1
    assert len(hashes) == len(emails), "each takes a hash"
    assert {hashed.split("$")[3] for hashed in hashes} == {"m=19456,t=2,p=1"}, "of the same work"


async def test_only_the_right_password_is_told_of_a_suspension(house: House) -> None:
    person = await house.people.user()
    await accounts.change(house.book, person.id, None, "suspended", None)
    (await _log_in(house.guest(), person.email, "wrong password")).refused(401, "bad_credentials")
    (await _log_in(house.guest(), person.email)).refused(403, "suspended")


async def test_an_account_is_renamed_by_itself(house: House) -> None:
    user = await house.people.user()
    assert (await house.desk(user).patch("/auth/me", {"display_name": " 新しい 名 "})).done()[
        "display_name"
    ] == "新しい 名"
    assert (await user.via(house.there).get("/auth/me")).done()["display_name"] == "新しい 名"
    (await house.desk(user).patch("/auth/me", {"display_name": "  "})).refused(422, "validation_failed", "display_name")


async def test_a_new_password_needs_the_old_one_and_revokes_the_other_logins(house: House) -> None:
    user = await house.people.user()
    other = (await _log_in(house.guest(), user.email)).done()["token"]
    body = {"current_password": "wrong", "new_password": "battery staple"}
    (await house.desk(user).post("/auth/password", body)).refused(401, "bad_credentials")
    (await house.desk(user).post("/auth/password", {**body, "new_password": "short"})).refused(
        422, "validation_failed", "new_password"
    )
    (await house.desk(user).post("/auth/password", {**body, "current_password": PASSWORD})).done(204)
    assert (await house.desk(user).get("/auth/me")).status == 200, "this login goes on"
    (await Client(house.http, house.here.url, other).get("/auth/me")).refused(401, "unauthenticated")
    (await _log_in(house.guest(), user.email)).refused(401, "bad_credentials")
    assert (await _log_in(house.guest(), user.email, "battery staple")).status == 200
    (record,) = await audit.search(
        house.book, audit.AuditQuery(user.id, "account", user.id, "account.password", None, None, 9)
    )
    assert "battery" not in str(record)


async def _with_login(house: House, person: Person, expires_at: datetime) -> Client:
    token = new_token()
    await logins.create(house.book, hash_token(token), person.id, "", expires_at)
    return Client(house.http, house.here.url, token)


async def test_an_expired_login_says_so(house: House) -> None:
    user = await house.people.user()
    client = await _with_login(house, user, datetime.now(UTC) - timedelta(seconds=1))
    (await client.get("/auth/me")).refused(401, "login_expired")
    expires_at = datetime.now(UTC) + timedelta(seconds=0.3)
    soon = await _with_login(house, user, expires_at)
    assert (await soon.get("/auth/me")).status == 200

    elsewhere = Client(house.http, house.there.url, soon.token)

    async def is_over() -> bool:
        return datetime.now(UTC) > expires_at

    await until(is_over)
    (await elsewhere.get("/auth/me")).refused(401, "login_expired")


async def _expiry(book: Book, person: Person) -> datetime:
    found: datetime = await book.fetchval("select max(expires_at) from logins where account_id = $1", person.id)
    return found


@pytest.mark.parametrize(("role", "hours"), [("user", 30 * 24), ("staff", 12)])
async def test_a_login_in_use_slides(house: House, role: Role, hours: int) -> None:
    person = await house.people.make(role)
    sql = """update logins set last_seen_at = now() - interval '1 day', expires_at = now() + interval '1 minute'
    where account_id = $1"""
    await house.book.fetch(sql, person.id)
    assert (await house.desk(person).get("/auth/me")).status == 200

    async def has_slid() -> bool:
        return await _expiry(house.book, person) > datetime.now(UTC) + timedelta(hours=hours, minutes=-1)

    await until(has_slid)
    used = await _expiry(house.book, person)
    assert (await person.via(house.there).get("/auth/me")).status == 200
    assert await _expiry(house.book, person) == used, "not with every call"


async def test_too_many_tries_to_log_in_are_refused_on_every_replica(house: House) -> None:
    strict = [await house.replica(logins_per_minute=3) for _ in range(2)]
    user = await house.people.user()
    for n in range(3):
        assert (await _log_in(house.guest(strict[n % 2]), user.email, "wrong")).code == "bad_credentials"
    for replica in strict:
        refused = (await _log_in(house.guest(replica), user.email.upper())).refused(429, "rate_limited")
        assert 0 < refused.json["retry_after_ms"] <= 60_000
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert (await _log_in(house.guest(strict[0]), (await house.people.user()).email)).status == 200, "others may"
    for _ in range(3):
        wrong = {"current_password": "wrong", "new_password": "battery staple"}
        (await user.via(strict[0]).post("/auth/password", wrong)).refused(401, "bad_credentials")
    (await user.via(strict[0]).post("/auth/password", wrong)).refused(429, "rate_limited")


async def test_too_many_registrations_from_one_address_are_refused(house: House) -> None:
    strict = await house.replica(registers_per_hour=2, node_secret="node")
    from_here = {"X-Node-Secret": "node", "X-Entry": "user", "X-Forwarded-For": secrets.token_hex(8)}
    for _ in range(2):
        assert (await _register(house.guest(strict, **from_here), fresh())).status == 201
    refused = (await _register(house.guest(strict, **from_here), fresh())).refused(429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 60
    elsewhere = {**from_here, "X-Forwarded-For": secrets.token_hex(8)}
    assert (await _register(house.guest(strict, **elsewhere), fresh())).status == 201
    own_word = {"X-Forwarded-For": secrets.token_hex(8), "X-Entry": "user"}
    tries = [await _register(house.guest(strict, **{**own_word, "X-Forwarded-For": f"{n}"}), fresh()) for n in range(3)]
    assert tries[-1].status == 429, "without the nodes' secret nobody's word about an address counts"


async def test_too_many_sends_are_refused_with_when_to_come_back(house: House) -> None:
    strict = await house.replica(sends_per_second=0.5, sends_burst=2)
    user, staff, session = await house.people.chat()
    for n in range(2):
        assert (await user.via(strict).send(session, f"{n}")).status == 201
    refused = (await user.via(strict).send(session, "3")).refused(429, "rate_limited")
    assert 1_000 < refused.json["retry_after_ms"] <= 2_000
    assert refused.headers["Retry-After"] == "2"
    assert (await staff.via(strict).send(session, "どうぞ")).status == 201
    assert await balance(house.book, user.id) == (98, 98)


async def test_a_client_that_prefers_japanese_is_answered_in_japanese(house: House) -> None:
    japanese = (await house.guest().get("/auth/me", Accept_Language="ja-JP,ja;q=0.9,en")).refused(
        401, "unauthenticated"
    )
    english = (await house.guest().get("/auth/me", Accept_Language="en")).refused(401, "unauthenticated")
    assert (japanese.json["title"], english.json["title"]) == ("ログインしてください。", "Please log in first.")
