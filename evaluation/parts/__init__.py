"""Parts of a system measured alone: temporal super-resolution and video decoders."""
