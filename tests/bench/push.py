"""How long a message takes from its send to the other side's socket, also beside a reader that never reads."""

import asyncio
import json
import time
from functools import partial
from statistics import median

import aiohttp

from tests.bench import ws
from tests.bench.house import House
from tests.until import until

LISTENERS = 100
SENDS_PER_SECOND = 200


async def _round(house: House, http: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Send at a steady pace from staff to listening users; give the delivery times in milliseconds, sorted."""
    sent_at: dict[str, float] = {}
    times: list[float] = []

    def heard(frame: bytes) -> None:
        event = json.loads(frame)
        if event["type"] == "message" and event["message"]["content"] in sent_at:
            times.append((time.perf_counter() - sent_at[event["message"]["content"]]) * 1000)

    listeners = house.users[:LISTENERS]
    sockets = [await ws.connect(house.replica_port, "/api/v1/ws", user.token, heard) for user in listeners]
    desk = {session: line for line in house.staff for session in line.session_ids}
    began = time.perf_counter()
    sends: list[asyncio.Task[None]] = []
    for number in range(int(SENDS_PER_SECOND * seconds)):
        session = listeners[number % LISTENERS].session_ids[0]
        content = f"{began} {number}"
        await asyncio.sleep(max(0.0, began + number / SENDS_PER_SECOND - time.perf_counter()))
        sends.append(asyncio.create_task(_send(house, http, desk[session].token, session, content, sent_at)))
    await asyncio.gather(*sends)

    async def all_arrived() -> bool:
        return len(times) == len(sends)

    await until(all_arrived)
    for socket in sockets:
        socket.transport.abort()
    return sorted(times)


async def _send(
    house: House, http: aiohttp.ClientSession, token: str, session: int, content: str, sent_at: dict[str, float]
) -> None:
    sent_at[content] = time.perf_counter()
    url = f"http://127.0.0.1:{house.replica_port}/api/v1/messages"
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(url, json={"session_id": session, "content": content}, headers=headers) as answer:
        assert answer.status == 201, await answer.text()


async def _never_read(house: House, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
    """Be a user who reads nothing, and be sent long messages all the time; come back whenever parted with."""
    user = house.users[LISTENERS]
    session = user.session_ids[0]
    desk = next(line for line in house.staff if session in line.session_ids)
    open_ = partial(ws.connect, house.replica_port, "/api/v1/ws", user.token, lambda frame: None)
    socket = await open_()
    while not stop.is_set():
        if socket.transport.is_closing():
            socket = await open_()
        else:
            socket.transport.pause_reading()
        await _send(house, http, desk.token, session, "長" * 3_900 + f"{time.perf_counter()}", {})


async def measure(house: House, runs: int, seconds: float) -> dict[str, float]:
    """Alternate between a calm house and one with a reader that never reads; gives medians of percentiles."""
    calm: list[list[float]] = []
    beset: list[list[float]] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await _round(house, http, 1)
        for _ in range(runs):
            calm.append(await _round(house, http, seconds))
            stop = asyncio.Event()
            reader = asyncio.create_task(_never_read(house, http, stop))
            beset.append(await _round(house, http, seconds))
            stop.set()
            await reader
    found: dict[str, float] = {}
    for name, rounds in (("calm", calm), ("beside one who never reads", beset)):
        for share in (0.5, 0.99):
            found[f"p{share * 100:.0f} ms, {name}"] = median(times[int(len(times) * share)] for times in rounds)
    return found
