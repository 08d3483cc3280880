"""Decoders: memory and the tokens so far become the next token."""
