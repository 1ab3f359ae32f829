"""A message is on the other side's screen through another replica, whoever sends and however one listens."""

import asyncio
import itertools
import random
from collections import Counter

import pytest

from storage.book import Book
from tests.conftest import MakeProcess
from tests.follower import Follower
from tests.people import People, Person, timeline
from tests.servers import Replica
from tests.until import until


async def same_as_the_book(book: Book, follower: Follower, session: int) -> bool:
    return follower.ids(session) == [id_ for id_, _, _ in await timeline(book, session)]


async def test_ten_thousand_messages_over_two_replicas_arrive_once_and_in_order(
    make_process: MakeProcess, people: People, book: Book
) -> None:
    here, there = await asyncio.gather(make_process(CONCIERGE_LIMITS="off"), make_process(CONCIERGE_LIMITS="off"))
    desks = [await people.staff() for _ in range(10)]
    personas = [await people.persona(desk, cost=0) for desk in desks]
    chats: list[tuple[Person, Person, int]] = []
    for n in range(100):
        user = await people.user()
        chats.append((user, desks[n % 10], await people.session(user, personas[n % 10])))
    users = {user.id: Follower(user, here.url) for user, _, _ in chats}
    staff = {desk.id: Follower(desk, there.url) for desk in desks}
    await asyncio.gather(*(follower.connect() for follower in (*users.values(), *staff.values())))

    async def talk(user: Person, desk: Person, session: int) -> None:
        for n in range(50):
            await asyncio.gather(
                user.via(here.url).send(session, f"user {n}"), desk.via(there.url).send(session, f"desk {n}")
            )

    await asyncio.gather(*(talk(*chat) for chat in chats))

    async def all_is_heard() -> bool:
        return all(
            len(follower.ids(session)) == 100
            for user, desk, session in chats
            for follower in (users[user.id], staff[desk.id])
        )

    await until(all_is_heard, 15)
    for user, desk, session in chats:
        rows = await timeline(book, session)
        assert len(rows) == 100
        assert [prev for _, prev, _ in rows] == [0, *(id_ for id_, _, _ in rows[:-1])]
        for follower in (users[user.id], staff[desk.id]):
            assert follower.ids(session) == [id_ for id_, _, _ in rows]
            assert max(Counter(follower.arrived[session]).values()) == 1, "A message was pushed twice."
            mine = [f"user {n}" for n in range(50)]
            assert [row["content"] for row in follower.timelines[session] if row["sender_type"] == "user"] == mine


async def test_where_one_replica_sends_pushes_arrive_in_the_books_order(
    two: tuple[Replica, Replica], people: People, book: Book
) -> None:
    here, there = two
    user, desk, session = await people.chat(credits=300, cost=1)
    follower = Follower(desk, there.url)
    await follower.connect()
    await asyncio.gather(*(user.via(here).send(session, f"{n}") for n in range(300)))
    await until(lambda: same_as_the_book(book, follower, session))
    assert follower.arrived[session] == follower.ids(session)
    assert follower.polls == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_who_changes_between_socket_and_poll_at_random_ends_with_the_book(
    two: tuple[Replica, Replica], people: People, book: Book, seed: int
) -> None:
    chance = random.Random(seed)
    user, desk, first = await people.chat(credits=1_000, cost=0)
    second = await people.session(user, await people.persona(await people.staff(), cost=0))
    follower = Follower(user, two[0].url)
    numbers = itertools.count()
    flowing = True

    async def flow() -> None:
        while flowing:
            author, session = chance.choice([(user, first), (user, second), (desk, first)])
            await author.via(chance.choice(two)).send(session, f"{next(numbers)}")

    flows = [asyncio.create_task(flow()) for _ in range(4)]
    for _ in range(25):
        url = chance.choice(two).url
        if chance.random() < 0.5:
            await follower.connect(first, second, url=url)
            await asyncio.sleep(chance.random() * 0.1)
            await follower.disconnect()
        else:
            await follower.poll(chance.choice([first, second]), url)
            await asyncio.sleep(chance.random() * 0.02)
    flowing = False
    await asyncio.gather(*flows)
    await follower.connect(first, second)
    for session in (first, second):
        await until(lambda session=session: same_as_the_book(book, follower, session))  # type: ignore[misc]
        assert len(follower.ids(session)) > 20


async def test_a_resume_gives_500_messages_and_names_what_is_left(replica: Replica, people: People, book: Book) -> None:
    user, desk, long = await people.chat()
    short = await people.session(user, await people.persona(desk))
    lost = await people.session(await people.user(), await people.persona(desk))
    for session, count in ((short, 30), (long, 600)):
        await book.fetch(
            """with sent as (
              insert into messages(session_id, sender_type, sender_id, content, credit_cost, prev_id,
                author_account_id, idempotency_key)
              select $1, 'persona', s.persona_id, n::text, 0, 0, $2, s.id || ' ' || n
              from generate_series(1, $3::int) n, sessions s where s.id = $1 returning id)
            update sessions set last_message_id = (select max(id) from sent) where id = $1""",
            session, desk.id, count, writes=True,
        )  # fmt: skip
    follower = Follower(user, replica.url)
    follower.timelines[lost] = []
    await follower.connect(short, long, lost)
    ok = next(event for event in follower.events if event["type"] == "ok")
    assert ok["gone"] == [lost]
    assert set(ok["heads"]) == {str(short), str(long)}
    assert (ok["credit_balance"], ok["credit_entry_id"] > 0) == (100, True)
    messages = [event for event in follower.events if event["type"] == "message"]
    gaps = [event["session_id"] for event in follower.events if event["type"] == "gap"]
    assert len(messages) == 500
    assert long in gaps
    kinds = [event["type"] for event in follower.events]
    assert kinds == ["hello"] + ["message"] * 500 + ["gap"] * len(gaps) + ["ok"]


async def test_all_devices_of_an_account_hear_its_own_sends_and_reads(
    two: tuple[Replica, Replica], people: People
) -> None:
    user, _, session = await people.chat()
    phone, laptop = Follower(user, two[0].url), Follower(user, two[1].url)
    await asyncio.gather(phone.connect(), laptop.connect())
    sent = (await user.via(two[0]).send(session, "ただいま", "my-key")).json["message"]
    await user.via(two[0]).put(f"/sessions/{session}/read", {"message_id": sent["id"]})

    async def heard() -> bool:
        return {"message", "balance", "read"} <= {event["type"] for event in laptop.events}

    await until(heard)
    message = next(event for event in laptop.events if event["type"] == "message")
    assert (message["message"], message["idempotency_key"]) == (sent, "my-key")
    read = next(event for event in laptop.events if event["type"] == "read")
    assert (read["session_id"], read["sender_type"], read["message_id"]) == (session, "user", sent["id"])
