"""The benchmarks behind `./concierge bench`: ratios against a baseline in the same run, for machines are shared."""
