"""The inbox: two orders, filters and pages through many chats."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from tests.people import Client, Person
from tests.routes.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 45


class Desk:
    """A desk with 45 chats: each third waits, each ninth is closed, and two personas share them."""

    def __init__(self, staff: Person, personas: list[int], sessions: list[int]) -> None:
        self.staff = staff
        self.personas = personas
        self.sessions = sessions

    def where(self, waits: bool | None = None, closed: bool | None = None) -> set[int]:
        """Give the chats that wait or not, are closed or not."""
        return {
            session
            for n, session in enumerate(self.sessions)
            if waits in (None, n % 3 == 0 and n % 9 != 0) and closed in (None, n % 9 == 0)
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(house: House) -> Desk:
    """The desk."""
    staff = await house.people.staff()
    personas = [await house.people.persona(staff, cost=0) for _ in range(2)]
    users = [await house.people.user(0) for _ in range(COUNT)]
    sessions = [await house.people.session(user, personas[n % 2]) for n, user in enumerate(users)]
    for n in range(COUNT):
        if n % 3 == 0:
            assert (await house.desk(users[n]).send(sessions[n], f"質問{n}")).status == 201
        if n % 9 == 0:
            assert (await house.desk(users[n]).post(f"/sessions/{sessions[n]}/close")).status == 200
    # Some ties: what is sorted by must not lose who came at the same moment.
    same = """update sessions set active_at = now(),
      waiting_since = case when waiting_since is null then null else now() end where id = any($1)"""
    await house.book.fetch(same, sessions[20:26])
    return Desk(staff, personas, sessions)


async def _pages(client: Client, query: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await client.get(f"/sessions?limit={limit}&{query}{cursor}")
        body = page.done()
        assert len(body["items"]) <= limit
        found += body["items"]
        if body["next_cursor"] is None:
            return found
        assert len(body["items"]) == limit, "only the last page may be short"
        cursor = f"&cursor={body['next_cursor']}"


@pytest.mark.parametrize("sort", ["activity", "waiting"])
@pytest.mark.parametrize("limit", [1, 7, 44, 45, 200])
async def test_pages_of_any_size_show_each_chat_once_in_order(house: House, desk: Desk, sort: str, limit: int) -> None:
    found = await _pages(house.desk(desk.staff), f"sort={sort}", limit)
    ids = [item["id"] for item in found]
    assert sorted(ids) == sorted(desk.sessions)
    key = (
        "select id from sessions where id = any($1) order by active_at desc, id desc"
        if sort == "activity"
        else "select id from sessions where id = any($1) order by waiting_since asc nulls last, id asc"
    )
    assert ids == [row[0] for row in await house.book.fetch(key, desk.sessions)]


async def test_who_waits_longest_comes_first_and_who_does_not_wait_last(house: House, desk: Desk) -> None:
    found = await _pages(house.desk(desk.staff), "sort=waiting", 20)
    since = [item["waiting_since"] for item in found]
    waits = [at for at in since if at is not None]
    assert since == sorted(waits) + [None] * (COUNT - len(waits))
    assert len(waits) == len(desk.where(waits=True))


async def test_filters_narrow_the_inbox(house: House, desk: Desk) -> None:
    client = house.desk(desk.staff)
    for query, expected in {
        "status=closed": desk.where(closed=True),
        "status=active": desk.where(closed=False),
        "waiting=true": desk.where(waits=True),
        "waiting=false": desk.where(waits=False),
        f"persona_id={desk.personas[0]}": set(desk.sessions[0::2]),
        f"persona_id={desk.personas[1]}&waiting=true": desk.where(waits=True) & set(desk.sessions[1::2]),
        f"persona_id={2**63 - 1}": set(),
        "status=closed&waiting=true": set(),
    }.items():
        for sort in ("activity", "waiting"):
            found = await _pages(client, f"{query}&sort={sort}", 6)
            assert {item["id"] for item in found} == expected, query
            assert len(found) == len(expected)


async def test_an_inbox_shows_only_ones_own_chats(house: House, desk: Desk) -> None:
    user, staff, session = await house.people.chat()
    mine = (await house.desk(user).get("/sessions")).items
    assert [item["id"] for item in mine] == [session]
    assert "waiting_since" not in mine[0]
    assert [item["id"] for item in (await house.desk(staff).get("/sessions")).items] == [session]
    others = await house.desk(staff).get(f"/sessions?persona_id={desk.personas[0]}")
    assert others.items == []
    (await house.desk(await house.people.admin()).get("/sessions")).refused(403, "forbidden")


async def test_a_cursor_of_the_other_order_is_named(house: House, desk: Desk) -> None:
    client = house.desk(desk.staff)
    for sort, other in (("activity", "waiting"), ("waiting", "activity")):
        cursor = (await client.get(f"/sessions?limit=3&sort={sort}")).json["next_cursor"]
        (await client.get(f"/sessions?sort={other}&cursor={cursor}")).refused(422, "validation_failed", "cursor")


async def test_the_newest_message_brings_a_chat_to_the_top(house: House) -> None:
    staff = await house.people.staff()
    persona = await house.people.persona(staff)
    users = [await house.people.user() for _ in range(3)]
    sessions = [await house.people.session(user, persona) for user in users]
    assert [item["id"] for item in (await house.desk(staff).get("/sessions")).items] == sessions[::-1]
    await house.desk(users[0]).send(sessions[0], "一番上に")
    await house.desk(users[2]).put(f"/sessions/{sessions[2]}/read", {"message_id": 0})
    found = (await house.desk(staff).get("/sessions")).items
    assert [item["id"] for item in found] == [sessions[0], sessions[2], sessions[1]]
    assert (found[0]["unread_count"], found[0]["last_message"]["preview"]) == (1, "一番上に")


async def test_an_inbox_that_moves_between_pages_loses_nobody_who_stayed(house: House) -> None:
    staff = await house.people.staff()
    persona = await house.people.persona(staff, cost=0)
    users = [await house.people.user(0) for _ in range(6)]
    sessions = [await house.people.session(user, persona) for user in users]
    first = (await house.desk(staff).get("/sessions?limit=3")).done()
    await asyncio.gather(house.desk(users[0]).send(sessions[0], "急ぎ"), house.desk(users[5]).send(sessions[5], "私も"))
    rest = (await house.desk(staff).get(f"/sessions?limit=3&cursor={first['next_cursor']}")).done()
    seen = {item["id"] for item in first["items"] + rest["items"]}
    assert seen == set(sessions[1:]), "who moved up is on the first page of next time"
