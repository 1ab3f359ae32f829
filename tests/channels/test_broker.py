"""Brokers and a healthy Valkey: everything arrives once, in order, and nobody hears his own echo."""

import asyncio
from collections import Counter

import pytest

from channels import Broker, Outbox

TOPICS = 100
PAYLOADS = 10_000


async def take_until(outbox, count, seconds=10.0):
    """Take payloads until there are so many."""
    taken = []
    async with asyncio.timeout(seconds):
        while len(taken) < count:
            taken += await outbox.take()
    return taken


async def listen(broker, topics):
    """An outbox for each topic, confirmed by Redis."""
    boxes = {topic: Outbox() for topic in topics}
    for topic, box in boxes.items():
        broker.join(box, topic)
    assert await broker.subscribed(*topics)
    return boxes


async def publish_share(broker, share):
    """Publish every second payload, letting the loop turn between."""
    for number in range(share, PAYLOADS, 2):
        broker.publish([f"account:{number % TOPICS}"], b"%d" % number)
        if number % 40 == share:
            await asyncio.sleep(0)


async def test_two_replicas_exchange_10000_payloads_and_lose_or_double_none(valkey, make_broker, eventually):
    brokers = [await make_broker(valkey.url), await make_broker(valkey.url)]
    topics = [f"account:{n}" for n in range(TOPICS)]
    boxes = [await listen(broker, topics) for broker in brokers]
    # Topics in hundreds and shares by parity, so each topic is published by one replica and its order is plain.
    await asyncio.gather(publish_share(brokers[0], 0), publish_share(brokers[1], 1))
    for side in boxes:
        for n, topic in enumerate(topics):
            taken = await take_until(side[topic], PAYLOADS // TOPICS)
            assert taken == [b"%d" % number for number in range(n, PAYLOADS, TOPICS)]
    for broker in brokers:  # the last replies and echoes may be on their way
        await eventually(lambda counters=broker.counters: counters.published == counters.echoes == PAYLOADS // 2)
        assert broker.counters.published == broker.counters.heard == PAYLOADS // 2
        assert broker.counters.delivered == PAYLOADS
        assert broker.counters.dropped == broker.counters.queue_length == 0
        # Own frames did come back (both replicas hear all topics), so that it was we who kept them silent.
        assert broker.counters.echoes == PAYLOADS // 2


async def test_own_listeners_have_it_when_publish_returns(make_broker, valkey):
    broker, outbox = await make_broker(valkey.url), Outbox()
    broker.join(outbox, "account:7")
    broker.publish("account:7", b"at once")
    assert outbox.waiting_bytes == len(b"at once")


async def test_who_hears_by_two_topics_hears_once_through_redis(valkey, make_broker):
    here, there = await make_broker(valkey.url), await make_broker(valkey.url)
    both, second, own = Outbox(), Outbox(), Outbox()
    there.join(both, "account:7", "account:8")
    there.join(second, "account:8")
    here.join(own, "account:7", "account:8")
    assert await there.subscribed("account:7", "account:8")
    here.publish(["account:7", "account:8", "account:7"], b"event\nwith a line")
    here.publish(["account:8"], b"end")
    for box in (both, second, own):
        assert await take_until(box, 2) == [b"event\nwith a line", b"end"]


async def test_what_no_replica_made_is_ignored(valkey, make_broker):
    broker, outbox = await make_broker(valkey.url), Outbox()
    broker.join(outbox, "account:7")
    assert await broker.subscribed("account:7")
    for garbage in ("", "hello", "no such\nthing", "\n\n"):
        valkey.command("PUBLISH", "account:7", garbage)
    valkey.command("PUBLISH", "account:7", "0123abcd \nfine")
    assert await take_until(outbox, 1) == [b"fine"]
    assert broker.counters.garbled == 4


async def test_subscriptions_follow_the_first_and_the_last_listener(valkey, make_broker, eventually):
    broker, first, second = await make_broker(valkey.url), Outbox(), Outbox()

    def heard_by() -> int:
        return valkey.command("PUBSUB", "NUMSUB", "account:7")[1]

    broker.join(first, "account:7")
    broker.join(second, "account:7")
    assert await broker.subscribed("account:7")
    assert heard_by() == 1
    broker.leave(first)
    broker.part(second, "account:8")
    # The requests of one listener are served in order, so a confirmed later one proves that none is on its way.
    broker.join(first, "account:9")
    assert await broker.subscribed("account:9")
    assert heard_by() == 1
    broker.part(second, "account:7")
    await eventually(lambda: heard_by() == 0)
    assert not await broker.subscribed("account:7")
    broker.join(second, "account:7")
    assert await broker.subscribed("account:7")
    assert heard_by() == 1


async def test_wild_joining_and_leaving_ends_as_the_hub_says(valkey, make_broker, eventually):
    broker, listener = await make_broker(valkey.url), Outbox()
    for turn in range(200):
        for topic in (f"account:{n}" for n in range(20)):
            broker.join(listener, topic)
        for topic in (f"account:{n}" for n in range(turn % 20)):
            broker.part(listener, topic)
        if turn % 3:
            await asyncio.sleep(0)
        if turn % 50 == 49:
            assert await broker.subscribed(f"account:{turn % 20}")
    expected = {*broker.hub.topics(), f"canary:{broker.origin}"}
    await eventually(lambda: set(valkey.command("PUBSUB", "CHANNELS")) == expected)
    assert expected == {"account:19", f"canary:{broker.origin}"}


async def test_many_may_wait_for_one_confirmation_and_one_may_give_up(valkey, make_broker):
    broker, listener = await make_broker(valkey.url), Outbox()
    broker.join(listener, "account:7")
    waiting = [asyncio.create_task(broker.subscribed("account:7")) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert Counter(type(outcome) for outcome in outcomes) == {asyncio.CancelledError: 1, bool: 4}
    assert all(outcomes[1:])


async def test_waiting_for_a_topic_ends_when_its_listener_leaves(valkey, make_broker):
    broker, listener = await make_broker(valkey.url), Outbox()
    broker.join(listener, "account:7")
    waiting = asyncio.create_task(broker.subscribed("account:7"))
    await asyncio.sleep(0)
    broker.leave(listener)
    assert not await asyncio.wait_for(waiting, 1)


async def test_stop_publishes_what_waits(valkey, make_broker):
    here, there = await make_broker(valkey.url), await make_broker(valkey.url)
    outbox = (await listen(there, ["account:7"]))["account:7"]
    for number in range(3000):
        here.publish(["account:7"], b"%d" % number)
    await here.stop()
    assert await take_until(outbox, 3000) == [b"%d" % number for number in range(3000)]
    assert here.state == "away"


async def test_a_canary_returns_again_and_again(valkey, make_broker, eventually):
    gaps = []

    async def on_gap():
        gaps.append(True)

    broker = await make_broker(valkey.url, on_gap=on_gap)
    assert broker.state == "ready"
    assert not broker.is_away
    first = broker.canary_age_seconds
    await eventually(lambda: broker.canary_age_seconds > 0.2)
    await eventually(lambda: broker.canary_age_seconds < 0.2)
    assert first < 1
    assert 0 < broker.counters.canary_seconds < 1
    assert gaps == [True]  # the first subscription counts; healthy canaries do not


@pytest.mark.parametrize("url", ["", "http://localhost", "redis://localhost:port/0", "redis://localhost?protocol=3"])
async def test_a_bad_url_is_told_at_once(url):
    with pytest.raises(ValueError, match=r"(?i)redis|port"):
        Broker(url)


async def test_an_origin_of_another_length_is_refused(valkey):
    with pytest.raises(ValueError, match="origin"):
        Broker(valkey.url, origin="short")
