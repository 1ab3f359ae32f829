"""The stack of `./concierge up`."""

from tests.embedded.stacks import stack

__all__ = ["stack"]
