"""Channels: objects on their way from process to process, and what carries them.

Arrays and tables in shared memory stay where they are; see `engine.channel.messages`.
"""
