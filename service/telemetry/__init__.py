"""What is measured: scraping, windows, our own metrics."""
