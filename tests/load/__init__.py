"""The load harness behind `./concierge load`: many people talk at once, and every message is accounted for."""
