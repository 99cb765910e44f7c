"""Checkpoints: files and sharded folders, what they hold, systems out of them."""
