"""Diffusers pipelines: exported folders, their cards and inputs."""
