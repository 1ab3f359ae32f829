"""The aiohttp application: doors, rules, words on the wire."""

VERSION = "0.1.0"
