"""Encoders: an image becomes a grid of features."""
