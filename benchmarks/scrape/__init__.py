"""What a scrape of a large gateway costs."""
