"""Which videos are kept."""
