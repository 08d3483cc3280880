"""Tracking: what MLflow is told of runs and models, and where its server is."""
