"""Decoders: predict the next token from the memory and the tokens so far."""
