"""Pages, charts and tables of what runs recorded."""
