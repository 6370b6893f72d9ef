"""CacheOPT (arXiv 2503.13773): who gets how much of the cache, for how long, and at whose expense."""
