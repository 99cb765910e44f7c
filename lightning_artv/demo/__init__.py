"""`make demo`: moving shapes made, learned, generated and measured on a laptop."""
