"""Why requests were late (`sim.attribution`), in every comparison: files, a table, a picture, sentences."""
