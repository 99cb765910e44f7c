"""Pages, tables and charts: the only HTML and the only charts of the project."""
