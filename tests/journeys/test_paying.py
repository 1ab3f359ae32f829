"""A paid send happens exactly once, whatever the hurry."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from server.commands.audit import words
from storage import credits, messages, personas, sessions
from storage.book import Book
from storage.sends import Send, Sent
from tests.journeys.conftest import Via
from tests.people import People, Person, balance, timeline
from tests.servers import Replica, Servers


async def test_of_200_sends_at_once_a_hundred_credits_pay_for_exactly_a_hundred(
    two: tuple[Replica, Replica], people: People, via: Via, book: Book
) -> None:
    user, _, session = await people.chat(credits=100)
    doors = [via(user, replica) for replica in two]
    answers = await asyncio.gather(*(doors[n % 2].send(session, f"{n}", f"key-{n}") for n in range(200)))
    assert Counter(answer.status for answer in answers) == {201: 100, 402: 100}
    assert {answer.code for answer in answers if answer.status == 402} == {"insufficient_credits"}
    assert await balance(book, user.id) == (0, 0)
    assert len(await timeline(book, session)) == 100
    assert sorted(answer.json["credit_balance"] for answer in answers if answer.status == 201) == list(range(100))


async def test_the_same_key_fifty_times_at_once_is_one_message_and_one_debit(
    two: tuple[Replica, Replica], people: People, via: Via, book: Book
) -> None:
    user, _, session = await people.chat(credits=100, cost=7)
    doors = [via(user, replica) for replica in two]
    answers = await asyncio.gather(*(doors[n % 2].send(session, "一度だけ", "the-key") for n in range(50)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.raw for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 49
    assert await balance(book, user.id) == (93, 93)
    assert len(await timeline(book, session)) == 1


async def test_a_key_settles_its_message_for_ever_after_closing_and_hand_over(
    replica: Replica, people: People, via: Via
) -> None:
    user, staff, session = await people.chat()
    successor = await people.staff()
    door, desk = via(user, replica), via(staff, replica)
    first = await door.send(session, "覚えていますか", "k")
    answered = await desk.send(session, "はい", "k")
    persona = (await door.get(f"/sessions/{session}")).json["persona"]["id"]
    assert (await desk.patch(f"/personas/{persona}", {"staff_account_id": successor.id})).status == 200
    assert (await door.post(f"/sessions/{session}/close")).status == 200
    again = await door.send(session, "覚えていますか", "k")
    assert (again.status, again.raw, again.headers["Idempotent-Replayed"]) == (201, first.raw, "true")
    assert (await desk.send(session, "はい", "k")).json["message"] == answered.json["message"]
    reused = await door.send(session, "別の話", "k")
    assert (reused.status, reused.code) == (422, "idempotency_key_reused")


async def test_sends_of_one_session_keep_their_order_of_arrival(book: Book, people: People) -> None:
    user, staff, session = await people.chat(credits=500)
    announced: list[int] = []

    def send(author: int, n: int, *, by_user: bool) -> Send:
        def landed(call: Send, sent: Sent) -> None:
            announced.append(sent.id)

        return Send(author, session, f"{n}", f"{n}", None, None, by_user, landed)

    calls = [send(*((user.id, n), (staff.id, n))[n % 2], by_user=n % 2 == 0) for n in range(300)]
    await asyncio.gather(*(book.sends.call(call) for call in calls))
    rows = await timeline(book, session)
    assert [content for _, _, content in rows] == [str(n) for n in range(300)]
    assert [prev for _, prev, _ in rows] == [0, *(id_ for id_, _, _ in rows[:-1])]
    assert announced == [id_ for id_, _, _ in rows]


@dataclass
class Storm:
    """Acts at random on a few chats, through any of some books."""

    chance: random.Random
    books: list[Book]
    desks: list[Person]
    chats: list[tuple[Person, int, int]]
    admin: Person
    outcomes: Counter[str] = field(default_factory=Counter)
    paid: list[int] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def act(self) -> None:
        here, what = self.chance.choice(self.books), self.chance.random()
        user, persona, session = self.chance.choice(self.chats)
        if what < 0.8:
            await self.send(here, user, session)
        elif what < 0.85:
            await sessions.change(here, session, user.id, close=True)
        elif what < 0.9:
            await sessions.open_(here, user.id, persona)
        elif what < 0.95:
            await personas.hand_over(here, persona, None, self.chance.choice(self.desks).id)
        elif self.paid and what < 0.98:
            await credits.refund(here, self.chance.choice(self.paid), "sorry", self.admin.id)
        else:
            key = f"grant-{next(self.numbers)}"
            await credits.grant(here, credits.Grant(user.id, 5, "grant", None, "gift", self.admin.id, key))

    async def send(self, here: Book, user: Person, session: int) -> None:
        by_user = self.chance.random() < 0.6
        author = user if by_user else self.chance.choice(self.desks)
        key = f"{self.chance.randrange(600)}"
        sent = await here.sends.call(
            Send(author.id, session, f"{key} {session}", key, None, None, by_user, lambda call, sent: None)
        )
        self.outcomes[sent.outcome] += 1
        if sent.outcome == "sent" and by_user:
            self.paid.append(sent.id)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_everything_leaves_books_that_balance(
    servers: Servers, book: Book, people: People, seed: int
) -> None:
    """Sends, reused keys, closes, reopenings, hand-overs, grants and refunds over three replicas' books at once."""
    chance = random.Random(seed)
    books = [book, Book(servers.database_url, pool_size=4), Book(servers.database_url, pool_size=4)]
    for other in books[1:]:
        await other.open()
    desks = [await people.staff() for _ in range(3)]
    personas_ = [await people.persona(chance.choice(desks), cost=cost) for cost in range(4)]
    users = [await people.user(60) for _ in range(6)]
    chats = [(user, persona, await people.session(user, persona)) for user in users for persona in personas_]
    storm = Storm(chance, books, desks, chats, await people.admin())
    for _ in range(8):
        await asyncio.gather(*(storm.act() for _ in range(150)))
    for other in books[1:]:
        await other.close()
    assert {"sent", "replayed", "key_reused", "closed", "not_found", "insufficient"} <= set(storm.outcomes)
    broken = await book.fetch(
        """select id from (
          select id, prev_id, lag(id, 1, 0::bigint) over (partition by session_id order by id) as before
          from messages where session_id = any($1)) x
        where prev_id <> before""",
        [session for _, _, session in chats],
    )
    assert broken == []
    ours = {user.id for user in users}
    books_ = await credits.audit(book)
    assert [found for found in books_.mismatches if found.account_id in ours] == [], words(books_)


