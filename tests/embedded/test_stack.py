"""`./concierge up`: what it starts, what it says, and what survives."""

import asyncio
import os
import secrets
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server.embedded.stack import StackOptions, ports
from tests.embedded.stacks import Up, concierge, free_base, wait_for
from tests.people import Client
from tests.until import until

PASSWORD = "correct horse"


async def newcomer(http: aiohttp.ClientSession, stack: Up) -> tuple[Client, int]:
    """Register at the user entry and open a chat; give the client and the session's id."""
    client = Client(http, stack.user_entry)
    body = {"email": f"{secrets.token_hex(6)}@example.com", "password": PASSWORD, "display_name": "花子"}
    client.token = (await client.post("/auth/register", body)).done(201)["token"]
    session = (await client.post("/sessions", {"persona_id": 1})).done(201)
    return client, int(session["id"])


def test_a_fresh_directory_becomes_a_stack_that_tells_what_runs_where(stack: Up) -> None:
    assert stack.lines[-1] == "ready"
    said = stack.stack
    assert set(said) == {
        "database_url",
        "redis_url",
        "replicas",
        "nodes",
        "frontend",
        "postgres",
        "redis",
        "node_secret",
    }
    assert stat.S_IMODE(stack.stack_file.stat().st_mode) == 0o600
    assert [replica["url"] for replica in said["replicas"]] == [
        f"http://127.0.0.1:{stack.port + 20}",
        f"http://127.0.0.1:{stack.port + 21}",
    ]
    assert [(node["user_entry"], node["staff_entry"]) for node in said["nodes"]] == [
        (f"http://127.0.0.1:{stack.port}", f"http://127.0.0.1:{stack.port + 10}"),
        (f"http://127.0.0.1:{stack.port + 1}", f"http://127.0.0.1:{stack.port + 11}"),
    ]
    parts = [said["postgres"], said["redis"], *said["replicas"], *said["nodes"]]
    assert {part["pid"] for part in parts} <= set(stack.everybody())
    addresses = [node[entry] for node in said["nodes"] for entry in ("user_entry", "staff_entry")]
    printed = "\n".join(stack.lines)
    assert all(address in printed for address in addresses)
    assert "concierge-demo" in printed and said["node_secret"] not in printed


def test_nobody_else_on_the_machine_may_enter_where_the_secrets_are(stack: Up) -> None:
    """PostgreSQL trusts whoever reaches its socket, so nobody else may."""
    for name in ("run", "postgres", "logs"):
        assert stat.S_IMODE((stack.data_dir / name).stat().st_mode) == 0o700, name
    for name in ("stack.json", "node-secret"):
        assert stat.S_IMODE((stack.data_dir / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE((stack.data_dir / "bell" / "run" / "redis.sock").stat().st_mode) == 0o700


async def test_postgres_log_holds_no_address_of_anybody(stack: Up, http: aiohttp.ClientSession) -> None:
    body = {"email": "twice@example.com", "password": "long enough", "display_name": "花子"}
    for _ in range(2):
        await Client(http, stack.user_entry).post("/auth/register", body)
    log = (stack.data_dir / "logs" / "postgres.log").read_text()
    assert "accounts_email_key" in log and "twice" not in log


@pytest.mark.parametrize("name", ["user1", "user5", "staff1", "staff2", "admin"])
async def test_everybody_of_the_demo_can_log_in_by_the_right_entry(
    name: str, stack: Up, http: aiohttp.ClientSession
) -> None:
    body = {"email": f"{name}@example.com", "password": "concierge-demo"}
    right, wrong = (stack.user_entry, stack.staff_entry)[:: 1 if name.startswith("user") else -1]
    account = (await Client(http, right).post("/auth/login", body)).done()["account"]
    assert account["role"] == name.rstrip("12345")
    assert account["credit_balance"] == (100 if account["role"] == "user" else 0)
    (await Client(http, wrong).post("/auth/login", body)).refused(401, "bad_credentials")


async def test_what_was_acknowledged_is_there_after_a_kill_of_everything(
    stack: Up, http: aiohttp.ClientSession
) -> None:
    client, session = await newcomer(http, stack)
    acknowledged: dict[str, int] = {}

    async def talk(first: int) -> None:
        for number in range(first, first + 1_000):
            try:
                answer = await client.send(session, f"{number}", f"{number}")
            except aiohttp.ClientError:
                return
            if answer.status != 201:
                return
            acknowledged[f"{number}"] = answer.json["message"]["id"]

    talks = [asyncio.create_task(talk(1_000 * number)) for number in range(4)]
    await until(lambda: _true(len(acknowledged) >= 20))
    stack.kill_everything()
    await asyncio.gather(*talks)
    assert acknowledged, "somebody was heard"
    await asyncio.to_thread(stack.start)
    rows = (await client.poll(session, 0)).done()
    assert len({row["content"] for row in rows}) == len(rows)
    assert acknowledged.items() <= {row["content"]: row["id"] for row in rows}.items()
    assert (await client.get("/credits")).done()["credit_balance"] == 100 - len(rows)


async def _true(value: bool) -> bool:
    return value


async def test_an_up_that_is_killed_takes_its_parts_along_and_the_next_may_start_at_once(stack: Up) -> None:
    parts = stack.everybody()
    await asyncio.to_thread(stack.stop, signal.SIGKILL)
    await asyncio.to_thread(stack.start)
    await until(lambda: _true(not any(Path(f"/proc/{pid}").exists() for pid in parts)), 10)


PARTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "PostgreSQL": lambda stack: stack["postgres"],
    "Valkey": lambda stack: stack["redis"],
    "replica 2": lambda stack: stack["replicas"][1],
    "node 1": lambda stack: stack["nodes"][0],
}


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_that_dies_is_started_again_with_a_line_that_says_so(
    name: str, stack: Up, http: aiohttp.ClientSession
) -> None:
    seen, pid = len(stack.lines), PARTS[name](stack.stack)["pid"]
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(stack.wait_for_line, f"{name} has stopped; starting it again …", seen)
    await asyncio.to_thread(stack.wait_for_line, f"{name} is back.", seen)
    assert PARTS[name](stack.stack)["pid"] not in (pid, 0)

    async def answers() -> bool:
        try:
            return (await Client(http, stack.user_entry).get("/healthz")).status == 200
        except aiohttp.ClientError:
            return False

    await until(answers)
    client, session = await newcomer(http, stack)
    (await client.send(session, "戻りましたか")).done(201)


def test_a_second_start_in_the_same_directory_is_refused_in_one_line(stack: Up) -> None:
    refused = concierge("up", "--no-frontend", "--data-dir", str(stack.data_dir), "--port", str(stack.port))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"concierge: A stack is running in {stack.data_dir} already. Stop it first, or name another --data-dir.\n"
    )
    assert stack.stack["replicas"], "the first goes on"


