"""What is measured about videos, as columns of a table: motion, cuts, quality, CLIP."""
