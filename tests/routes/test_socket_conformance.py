"""The websocket protocol itself (RFC 6455), byte by byte: what the Autobahn fuzzing client asks, up to our size limit.

Its cases expect an echo; here a ping command is answered by `ok`, which shows as well that a message was understood.
"""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.people import People
from tests.servers import Replica
from tests.sockets import raw_handshake

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
COMMAND = b'{"type":"ping","ref":1}'
MASK = b"\x37\xfa\x21\x3d"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0) -> bytes:
    """Give a masked frame, as a client sends it."""
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += b"\xfe" + struct.pack("!H", size)
    else:
        head += b"\xff" + struct.pack("!Q", size)
    return head + MASK + bytes(byte ^ MASK[n % 4] for n, byte in enumerate(payload))


class Wire:
    """A connection whose bytes we write ourselves."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def hear(self) -> tuple[int, bytes]:
        """Give the next frame's opcode and payload."""
        async with asyncio.timeout(5):
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80, "A server masks nothing."
            assert first & 0x80, "We send whole frames."
            assert not first & 0x70, "No extension was agreed on."
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def is_understood(self) -> bool:
        opcode, payload = await self.hear()
        return opcode == TEXT and json.loads(payload) == {"type": "ok", "ref": 1}

    async def closed(self) -> int | None:
        """Give the code with which the server closes; None when it just hangs up."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self.hear()
                if opcode == CLOSE:
                    return struct.unpack("!H", payload[:2])[0] if payload else 1005
        return None


@pytest.fixture
async def wire(replica: Replica, people: People) -> AsyncIterator[Wire]:
    """An open connection that was said hello to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(replica.url.rsplit(":", 1)[1]))
    writer.write(raw_handshake((await people.user()).token))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert b"Sec-WebSocket-Extensions" not in head
    opened = Wire(reader, writer)
    opcode, hello = await opened.hear()
    assert (opcode, json.loads(hello)["type"]) == (TEXT, "hello")
    yield opened
    writer.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_000])
async def test_messages_of_every_length_encoding_are_understood(wire: Wire, size: int) -> None:
    """Cases 1.1: lengths in 7, 16 and 64 bits."""
    padded = COMMAND[:-1] + b" " * max(0, size - len(COMMAND)) + b"}"
    await wire.say(frame(TEXT, padded))
    assert await wire.is_understood()


async def test_bytes_that_arrive_one_by_one_are_a_message_like_any(wire: Wire) -> None:
    """Cases 1.1.8 and 2.6: chopped in octets."""
    for byte in frame(TEXT, COMMAND):
        wire.writer.write(bytes([byte]))
        await wire.writer.drain()
        await asyncio.sleep(0)
    assert await wire.is_understood()


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125)), b"\xfe" * 125])
async def test_pings_are_answered_with_their_payload(wire: Wire, payload: bytes) -> None:
    """Cases 2.1 to 2.4."""
    await wire.say(frame(PING, payload))
    assert await wire.hear() == (PONG, payload)


async def test_ten_pings_are_answered_in_order(wire: Wire) -> None:
    """Cases 2.10 and 2.11."""
    await wire.say(*(frame(PING, b"%d" % n) for n in range(10)))
    assert [await wire.hear() for _ in range(10)] == [(PONG, b"%d" % n) for n in range(10)]


async def test_pongs_that_nobody_asked_for_are_ignored(wire: Wire) -> None:
    """Cases 2.7 to 2.9."""
    await wire.say(frame(PONG, b"unasked"), frame(TEXT, COMMAND))
    assert await wire.is_understood()


async def test_fragments_are_joined(wire: Wire) -> None:
    """Cases 5.3 to 5.5."""
    await wire.say(frame(TEXT, COMMAND[:5], fin=False), frame(CONTINUATION, b"", fin=False))
    await wire.say(frame(CONTINUATION, COMMAND[5:]))
    assert await wire.is_understood()


async def test_control_frames_between_fragments_are_answered_at_once(wire: Wire) -> None:
    """Cases 5.6 to 5.8, 5.19 and 5.20."""
    await wire.say(frame(TEXT, COMMAND[:5], fin=False), frame(PING, b"between"))
    assert await wire.hear() == (PONG, b"between")
    await wire.say(
        frame(CONTINUATION, COMMAND[5:9], fin=False), frame(PING, b"again"), frame(CONTINUATION, COMMAND[9:])
    )
    assert await wire.hear() == (PONG, b"again")
    assert await wire.is_understood()