async def test_a_price_that_changed_is_refused_instead_of_charged(replica: Replica, people: People, via: Via) -> None:
    user, staff, session = await people.chat(cost=2)
    door = via(user, replica)
    persona = (await door.get(f"/sessions/{session}")).json["persona"]["id"]
    assert (await staff.via(replica).patch(f"/personas/{persona}", {"message_cost": 5})).status == 200
    refused = await door.send(session, "まだ2クレジットですか", expected_cost=2)
    assert (refused.status, refused.code) == (409, "price_changed")
    assert (refused.json["message_cost"], refused.json["credit_balance"]) == (5, 100)
    assert (await door.send(session, "では5で", expected_cost=5)).json["credit_balance"] == 95


async def test_an_answer_that_another_desk_gave_first_is_shown_instead_of_doubled(
    replica: Replica, people: People, via: Via
) -> None:
    user, staff, session = await people.chat()
    question = (await via(user, replica).send(session, "どなたかいますか")).json["message"]["id"]
    desk = via(staff, replica)
    first = await desk.send(session, "はい、ここに", seen_message_id=question)
    second = await desk.send(session, "おります", seen_message_id=question)
    assert (second.status, second.code) == (409, "newer_answer")
    assert second.json["messages"] == [first.json["message"]]


async def test_a_refund_is_paid_once_for_ever(replica: Replica, people: People, via: Via, book: Book) -> None:
    user, _, session = await people.chat(cost=4)
    admin = (await people.admin()).via(replica)
    message = (await via(user, replica).send(session, "まちがえました")).json["message"]["id"]
    answers = await asyncio.gather(*(admin.post(f"/messages/{message}/refund", {"note": "お詫び"}) for _ in range(8)))
    assert Counter(answer.status for answer in answers) == {201: 1, 200: 7}
    assert len({answer.raw for answer in answers}) == 1
    assert await balance(book, user.id) == (100, 100)
    page = await messages.history(book, session, None, 10)
    assert [row.content for row in page] == ["まちがえました"]
