"""Tracking: the only room that talks to MLflow.

`tracker` (and `parent` for a whole sweep) records runs; `provenance`, `artifacts` and `note` produce what is recorded;
`runs` reads finished runs; `registry`, `champion` and `scoring` register models and find them again; `server` explains
server errors in one line.
"""
