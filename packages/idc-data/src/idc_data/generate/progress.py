"""How long work shows how far it is."""

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps something that is gone through: (what, description, length)."""
