"""The embedded stack behind `./concierge up`: each part a process that we start, watch and stop ourselves."""
