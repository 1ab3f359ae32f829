"""The tests. They mirror the code; journeys/ cross it; all use real servers."""
