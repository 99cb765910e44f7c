"""Diffusion as pure torch: no networks, no Lightning, no I/O."""
