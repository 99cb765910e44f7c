"""Measured rows beside the paper's Table 1, as Markdown, HTML, LaTeX and TensorBoard."""
