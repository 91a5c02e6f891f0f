"""Loops over blocks of whole arrays: the compiled insides of the engine's algorithms."""
