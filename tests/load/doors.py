"""Calls through the doors of a side: on a failure by the next door, with the same key, until there is an answer."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from server.commands.seed import Seeded
from tests.load.ledger import Ledger, Row, Said, View
from tests.load.plan import Plan, Side

# A send that has no answer after so long is given up; whether it was done is then unknown.
GIVE_UP_SECONDS = 30.0
PAUSE_FIRST_SECONDS, PAUSE_MOST_SECONDS = 0.05, 1.0
AGAIN = (429, 500, 502, 503, 504)
ROWS = msgspec.json.Decoder(list[Row])


class Problem(Struct, frozen=True):
    """What is read of a refusal."""

    code: str = "?"
    retry_after_ms: int = 0


class _SentMessage(Struct, frozen=True):
    message: Row


class Answer(Struct, frozen=True):
    """What a call gave."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Person(ABC):
    """Somebody who talks: an account with its views of its sessions."""

    def __init__(self, plan: Plan, seeded: Seeded, number: int, ledger: Ledger, http: aiohttp.ClientSession) -> None:
        self.plan = plan
        self.side: Side = "user" if seeded.role == "user" else "staff"
        self.account = seeded
        self.ledger = ledger
        self.http = http
        self.views = {id_: View(self.side, id_) for id_ in seeded.session_ids}
        self.headers = {"Authorization": f"Bearer {seeded.token}", **plan.headers(self.side)}
        self._doors = plan.doors(self.side)
        self._door = number

    @abstractmethod
    async def listen(self) -> None:
        """Learn of messages until cancelled."""

    @property
    def door(self) -> str:
        """The door that is used now."""
        return self._doors[self._door % len(self._doors)]

    def next_door(self) -> None:
        """Leave a door that failed."""
        self._door += 1

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Call once.

        Raises:
            aiohttp.ClientError, TimeoutError: there was no answer; the next call goes by the next door.
        """
        told = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self.http.request(method, f"{self.door}/api/v1{path}", data=data, headers=told) as answer:
                return Answer(answer.status, await answer.read(), answer.headers)
        except (aiohttp.ClientError, TimeoutError):
            self.ledger.counts["no_answer"] += 1
            self.next_door()
            raise

    async def certainly(self, method: str, path: str, body: Any = None, **headers: str) -> Answer | None:
        """Call until there is an answer other than "later"; None after `GIVE_UP_SECONDS`."""
        deadline = time.perf_counter() + GIVE_UP_SECONDS
        pause = PAUSE_FIRST_SECONDS
        while time.perf_counter() < deadline:
            try:
                answer = await self.call(method, path, body, **headers)
            except (aiohttp.ClientError, TimeoutError):
                wait = pause
            else:
                if answer.status not in AGAIN:
                    return answer
                wait = max(pause, self._later(answer))
            self.ledger.counts["retries"] += 1
            await asyncio.sleep(wait)
            pause = min(2 * pause, PAUSE_MOST_SECONDS)
        return None

    def _later(self, answer: Answer) -> float:
        """Count a refusal that asks to come later; gives how much later, in seconds."""
        problem = read_problem(answer.body)
        self.ledger.counts[problem.code] += 1
        if answer.status != 429:
            self.next_door()
        return problem.retry_after_ms / 1000

    async def say(self, said: Said) -> None:
        """Send a message until its outcome is known."""
        body = {"session_id": said.session_id, "content": said.key}
        answer = await self.certainly("POST", "/messages", body, Idempotency_Key=said.key)
        if answer is not None and answer.status == 201:
            self.acknowledge(said, msgspec.json.decode(answer.body, type=_SentMessage).message.id)
        else:
            self.ledger.refused["no answer" if answer is None else read_problem(answer.body).code] += 1

    def acknowledge(self, said: Said, message_id: int) -> None:
        """Note that a send was acknowledged."""
        said.message_id = message_id
        self.ledger.sends.values.append(time.perf_counter() - said.due)

    async def poll(self, session_id: int, hold: int = 0) -> float:
        """Ask once what came after one's position; gives how long to wait before the next time, in seconds."""
        view, began = self.views[session_id], time.perf_counter()
        asked = view.position
        path = f"/messages/poll?session_id={session_id}&last_message_id={asked}"
        try:
            answer = await self.call("GET", path, **({"Prefer": f"wait={hold}"} if hold else {}))
        except (aiohttp.ClientError, TimeoutError):
            return PAUSE_MOST_SECONDS
        if answer.status != 200:
            return max(PAUSE_FIRST_SECONDS, self._later(answer))
        now = time.perf_counter()
        self.ledger.counts["polls"] += 1
        if "Preference-Applied" not in answer.headers:
            self.ledger.polls.values.append(now - began)
        for row in ROWS.decode(answer.body):
            # What one was pushed meanwhile is dropped; what does not follow what was asked for is the server's fault.
            if row.id > view.position or row.id <= asked:
                self.ledger.saw(view, row, now)
            asked = row.id
        return int(answer.headers["X-Next-Poll-Ms"]) / 1000


def read_problem(body: bytes) -> Problem:
    """Give what a refusal says, also when it is none of ours."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        return Problem()
