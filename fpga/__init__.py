"""Boards: pins and clocks, bitstreams and their reports, and the link to a host."""
