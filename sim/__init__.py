"""The simulator: requests, batches, the decode pool, servers, schedulers, and the result of a run."""
