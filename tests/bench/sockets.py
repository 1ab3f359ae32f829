"""What an idle websocket costs in memory, beside a bare aiohttp websocket that knows nobody."""

import asyncio
import gc
import resource
from pathlib import Path

from tests.bench import ws
from tests.bench.house import House

CONNECTIONS = 5_000
AT_ONCE = 50


def resident_bytes(pid: int) -> int:
    """Give the memory of a process that is its own or shared, as the kernel counts it."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _open(port: int, path: str, tokens: list[str]) -> list[ws.Socket]:
    sockets: list[ws.Socket] = []
    for start in range(0, len(tokens), AT_ONCE):
        some = tokens[start : start + AT_ONCE]
        sockets += await asyncio.gather(*(ws.connect(port, path, token, _ignore) for token in some))
    return sockets


def _ignore(frame: bytes) -> None:
    """Nobody looks at it."""


async def _cost(pid: int, port: int, path: str, tokens: list[str]) -> float:
    """Give KiB a connection, with everything open; the first hundred, which fill pools and caches, not counted."""
    warm = await _open(port, path, tokens[:100])
    before = resident_bytes(pid)
    sockets = await _open(port, path, tokens[100 : 100 + CONNECTIONS])
    await asyncio.sleep(0.5)  # what was begun for the last of them is done
    cost = (resident_bytes(pid) - before) / len(sockets) / 1024
    for socket in warm + sockets:
        socket.transport.abort()
    gc.collect()
    return cost


async def measure(house: House, runs: int, seconds: float) -> dict[str, float]:
    """Open 5,000 at once, at each; memory is no matter of luck, so once is enough."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    tokens = [user.token for user in house.users] * (CONNECTIONS // len(house.users) + 1)
    ours = await _cost(house.replica.pid, house.replica_port, "/api/v1/ws", tokens)
    bare = await _cost(house.bare.pid, house.bare_port, "/ws", tokens)
    return {"KiB a socket": ours, "KiB a bare aiohttp socket": bare}
