"""Serving: the model class for MLflow, the web page, and the captioning command."""
