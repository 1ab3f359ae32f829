"""Who is shut out is shut out everywhere within 5 s, with or without Redis."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.people import PASSWORD, Answer, Client, Person
from tests.routes.conftest import House
from tests.servers import Replica
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMISE_SECONDS = 5.0
Act = Callable[[Client, Client, Person], Awaitable[Answer]]

SUSPENDED, GONE = (403, "suspended"), (401, "unauthenticated")

# What is done (by oneself, by an admin), and how the account's calls are answered from then on.
ACTS: dict[str, tuple[Act, int, str]] = {
    "suspended": (lambda own, admin, who: admin.patch(f"/accounts/{who.id}", {"status": "suspended"}), *SUSPENDED),
    "logged out": (lambda own, admin, who: own.post("/auth/logout"), *GONE),
    "logged out everywhere": (lambda own, admin, who: admin.delete(f"/accounts/{who.id}/logins"), *GONE),
    "given another role": (lambda own, admin, who: admin.patch(f"/accounts/{who.id}", {"role": "admin"}), *GONE),
    "locked out by a new password": (lambda own, admin, who: _change_password(own, who), *GONE),
}


async def _change_password(own: Client, who: Person) -> Answer:
    """Log in anew and change the password there, which revokes `who.token`."""
    made = await Client(own.http, own.url).post("/auth/login", {"email": who.email, "password": PASSWORD})
    again = Client(own.http, own.url, made.json["token"])
    return await again.post("/auth/password", {"current_password": PASSWORD, "new_password": "battery staple"})


async def _shut_out(house: House, here: Replica, there: Replica, act: str) -> float:
    """Do it at one replica; give how long the other still let the account in."""
    do, status, code = ACTS[act]
    who, admin = await house.people.staff(), (await house.people.admin()).via(here)
    for replica in (here, there):
        assert (await who.via(replica).get("/auth/me")).status == 200, "it is remembered now"
    done = await do(who.via(here), admin, who)
    assert done.status in (200, 204), done.raw
    began = time.monotonic()
    (await who.via(here).get("/auth/me")).refused(status, code)

    async def is_refused() -> bool:
        return (await who.via(there).get("/auth/me")).status == status

    await until(is_refused, PROMISE_SECONDS)
    (await who.via(there).get("/auth/me")).refused(status, code)
    return time.monotonic() - began


async def _held_through(house: House, here: Replica, there: Replica) -> None:
    """Hold calls at one replica while the account is suspended at the other; what comes later is not for it."""
    user, staff, session = await house.people.chat()
    held = [
        asyncio.create_task(user.via(there).poll(session, 0, Prefer="wait=20")),
        asyncio.create_task(user.via(there).post("/sessions/changes", {"known": {str(session): 1}}, Prefer="wait=20")),
    ]

    async def are_held() -> bool:
        return len(there.context.held) >= 2

    await until(are_held)
    admin = (await house.people.admin()).via(here)
    (await admin.patch(f"/accounts/{user.id}", {"status": "suspended"})).done()

    async def is_refused() -> bool:
        return (await user.via(there).get("/auth/me")).status == 403

    await until(is_refused, PROMISE_SECONDS)
    (await staff.via(there).send(session, "これはもう届かない")).done(201)
    for answer in await asyncio.gather(*held):
        answer.refused(403, "suspended")


async def test_on_every_replica_within_five_seconds_with_and_without_redis(house: House) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    deaf = await asyncio.gather(*(house.replica(redis_url=nowhere, limits="off") for _ in range(2)))
    pairs = [(house.here, house.there), (deaf[0], deaf[1])]
    through = asyncio.create_task(_held_through(house, house.here, house.there))
    took = await asyncio.gather(*(_shut_out(house, *pair, act) for pair in pairs for act in ACTS))
    await through
    assert max(took) < PROMISE_SECONDS


async def test_an_account_that_is_activated_again_comes_in_again(house: House) -> None:
    user, admin = await house.people.user(), house.desk(await house.people.admin())
    (await admin.patch(f"/accounts/{user.id}", {"status": "suspended"})).done()
    (await house.desk(user).get("/auth/me")).refused(403, "suspended")
    (await admin.patch(f"/accounts/{user.id}", {"status": "active"})).done()
    assert (await house.desk(user).get("/auth/me")).status == 200


async def test_a_suspended_accounts_send_is_refused_by_the_book_itself(house: House) -> None:
    user, _, session = await house.people.chat()
    admin = house.desk(await house.people.admin())
    assert (await user.via(house.there).send(session, "まだ")).status == 201
    (await admin.patch(f"/accounts/{user.id}", {"status": "suspended"})).done()
    (await user.via(house.there).send(session, "もう")).refused(403, "suspended")


async def test_logging_out_ends_this_login_alone(house: House) -> None:
    user = await house.people.user()
    other = (await house.guest().post("/auth/login", {"email": user.email, "password": PASSWORD})).done()["token"]
    answer = await house.desk(user).post("/auth/logout")
    assert (answer.status, answer.raw) == (204, b"")
    (await house.desk(user).get("/auth/me")).refused(401, "unauthenticated")
    assert (await Client(house.http, house.here.url, other).get("/auth/me")).status == 200