async def test_letters_cut_in_two_by_fragments_are_whole(wire: Wire) -> None:
    """Cases 6.2: valid UTF-8 in fragments."""
    text = '{"type":"ping","ref":"κόσμε日本"}'.encode()
    for size in (1, 3):
        parts = [text[start : start + size] for start in range(0, len(text), size)]
        await wire.say(frame(TEXT, parts[0], fin=False), *(frame(CONTINUATION, part, fin=False) for part in parts[1:]))
        await wire.say(frame(CONTINUATION, b""))
        assert json.loads((await wire.hear())[1])["ref"] == "κόσμε日本"


BROKEN: dict[str, tuple[bytes, set[int | None]]] = {
    "2.5 a ping of 126 bytes": (frame(PING, b"x" * 126), {1002}),
    "3.1 reserved bit 1": (frame(TEXT, COMMAND, reserved=0b100), {1002}),
    "3.2 reserved bit 2": (frame(TEXT, COMMAND, reserved=0b010), {1002}),
    "3.5 a reserved bit in a control frame": (frame(PING, b"", reserved=0b001), {1002}),
    "4.1 opcode 3": (frame(3, b""), {1002}),
    "4.1 opcode 7": (frame(7, b"x"), {1002}),
    "4.2 opcode 11": (frame(11, b""), {1002}),
    "4.2 opcode 15": (frame(15, b"x"), {1002}),
    "5.1 a ping in fragments": (frame(PING, b"x", fin=False) + frame(CONTINUATION, b"y"), {1002}),
    "5.9 a continuation of nothing": (frame(CONTINUATION, b"x"), {1002}),
    "5.15 a message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), {1002}),
    "6.3 invalid UTF-8": (frame(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"), {1007}),
    "6.4 invalid UTF-8 in fragments": (frame(TEXT, b"\xf4", fin=False) + frame(CONTINUATION, b"\x90\x80\x80"), {1007}),
    "6.6 a letter that is cut off": (frame(TEXT, b"\xe6\x97"), {1007}),
    "7.3.2 a close of one byte": (frame(CLOSE, b"x"), {1002, None}),
    "7.5.1 a close with invalid UTF-8": (frame(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80"), {1002, 1007, None}),
    "9 a message beyond the limit": (frame(TEXT, b" " * 70_000), {1009}),
    "9 fragments beyond the limit": (
        frame(TEXT, b" " * 40_000, fin=False) + frame(CONTINUATION, b" " * 40_000),
        {1009},
    ),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_what_breaks_the_protocol_is_closed_with_its_code(wire: Wire, case: str) -> None:
    broken, codes = BROKEN[case]
    await wire.say(broken)
    assert await wire.closed() in codes


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999])
async def test_a_close_is_answered(wire: Wire, code: int) -> None:
    """Cases 7.1 and 7.7."""
    await wire.say(frame(CLOSE, struct.pack("!H", code) + "さようなら".encode()), frame(TEXT, COMMAND))
    assert await wire.closed() is not None


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1016, 1100, 2000, 2999])
async def test_a_close_with_a_code_that_is_none_breaks_the_protocol(wire: Wire, code: int) -> None:
    """Cases 7.9, but for 7.9.5: aiohttp takes 1006 for a code like any other."""
    await wire.say(frame(CLOSE, struct.pack("!H", code)))
    assert await wire.closed() in (1002, None)


async def test_a_close_without_a_code_is_answered(wire: Wire) -> None:
    """Case 7.3.1."""
    await wire.say(frame(CLOSE))
    assert await wire.closed() is not None


async def test_a_binary_message_is_refused_in_words(wire: Wire) -> None:
    """Cases 1.2: binary is no command of ours."""
    await wire.say(frame(BINARY, b"\x00\x01"))
    assert json.loads((await wire.hear())[1])["code"] == "malformed_body"
    await wire.say(frame(TEXT, COMMAND))
    assert await wire.is_understood()
