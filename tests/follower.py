"""A client that follows its chats by the contract's rule, over the socket, by polls, or both in turn."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp

from tests.people import Person

HOLD_SECONDS = 0.15
Row = dict[str, Any]


class Follower:
    """What one device of an account holds of its chats.

    At or below my position: dropped; following my position: appended; else held for 150 ms, then polled.
    """

    def __init__(self, person: Person, url: str) -> None:
        self.person = person
        self.url = url
        self.timelines: dict[int, list[Row]] = {}
        self.arrived: dict[int, list[int]] = {}
        self.events: list[Row] = []
        self.polls = 0
        self._held: dict[int, dict[int, Row]] = {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._resuming = False
        self._resumed = asyncio.Event()
        self._fetches: dict[int, asyncio.Task[None]] = {}

    def position(self, session_id: int) -> int:
        """The last message id that is held of a session."""
        rows = self.timelines.get(session_id)
        return int(rows[-1]["id"]) if rows else 0

    def ids(self, session_id: int) -> list[int]:
        return [row["id"] for row in self.timelines.get(session_id, [])]

    @property
    def is_connected(self) -> bool:
        return self._task is not None and not self._task.done()

    # The socket

    async def connect(self, *session_ids: int, url: str = "") -> None:
        """Open the socket and ask for what was missed."""
        self.url = url or self.url
        headers = {"Authorization": f"Bearer {self.person.token}"}
        self._socket = await self.person.http.ws_connect(f"{self.url}/api/v1/ws", headers=headers, max_msg_size=0)
        self._resuming = True
        self._resumed.clear()
        self._task = asyncio.create_task(self._hear(self._socket))
        positions = {str(id_): self.position(id_) for id_ in {*self.timelines, *session_ids}}
        await self._socket.send_str(json.dumps({"type": "resume", "ref": "resume", "positions": positions}))
        async with asyncio.timeout(10):
            await self._resumed.wait()

    async def disconnect(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            await self._socket.close()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def say(self, **frame: Any) -> None:
        assert self._socket is not None
        await self._socket.send_str(json.dumps(frame))

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            event = json.loads(frame.data)
            self.events.append(event)
            match event["type"]:
                case "message":
                    self._message(event["message"], event["prev_id"])
                case "heads":
                    self._look_at(event["heads"])
                case "gap":
                    self._fetch_soon(event["session_id"], 0)
                case "ok" if event["ref"] == "resume":
                    self._resuming = False
                    self._look_at(event["heads"])
                    for session_id in self._held:
                        self._mind_the_hole(session_id)
                    self._resumed.set()

    def _message(self, row: Row, prev_id: int) -> None:
        session_id = row["session_id"]
        self.arrived.setdefault(session_id, []).append(row["id"])
        if row["id"] > self.position(session_id):
            self._held.setdefault(session_id, {})[prev_id] = row
            self._append_held(session_id)
            self._mind_the_hole(session_id)

    def _append_held(self, session_id: int) -> None:
        held = self._held.setdefault(session_id, {})
        while (row := held.pop(self.position(session_id), None)) is not None:
            self.timelines.setdefault(session_id, []).append(row)
        position = self.position(session_id)
        self._held[session_id] = {prev: row for prev, row in held.items() if row["id"] > position}

    def _mind_the_hole(self, session_id: int) -> None:
        if self._held.get(session_id) and not self._resuming:
            self._fetch_soon(session_id, HOLD_SECONDS)

    def _look_at(self, heads: dict[str, Row]) -> None:
        for session_id, head in heads.items():
            if head["message_id"] > self.position(int(session_id)):
                self._fetch_soon(int(session_id), HOLD_SECONDS)

    def _fetch_soon(self, session_id: int, seconds: float) -> None:
        if session_id not in self._fetches:
            self._fetches[session_id] = asyncio.create_task(self._fetch(session_id, seconds))

    async def _fetch(self, session_id: int, seconds: float) -> None:
        before = self.position(session_id)
        await asyncio.sleep(seconds)
        self._fetches.pop(session_id)
        if seconds and self.position(session_id) > before and not self._held.get(session_id):
            return  # it came by itself
        with suppress(aiohttp.ClientError):
            await self.poll(session_id)

    # The poll

    async def poll(self, session_id: int, url: str = "") -> None:
        """Ask what came after my position until there is no more."""
        while True:
            self.polls += 1
            rows, more = await self._ask(session_id, url or self.url)
            for row in rows:
                if row["id"] > self.position(session_id):
                    self.timelines.setdefault(session_id, []).append(row)
            self._append_held(session_id)
            if not more:
                return

    async def _ask(self, session_id: int, url: str) -> tuple[list[Row], bool]:
        query = f"session_id={session_id}&last_message_id={self.position(session_id)}"
        headers = {"Authorization": f"Bearer {self.person.token}"}
        async with self.person.http.get(f"{url}/api/v1/messages/poll?{query}", headers=headers) as answer:
            if answer.status != 200:
                return [], False
            return await answer.json(), answer.headers["X-Next-Poll-Ms"] == "0"
