"""What policies share that are told output lengths: the plan of the cache, who waits, and whom to start."""
