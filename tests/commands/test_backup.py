"""Backup and restore: all of it comes back or nothing does, and no id is ever handed out twice."""

import json
import subprocess
import sys
from pathlib import Path

from server.commands.backup import tool
from server.commands.restore import AHEAD
from server.embedded.places import HOUSE
from storage.book import Book
from tests.conftest import MakeReplica
from tests.people import People, balance
from tests.servers import Servers


def concierge(*words: str, url: str = "", stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run a command as people do."""
    environment = {"PYTHONPATH": str(HOUSE), "PATH": "/usr/bin:/bin", **({"DATABASE_URL": url} if url else {})}
    command = [sys.executable, "-P", "-m", "server", *words]
    return subprocess.run(command, env=environment, cwd="/", input=stdin, capture_output=True, check=False)


def backed_up(servers: Servers, file: Path) -> Path:
    done = concierge("backup", "--out", str(file), "--json", url=servers.database_url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"file": str(file), "bytes": file.stat().st_size}
    assert file.stat().st_mode & 0o077 == 0
    return file


async def _contents(book: Book) -> dict[str, list[str]]:
    """Give every row of every table, as text, but for what a restore itself adds or moves."""
    tables = [name for (name,) in await book.fetch("select tablename from pg_tables where schemaname = 'public'")]
    found = {}
    for table in tables:
        rows = await book.fetch(f"select to_jsonb(t) - 'revision' from {table} t order by 1")
        found[table] = [str(row[0]) for row in rows if "database.restore" not in str(row[0])]
    assert len(found["accounts"]) > 1
    assert found["credit_entries"]
    return found


async def test_a_restore_brings_everything_back_and_hands_out_no_id_again(
    own_servers: Servers, make_replica: MakeReplica, tmp_path: Path, http
) -> None:
    own = {"database_url": own_servers.database_url, "redis_url": own_servers.redis_url}
    replica = await make_replica(**own)
    people = People(replica.context.book, http)
    user, staff, session = await people.chat(credits=10)
    assert (await user.via(replica).send(session, "kept", "kept")).status == 201
    before = await _contents(replica.context.book)
    revision = await replica.context.book.fetchval("select revision from sessions where id = $1", session)
    file = backed_up(own_servers, tmp_path / "a.dump")
    lost = await user.via(replica).send(session, "written after the backup", "lost")

    busy = concierge("restore", str(file), "--replace", url=own_servers.database_url)
    assert (busy.returncode, b"Stop every replica first" in busy.stderr) == (1, True)
    await replica.stop()
    careful = concierge("restore", str(file), url=own_servers.database_url)
    assert (careful.returncode, b"--replace" in careful.stderr) == (1, True)
    done = concierge("restore", str(file), "--replace", url=own_servers.database_url)
    assert (done.returncode, b"The books balance" in done.stdout) == (0, True), done.stderr

    replica = await make_replica(**own)
    book = replica.context.book
    assert await _contents(book) == before
    assert await balance(book, user.id) == (9, 9)
    assert await book.fetchval("select revision from sessions where id = $1", session) >= revision + AHEAD
    assert await book.fetchval("select action from audit_log order by id desc limit 1") == "database.restore"
    # A client that holds the lost message misses nothing of what comes now.
    position = lost.json["message"]["id"]
    sent = await user.via(replica).send(session, "after the restore", "lost")
    assert sent.json["message"]["id"] > position + AHEAD / 2
    assert [row["content"] for row in (await staff.via(replica).poll(session, position)).json] == ["after the restore"]
    stays = "select count(*) from pg_sequences where schemaname = 'public' and coalesce(last_value, 0) < $1"
    assert await book.fetchval(stays, AHEAD) == 0


async def test_a_damaged_backup_changes_nothing(
    own_servers: Servers, servers: Servers, people: People, tmp_path: Path
) -> None:
    await people.chat()
    whole = backed_up(servers, tmp_path / "whole.dump").read_bytes()
    bad = tmp_path / "bad.dump"
    for content in (whole[: len(whole) // 2], whole[:-40], b"no backup at all\n" * 100):
        bad.write_bytes(content)
        done = concierge("restore", str(bad), "--replace", url=own_servers.database_url)
        assert (done.returncode, b"the database is as it was" in done.stderr) == (1, True)
        assert done.stderr.count(b"\n") == 1, "one sentence"
    found = tool("psql", own_servers.database_url, "-Atc", "select count(*) from accounts")
    assert found.strip() == b"0"


def test_a_restore_may_be_the_first_thing_that_a_machine_does(servers: Servers, tmp_path_factory, book: Book) -> None:
    """Through pipes, as one does with containers."""
    dumped = concierge("backup", "--out", "-", url=servers.database_url)
    assert (dumped.returncode, dumped.stderr) == (0, b"")
    data_dir = tmp_path_factory.mktemp("new") / "stack"
    done = concierge("restore", "-", "--json", "--data-dir", str(data_dir), stdin=dumped.stdout)
    assert (done.returncode, json.loads(done.stdout)["mismatches"]) == (0, []), done.stderr


async def test_after_a_lossy_failover_the_ids_alone_move_while_the_house_serves(
    own_servers: Servers, make_replica: MakeReplica, http
) -> None:
    replica = await make_replica(database_url=own_servers.database_url, redis_url=own_servers.redis_url)
    user, _, session = await People(replica.context.book, http).chat()
    first = (await user.via(replica).send(session, "before")).json["message"]["id"]
    assert concierge("restore", "--ids-only", url=own_servers.database_url).returncode == 0
    second = (await user.via(replica).send(session, "after")).json["message"]["id"]
    assert second > first + AHEAD / 2
    assert len((await user.via(replica).poll(session, first)).json) == 1


def test_what_cannot_be_read_or_written_is_told_in_a_sentence(servers: Servers, tmp_path: Path) -> None:
    for words in (
        ("backup", "--out", str(tmp_path / "no" / "file")),
        ("backup", "--out", str(tmp_path)),
        ("restore", str(tmp_path / "none"), "--replace"),
    ):
        done = concierge(*words, url="postgresql://postgres:secret@127.0.0.1:9/concierge")
        assert done.returncode == 1
        assert done.stderr.startswith(b"concierge: ")
        assert done.stderr.count(b"\n") == 1
        assert b"secret" not in done.stderr
