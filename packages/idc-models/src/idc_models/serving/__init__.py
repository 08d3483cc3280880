"""Serving: how a checkpoint captions pairs, in batches and behind a guard; what a registered model carries."""
