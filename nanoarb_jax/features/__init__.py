"""Features of a book: the feature sets, their rows from files and from live books, and their mirror images."""
