"""The commands of the command line, a module each: its docstring is its help, `configure` its options, `main` the work."""
