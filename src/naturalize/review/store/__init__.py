"""What is kept of a review: one SQLite file; every change is appended to its trail."""
