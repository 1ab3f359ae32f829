"""By which entry one comes in, with which cookie, from which origin."""

import secrets
from http.cookies import Morsel, SimpleCookie

import pytest
import pytest_asyncio

from storage.records import Role
from tests.people import PASSWORD, Answer, Client, Person
from tests.routes.conftest import House
from tests.servers import Replica

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "the nodes' secret"
HOME = "https://concierge.example"


def by(entry: str, secret: str = SECRET, **more: str) -> dict[str, str]:
    """Give the headers that a node adds."""
    return {"X-Node-Secret": secret, "X-Entry": entry, "X-Site": "tokyo", "X-Forwarded-For": "192.0.2.7", **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(house: House) -> Replica:
    """A replica as behind the nodes."""
    return await house.replica(
        staff_entry="required", node_secret=SECRET, allowed_origins=f"{HOME}/, http://127.0.0.1:8080", limits="off"
    )


async def _log_in(house: House, replica: Replica, person: Person, headers: dict[str, str], **more: bool) -> Answer:
    body = {"email": person.email, "password": PASSWORD, **more}
    return await house.guest(replica, **headers).post("/auth/login", body)


@pytest.mark.parametrize("role", ["staff", "admin"])
async def test_staff_and_admins_log_in_by_the_staff_entry_alone(house: House, strict: Replica, role: Role) -> None:
    person = await house.people.make(role)
    assert (await _log_in(house, strict, person, by("staff"))).status == 200
    for headers in (by("user"), by("elsewhere"), {}, by("staff", "wrong"), by("staff", ""), by("staff", "\xe9")):
        wrong = await _log_in(house, strict, person, headers)
        wrong.refused(401, "bad_credentials")


async def test_users_log_in_anywhere_but_at_the_staff_entry(house: House, strict: Replica) -> None:
    user = await house.people.user()
    for headers in (by("user"), {}):
        assert (await _log_in(house, strict, user, headers)).status == 200
    (await _log_in(house, strict, user, by("staff"))).refused(401, "bad_credentials")


@pytest.mark.parametrize("role", ["user", "staff", "admin"])
async def test_a_token_counts_at_its_own_entry_alone(house: House, strict: Replica, role: Role) -> None:
    person = await house.people.make(role)
    for entry in ("user", "staff"):
        answer = await Client(house.http, strict.url, person.token, by(entry)).get("/auth/me")
        if (entry == "staff") == (role != "user"):
            assert answer.status == 200
        else:
            answer.refused(403, "wrong_entry")
    by_none = await person.via(strict).get("/auth/me")
    if role == "user":
        assert by_none.status == 200
    else:
        by_none.refused(403, "wrong_entry")
        forged = await Client(house.http, strict.url, person.token, by("staff", "wrong")).get("/auth/me")
        forged.refused(403, "wrong_entry")


async def test_nobody_registers_at_a_staff_entry(house: House, strict: Replica) -> None:
    body = {"email": f"{secrets.token_hex(6)}@example.com", "password": "long enough", "display_name": "花子"}
    (await house.guest(strict, **by("staff")).post("/auth/register", body)).refused(403, "wrong_entry")
    assert (await house.guest(strict, **by("user")).post("/auth/register", body)).status == 201


async def test_without_the_rule_everybody_comes_in_anywhere(house: House) -> None:
    for role in ("user", "staff", "admin"):
        person = await house.people.make(role)
        assert (await _log_in(house, house.here, person, {})).status == 200
        assert (await house.desk(person).get("/auth/me")).status == 200


async def test_a_login_keeps_the_site_and_no_address(house: House, strict: Replica) -> None:
    staff = await house.people.staff()
    assert (await _log_in(house, strict, staff, by("staff"))).status == 200
    rows = await house.book.fetch("select * from logins where account_id = $1 order by created_at", staff.id)
    assert [row["site"] for row in rows] == ["", "tokyo"]
    assert "192.0.2.7" not in str(rows)


def _cookie(answer: Answer) -> Morsel[str]:
    ((_, morsel),) = SimpleCookie(answer.headers["Set-Cookie"]).items()
    return morsel


@pytest.mark.parametrize(
    ("role", "name", "days"), [("user", "concierge_login", 30.0), ("staff", "concierge_staff", 0.5)]
)
async def test_a_browser_gets_the_cookie_instead_of_the_token(
    house: House, strict: Replica, role: Role, name: str, days: float
) -> None:
    person = await house.people.make(role)
    answer = await _log_in(house, strict, person, by(role, Origin=HOME), cookie=True)
    assert set(answer.done()) == {"expires_at", "account"}, "no script shall see the token"
    morsel = _cookie(answer)
    assert morsel.key == name
    assert (morsel["httponly"], morsel["samesite"], morsel["path"], morsel["secure"]) == (True, "Lax", "/", "")
    assert int(morsel["max-age"]) == days * 86_400
    headers = by(role, Cookie=f"{name}={morsel.value}", Origin=HOME)
    browser = house.guest(strict, **headers)
    assert (await browser.get("/auth/me")).done()["id"] == person.id
    out = await browser.post("/auth/logout")
    out.done(204)
    assert _cookie(out).key == name and not _cookie(out).value
    (await browser.get("/auth/me")).refused(401, "unauthenticated")


async def test_behind_tls_the_cookie_travels_over_https_alone(house: House) -> None:
    tls = await house.replica(secure_cookies="on", limits="off")
    assert _cookie(await _log_in(house, tls, await house.people.user(), {}, cookie=True))["secure"] is True


async def test_each_entry_reads_only_its_own_cookie(house: House, strict: Replica) -> None:
    user, staff = await house.people.user(), await house.people.staff()
    both = f"concierge_login={user.token}; concierge_staff={staff.token}"
    for entry, person in (("user", user), ("staff", staff)):
        browser = house.guest(strict, **by(entry, Cookie=both))
        assert (await browser.get("/auth/me")).done()["id"] == person.id
        other = "concierge_staff" if entry == "user" else "concierge_login"
        lost = house.guest(strict, **by(entry, Cookie=f"{other}={person.token}"))
        (await lost.get("/auth/me")).refused(401, "unauthenticated")


@pytest.mark.parametrize(
    "origin", [None, "null", "", "https://evil.example", f"{HOME}.evil.example", f"{HOME}:444", HOME.upper()]
)
async def test_a_cookie_with_a_foreign_origin_changes_nothing(
    house: House, strict: Replica, origin: str | None
) -> None:
    user, _, session = await house.people.chat()
    cookie = by("user", Cookie=f"concierge_login={user.token}")
    browser = house.guest(strict, **cookie, **({} if origin is None else {"Origin": origin}))
    (await browser.send(session, "お金を払います")).refused(403, "origin_refused")
    (await browser.patch("/auth/me", {"display_name": "別人"})).refused(403, "origin_refused")
    (await browser.delete("/templates/1")).refused(403, "origin_refused")
    assert (await browser.poll(session, 0)).raw == b"[]", "what only reads needs no Origin"


@pytest.mark.parametrize("origin", [HOME, "http://127.0.0.1:8080"])
async def test_a_cookie_from_an_allowed_origin_works(house: House, strict: Replica, origin: str) -> None:
    user, _, session = await house.people.chat()
    browser = house.guest(strict, **by("user", Cookie=f"a=b; concierge_login={user.token}", Origin=origin))
    assert (await browser.send(session, "こんにちは")).status == 201


async def test_a_bearer_token_needs_no_origin(house: House, strict: Replica) -> None:
    user, _, session = await house.people.chat()
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        client = Client(house.http, strict.url, user.token, headers)
        assert (await client.send(session, "こんにちは")).status == 201


async def test_a_foreign_page_logs_nobody_in(house: House, strict: Replica) -> None:
    user = await house.people.user()
    for origin in ("https://evil.example", "null"):
        refused = await _log_in(house, strict, user, by("user", Origin=origin), cookie=True)
        refused.refused(403, "origin_refused")
        assert "Set-Cookie" not in refused.headers


async def test_the_header_is_asked_before_the_cookie(house: House, strict: Replica) -> None:
    user = await house.people.user()
    headers = by("user", Cookie=f"concierge_login={user.token}", Authorization="Bearer wrong")
    (await house.guest(strict, **headers).get("/auth/me")).refused(401, "unauthenticated")
