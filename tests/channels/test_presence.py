"""Who is online, over two replicas, with Valkey and without. The times are shortened: a grace of 0.3 s and so on."""

import asyncio
import time

import pytest

from channels import Presence, presence, registry

GRACE, CALL, REFRESH = 0.3, 0.6, 0.15


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    for module in (presence, registry):
        for name, seconds in (("GRACE_SECONDS", GRACE), ("CALL_SECONDS", CALL), ("REFRESH_SECONDS", REFRESH)):
            monkeypatch.setattr(module, name, seconds)
    monkeypatch.setattr(presence, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(presence, "COALESCE_SECONDS", 0.01)


@pytest.fixture
async def replicas(valkey, make_presence):
    return await make_presence(valkey.url, "r1"), await make_presence(valkey.url, "r2")


def sees(there, *members):
    """A condition: there, exactly these of 7, 8 and 9 are online."""

    async def look():
        return await there.online(["7", "8", "9"]) == set(members)

    return look


async def test_who_arrives_is_online_for_all(replicas, eventually):
    here, there = replicas
    assert here.arrive("7", "staff", "staff|tokyo")
    assert not here.arrive("7", "staff", "staff|tokyo")
    here.arrive("8")
    assert await here.online(["7", "9"]) == {"7"}
    assert here.is_here("7")
    await eventually(sees(there, "7", "8"))
    assert not there.is_here("7")
    (line,) = await there.listing("staff")
    assert (line.member, line.replica, line.meta) == ("7", "r1", "staff|tokyo")
    assert 0 < line.until - time.time() < GRACE + REFRESH + 1
    assert await there.listing("user") == []
    assert await there.count() == 2


async def test_a_connection_keeps_its_member_online_far_beyond_one_refresh(replicas, eventually):
    here, there = replicas
    here.arrive("7")
    await eventually(sees(there, "7"))
    end = time.monotonic() + 2 * (GRACE + REFRESH)
    while time.monotonic() < end:
        assert await there.online(["7"]) == {"7"}
        await asyncio.sleep(0.02)


async def test_after_the_last_connection_a_grace_and_then_offline(valkey, make_presence, eventually):
    gone = []

    async def on_gone(members):
        gone.append(members)

    here, there = await make_presence(valkey.url, "r1", on_gone=on_gone), await make_presence(valkey.url, "r2")
    here.arrive("7", "staff")
    here.arrive("8")
    await eventually(sees(there, "7", "8"))
    here.leave("7", "staff")
    assert await eventually(sees(there, "8"), 2) >= GRACE
    await eventually(lambda: gone == [{"7"}])
    assert await there.listing("staff") == []
    await eventually(lambda: valkey.command("ZCARD", "online") == 1)
    await eventually(lambda: valkey.command("ZCARD", "online:staff") == 0)


async def test_who_is_also_elsewhere_stays_online(valkey, make_presence, eventually):
    gone = []

    async def on_gone(members):
        gone.append(members)

    here, there = await make_presence(valkey.url, "r1", on_gone=on_gone), await make_presence(valkey.url, "r2")
    here.arrive("7", "staff", "tokyo")
    there.arrive("7", "staff", "osaka")
    await eventually(lambda: _lines(here, 2))
    here.leave("7", "staff", "tokyo")
    await eventually(lambda: _lines(here, 1), 2)
    await eventually(lambda: not here.is_here("7"), 2)
    assert await here.online(["7"]) == {"7"}
    here.arrive("8")
    here.leave("8")  # and once it is known that who left later is gone, "7" was looked at
    await eventually(lambda: gone, GRACE + REFRESH + 1)
    assert gone == [{"8"}]


async def _lines(replica, count):
    return len(await replica.listing("staff")) == count


async def test_what_a_dead_replica_held_expires(replicas, eventually):
    here, there = replicas
    here.arrive("7", "staff", "tokyo")
    await eventually(sees(there, "7"))
    await here.stop()
    assert await eventually(sees(there), GRACE + REFRESH + 1) > 0.1
    assert await there.listing("staff") == []


async def test_a_call_makes_online_for_a_while(replicas, eventually):
    here, there = replicas
    assert here.touch("7")
    assert not here.touch("7")
    start = time.monotonic()
    await eventually(sees(there, "7"))
    await eventually(sees(there), CALL + REFRESH + 1)
    assert time.monotonic() - start >= CALL


async def test_frozen_valkey_costs_a_few_short_waits_and_then_none(replicas, valkey, eventually):
    here, there = replicas
    here.arrive("7", "staff", "tokyo")
    there.arrive("8", "staff", "osaka")
    await eventually(sees(here, "7", "8"))
    valkey.freeze()
    for _ in range(presence.BREAK_AFTER):
        start = time.monotonic()
        assert await here.online(["7", "8"]) == {"7"}
        assert time.monotonic() - start < presence.ASK_SECONDS + 0.1
    assert here.is_away
    start = time.monotonic()
    for _ in range(100):
        assert await here.online(["7", "8"]) == {"7"}
        assert [line.member for line in await here.listing("staff")] == ["7"]
        assert await here.count() == 1
    assert time.monotonic() - start < 0.2
    valkey.thaw()
    await eventually(sees(here, "7", "8"))
    assert not here.is_away


async def test_a_restarted_valkey_is_told_everything_again(replicas, valkey, eventually):
    here, there = replicas
    here.arrive("7", "staff", "tokyo")
    there.touch("8")
    await eventually(sees(there, "7", "8"))
    valkey.kill()
    await eventually(lambda: here.is_away and there.is_away)
    here.arrive("9")
    await asyncio.to_thread(valkey.start)
    there.touch("8")
    await eventually(sees(there, "7", "8", "9"))


async def test_without_valkey_all_goes_on_with_who_is_here(stopped_valkey, make_presence, eventually):
    gone = []

    async def on_gone(members):
        gone.append(members)

    here = await make_presence(stopped_valkey.url, "r1", on_gone=on_gone)
    here.arrive("7", "staff", "tokyo")
    assert await here.online(["7", "8"]) == {"7"}
    here.leave("7", "staff", "tokyo")
    await eventually(lambda: gone == [{"7"}])
    assert await here.online(["7", "8"]) == set()


async def test_5000_members_are_kept_fresh_without_holding_the_loop(replicas, eventually):
    here, there = replicas
    members = [str(n) for n in range(5000)]
    for member in members:
        here.arrive(member, "user", "tokyo")

    async def all_there():
        return await there.count() == 5000

    await eventually(all_there)
    assert len(await there.online(members)) == 5000
    assert len(await there.listing("user")) == 5000
    worst = 0.0
    end = time.monotonic() + 3 * REFRESH
    while time.monotonic() < end:
        start = time.monotonic()
        await asyncio.sleep(0.005)
        worst = max(worst, time.monotonic() - start)
    assert worst < 0.2


async def test_a_bad_url_is_told_at_once():
    with pytest.raises(ValueError, match="Redis"):
        Presence("http://localhost", "r1")
