"""The commands of the command line, a module each: help (docstring), options (`configure`), work (`main`)."""
