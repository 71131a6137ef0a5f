"""Published weights: where they are, how their files are read, what their names mean, and our own artifact."""
