"""One run: people listen, sends begin at a steady rate, and at the end everything is held against the book."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from server.commands.seed import Seeded, seed
from storage.book import Book
from tests.load.doors import Person
from tests.load.ledger import Findings, Ledger, Row, Said, verify
from tests.load.plan import Plan
from tests.load.pollers import PollingDesk, PollingUser
from tests.load.sockets import SocketPerson

# What a user has to spend: more than any run takes.
CREDITS = 1_000_000
# How long the last messages may take to be seen by everybody; plain polls come every second or so.
SETTLE_SECONDS = 15.0
PAUSE_SECONDS = 0.02
# Begun and not yet answered: more than that says that the house is overloaded, not that it is busy.
IN_FLIGHT_MOST = 2_000
PAGE = 200


class _Page(Struct, frozen=True):
    items: list[Row]
    next_cursor: str | None


class _Balance(Struct, frozen=True):
    credit_balance: int


class Report(Struct, kw_only=True):
    """What a run gave."""

    ok: bool
    users: int
    staff: int
    way: str
    seconds: float
    rate_asked: float
    sends: int
    acknowledged: int
    sends_per_second: float
    deliveries: int
    deliveries_per_second: float
    polls_per_second: float
    unfinished: int
    refused: dict[str, int]
    counts: dict[str, int]
    latency_ms: dict[str, dict[str, float]]
    messages: int
    findings: Findings


async def run(plan: Plan) -> Report:
    """Do a whole run."""
    ledger = Ledger()
    async with _people(plan, ledger) as everybody:
        listeners = [asyncio.create_task(person.listen()) for person in everybody]
        before = {person.account.account_id: await _credits(person) for person in everybody if person.side == "user"}
        began = time.perf_counter()
        unfinished = await _talk(plan, everybody, ledger)
        seconds = time.perf_counter() - began
        polls = ledger.counts["polls"]
        await _settle(everybody, ledger, listeners)
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
        book = await _book(everybody)
        findings = verify(list(ledger.said.values()), book, [view for one in everybody for view in one.views.values()])
        findings.wrong_balance += await _wrong_balances(everybody, before, book, ledger)
    seen = len(ledger.deliveries.values)
    return Report(
        ok=findings.ok,
        users=sum(person.side == "user" for person in everybody),
        staff=sum(person.side == "staff" for person in everybody),
        way=plan.way,
        seconds=round(seconds, 2),
        rate_asked=plan.rate,
        sends=len(ledger.said),
        acknowledged=len(ledger.acknowledged),
        sends_per_second=round(len(ledger.acknowledged) / seconds, 1),
        deliveries=seen,
        deliveries_per_second=round(seen / seconds, 1),
        polls_per_second=round(polls / seconds, 1),
        unfinished=unfinished,
        refused=dict(ledger.refused),
        counts=dict(sorted(ledger.counts.items())),
        latency_ms={
            "send": ledger.sends.figures(),
            "delivery": ledger.deliveries.figures(),
            "poll": ledger.polls.figures(),
        },
        messages=sum(len(rows) for rows in book.values()),
        findings=findings,
    )


@asynccontextmanager
async def _people(plan: Plan, ledger: Ledger) -> AsyncIterator[list[Person]]:
    seeded = await _seeded(plan)
    # A held call takes as long as it was asked to be held; everything else is answered within 5 s, or never.
    timeout = aiohttp.ClientTimeout(total=max(10.0, plan.hold + 5.0), connect=5.0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        people: list[Person] = []
        for number, line in enumerate(seeded):
            kind = SocketPerson if plan.way == "socket" else PollingUser if line.role == "user" else PollingDesk
            people.append(kind(plan, line, number, ledger, http))
        yield people


async def _seeded(plan: Plan) -> list[Seeded]:
    """Make people, or read those of a file."""
    if plan.people:
        lines = await asyncio.to_thread(Path(plan.people).read_bytes)
        return [msgspec.json.decode(line, type=Seeded) for line in lines.splitlines()]
    book = Book(plan.database_url, pool_size=4, name="concierge load")
    await book.open()
    try:
        return await seed(book, plan.users, plan.staff, CREDITS)
    finally:
        await book.close()


async def _talk(plan: Plan, everybody: Sequence[Person], ledger: Ledger) -> int:
    """Begin sends at the rate that was asked for, whatever the answers; gives how many got no answer in the end."""
    chance = random.Random(1)
    desks = {id_: person for person in everybody if person.side == "staff" for id_ in person.views}
    chats = [(id_, person) for person in everybody if person.side == "user" for id_ in person.views]
    mark = f"{time.time_ns():x}"
    flying: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    for number in range(int(plan.rate * plan.seconds)):
        due = began + number / plan.rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        while len(flying) >= IN_FLIGHT_MOST:
            await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
        session_id, user = chance.choice(chats)
        person = chance.choice([user, desks.get(session_id, user)])
        said = Said(f"{mark}-{number}", session_id, person.side, due)
        ledger.said[said.key] = said
        task = asyncio.get_running_loop().create_task(person.say(said))
        flying.add(task)
        task.add_done_callback(flying.discard)
    if flying:
        await asyncio.wait(list(flying))
    return sum(not said.message_id for said in ledger.said.values()) - sum(ledger.refused.values())


async def _settle(everybody: Sequence[Person], ledger: Ledger, listeners: Sequence[asyncio.Task[None]]) -> None:
    """Wait until both sides hold the newest acknowledged message of each chat, or for as long as that may take."""
    newest: dict[int, int] = {}
    for said in ledger.acknowledged:
        newest[said.session_id] = max(said.message_id, newest.get(said.session_id, 0))
    behind = [view for person in everybody for view in person.views.values()]
    deadline = time.perf_counter() + SETTLE_SECONDS
    while (behind := [view for view in behind if view.position < newest.get(view.session_id, 0)]) and (
        time.perf_counter() < deadline
    ):
        for listener in listeners:
            if listener.done():
                listener.result()  # it never ends by itself: tell what broke it
        await asyncio.sleep(PAUSE_SECONDS)


async def _book(everybody: Sequence[Person]) -> dict[int, list[Row]]:
    """Read the whole of each chat by pages of history, into the book's order."""
    turn = asyncio.Semaphore(32)

    async def read(person: Person, session_id: int) -> tuple[int, list[Row]]:
        rows: list[Row] = []
        cursor: str | None = ""
        async with turn:
            while cursor is not None:
                before = f"&before_id={cursor}" if cursor else ""
                path = f"/messages?session_id={session_id}&limit={PAGE}{before}"
                page = await _read(person, path, _Page)
                rows += page.items
                cursor = page.next_cursor
        return session_id, rows[::-1]

    users = [person for person in everybody if person.side == "user"]
    return dict(await asyncio.gather(*(read(person, id_) for person in users for id_ in person.views)))


async def _read(person: Person, path: str, kind: Any) -> Any:
    answer = await person.certainly("GET", path)
    if answer is None or answer.status != 200:
        raise RuntimeError(f"{path} could not be read: {answer}")
    return msgspec.json.decode(answer.body, type=kind)


async def _credits(person: Person) -> int:
    balance: _Balance = await _read(person, "/credits", _Balance)
    return balance.credit_balance


async def _wrong_balances(
    everybody: Sequence[Person], before: dict[int, int], book: dict[int, list[Row]], ledger: Ledger
) -> list[str]:
    """Every message of a user in the book costs one credit, and nothing else does."""
    wrong = []
    for person in everybody:
        if person.side == "user":
            rows = [row for id_ in person.views for row in book[id_]]
            paid = sum((said := ledger.said.get(row.content)) is not None and said.side == "user" for row in rows)
            spent = before[person.account.account_id] - await _credits(person)
            if spent != paid:
                wrong.append(f"{person.account.email}: {paid} messages in the book, {spent} credits spent")
    return wrong
