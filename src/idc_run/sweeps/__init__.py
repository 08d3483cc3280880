"""Sweeps: many trials of one spec, shared by processes, and the tables made of them."""