def test_every_port_of_the_stack_is_looked_at_before_anything_starts(stack: Up, tmp_path: Path) -> None:
    """The stack holds PORT+1, PORT+11 and PORT+21 too: whoever begins one higher or lower meets one of them."""
    for shift in (-1, 0, 1):
        busy = concierge("up", "--no-frontend", "--data-dir", str(tmp_path / "x"), "--port", str(stack.port + shift))
        assert (busy.returncode, busy.stdout) == (1, "")
        assert len(busy.stderr.splitlines()) == 1 and "is in use" in busy.stderr
    assert not (tmp_path / "x" / "postgres").exists()
    mine = StackOptions(tmp_path, stack.port)
    assert {port - stack.port for port in ports(mine)} >= {0, 1, 10, 11, 20, 21}


BROKEN = {
    "file": "cannot be used: ",
    "nowhere": "cannot be used: ",
    "not-empty": "exists but is not empty",
    "old": "initialized by PostgreSQL version 9.6, which is not compatible",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_data_directory_is_one_line_on_stderr(name: str, tmp_path: Path) -> None:
    data_dir = tmp_path / name
    match name:
        case "file":
            data_dir.write_text("no directory")
        case "nowhere":
            data_dir = Path("/proc/nowhere")
        case "not-empty":
            (data_dir / "postgres" / "left-over").mkdir(parents=True)
        case "old":
            for file in ("PG_VERSION", "postgresql.conf", "pg_hba.conf"):
                (data_dir / "postgres").mkdir(parents=True, exist_ok=True)
                (data_dir / "postgres" / file).write_text("9.6\n" if file == "PG_VERSION" else "")
    broken = concierge("up", "--no-frontend", "--data-dir", str(data_dir), "--port", str(free_base()))
    assert broken.returncode == 1
    assert len(broken.stderr.splitlines()) == 1, broken.stderr
    assert broken.stderr.startswith("concierge: ") and BROKEN[name] in broken.stderr
    assert "Traceback" not in broken.stdout and "ready" not in broken.stdout.splitlines()


def test_a_first_start_that_is_killed_begins_again(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", free_base())
    try:
        for line in ("Making a new PostgreSQL cluster …", "Planting demo data …"):
            up.start(line).kill_everything()
            refused = concierge("audit", "--data-dir", str(up.data_dir))
            assert (refused.returncode, "There is no stack in" in refused.stderr) == (1, True)
        up.start()
        assert "Planting demo data …" in up.lines
        assert any("user1 … user5" in said for said in up.lines)
        audit = concierge("audit", "--data-dir", str(up.data_dir))
        assert audit.stdout.startswith("8 accounts,"), audit.stdout
    finally:
        up.stop()


def test_what_somebody_left_in_the_databases_place_is_never_deleted(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "postgres" / "kept"
    kept.mkdir(parents=True)
    for _ in range(2):
        assert concierge("up", "--data-dir", str(tmp_path / "data"), "--port", str(free_base())).returncode == 1
    assert kept.exists()


def test_ctrl_c_stops_everything_and_a_command_finds_the_stopped_stack(stack: Up) -> None:
    everybody = stack.everybody()
    assert stack.stop() == 0
    assert stack.lines[-1] == "Everything has stopped; the data stays."
    wait_for(lambda: not [pid for pid in everybody if Path(f"/proc/{pid}").exists()], "The end of every process")
    assert not stack.stack_file.exists()
    audit: subprocess.CompletedProcess[str] = concierge("audit", "--data-dir", str(stack.data_dir))
    assert (audit.returncode, audit.stderr) == (0, "")
    assert audit.stdout.splitlines()[-1] == "The books balance."
    stack.start()
    assert "Planting demo data …" not in stack.lines
