"""Tracking: the only room that talks to MLflow.

The rest of the runner asks it to write a run down (`tracker`, and `parent` for the run of a whole sweep), where it came
from and what it found (`provenance`, `artifacts`, `note`); to read what runs have left (`runs`); to register a model
and find it again (`registry`, `champion`, `scoring`); and to say in a line what is wrong with a server (`server`).
"""
