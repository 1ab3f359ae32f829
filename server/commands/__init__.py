"""The verbs of the command line, a file each: `add(subparsers)` describes it, `run(arguments)` gives its exit code."""
