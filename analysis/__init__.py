"""Analysis: the store that is the prefix tree, and what is computed over it."""
