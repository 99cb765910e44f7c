"""Studies: variants of a system are trained, measured on worlds, and claims about them tested.

The engine knows no system. What a system's study consists of is one file beside it, such as
`artv.py`, and a YAML file of sweeps.
"""
