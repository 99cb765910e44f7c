"""The networks that metrics look through: I3D, C3D, Inception and CLIP."""
