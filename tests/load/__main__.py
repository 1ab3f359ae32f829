"""Runs the harness: a plan as JSON on stdin, `--json` for the report as JSON. `./concierge load` calls it."""

import sys

import msgspec
import uvloop

from tests.load.plan import Plan
from tests.load.run import Report, run

# So many findings of a kind are printed; a broken house would fill the screen.
FINDINGS_MOST = 10


def words(report: Report) -> str:
    """Say in words what a run gave."""
    head = f"{report.users:,} users and {report.staff:,} staff, by {report.way}, for {report.seconds:.1f} s"
    sends = f"{report.acknowledged:>9,} of {report.sends:,} acknowledged"
    lines = [
        head,
        f"  sends        {sends}, {report.sends_per_second:,.1f} a second",
        f"  deliveries   {report.deliveries:>9,} to the other side, {report.deliveries_per_second:,.1f} a second",
        f"  polls        {report.counts.get('polls', 0):>9,} answered, {report.polls_per_second:,.1f} a second",
        "",
        f"  {'latency, ms':<12} {'p50':>9} {'p95':>9} {'p99':>9} {'max':>9}",
    ]
    for name, figures in report.latency_ms.items():
        if figures:
            lines.append(f"  {name:<12} " + " ".join(f"{value:>9,.1f}" for value in figures.values()))
    lines.append("")
    others = {name: count for name, count in report.counts.items() if name != "polls"} | report.refused
    if others:
        lines.append("  " + ", ".join(f"{name} {count:,}" for name, count in others.items()))
    if report.unfinished:
        lines.append(f"  {report.unfinished:,} sends got no answer in the end.")
    return "\n".join([*lines, *verdict(report)])


def verdict(report: Report) -> list[str]:
    """Say whether every promise was kept."""
    if report.ok:
        return [f"  {report.messages:,} messages in the book: none lost, none doubled, all in order, all paid once."]
    lines = []
    for kind in ("lost", "doubled", "disordered", "wrong_balance"):
        found: list[str] = getattr(report.findings, kind)
        lines += [f"  {kind.upper()}: {line}" for line in found[:FINDINGS_MOST]]
        if len(found) > FINDINGS_MOST:
            lines.append(f"  {kind.upper()}: {len(found) - FINDINGS_MOST:,} more")
    return lines


def main() -> int:
    """Run the plan; exit code 1 when a promise was broken."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    report = uvloop.run(run(plan))
    print(msgspec.json.encode(report).decode() if "--json" in sys.argv[1:] else words(report))
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
