"""Encoders: turn an image into a grid of features."""
