"""Runs the benchmarks: `./concierge bench [NAME …] [--runs N] [--seconds S] [--json]`."""

import argparse
import json

import uvloop

from tests.bench import lone, polls, push, sends, sockets
from tests.bench.house import house

BENCHES = {
    "polls": polls.measure,
    "sends": sends.measure,
    "lone": lone.measure,
    "push": push.measure,
    "sockets": sockets.measure,
}


async def _run(names: list[str], runs: int, seconds: float, as_json: bool) -> None:
    results: dict[str, dict[str, float]] = {}
    async with house() as built:
        for name in names:
            results[name] = await BENCHES[name](built, runs, seconds)
            if not as_json:
                print(name)
                for label, value in results[name].items():
                    print(f"  {label:<28} {value:>12,.3f}", flush=True)
    if as_json:
        print(json.dumps(results))


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="concierge bench")
    parser.add_argument("names", nargs="*", default=list(BENCHES), help="which (all)")
    parser.add_argument("--runs", type=int, default=5, help="medians of so many runs (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a run (%(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    uvloop.run(_run(options.names, options.runs, options.seconds, options.json))


if __name__ == "__main__":
    main()
