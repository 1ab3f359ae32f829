"""`./concierge load` on a running stack: short, but with everything accounted for."""

import json
from pathlib import Path

import pytest

from tests.embedded.stacks import Up, concierge

COUNTS = {"poll": "polls", "socket": "pushes"}


@pytest.mark.parametrize("way", COUNTS)
def test_two_seconds_of_load_are_acknowledged_delivered_and_verified(way: str, stack: Up) -> None:
    asked = ["--seconds", "2", "--rate", "60", "--users", "20", "--staff", "2", "--way", way, "--json"]
    done = concierge("load", "--data-dir", str(stack.data_dir), *asked)
    assert (done.returncode, done.stderr) == (0, ""), done
    report = json.loads(done.stdout)
    assert report["ok"] and not any(report["findings"].values())
    assert report["sends"] == report["acknowledged"] == report["deliveries"] == report["messages"] == 120
    assert report["counts"][COUNTS[way]] > 0
    for kind in ("send", "delivery"):
        figures = report["latency_ms"][kind]
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"] <= figures["max"]


def test_load_goes_where_it_is_told_with_people_made_before(stack: Up, tmp_path: Path) -> None:
    people = str(tmp_path / "people.jsonl")
    made = ["--users", "4", "--staff", "1", "--credits", "100", "--out", people, "--data-dir", str(stack.data_dir)]
    assert concierge("seed", *made).returncode == 0
    replica, secret = stack.stack["replicas"][1]["url"], stack.stack["node_secret"]
    where = ["--url", replica, f"--node-secret={secret}", "--people", people, "--data-dir", str(tmp_path)]
    done = concierge("load", *where, "--seconds", "0.5", "--rate", "40", "--hold", "5")
    assert done.returncode == 0, done
    assert "20 of 20 acknowledged" in done.stdout
    assert "20 messages in the book: none lost, none doubled, all in order, all paid once." in done.stdout
