"""What a user's data looks like: folders, lists and tables, each read into the same `Found`."""
