"""Serving: the model that MLflow serves, the page, and the command that captions pairs."""
