"""Sweeps: trials of one spec, shared by several processes, and tables of their results."""
