"""What is done with simulations: scenarios, comparisons, result files, pictures and the command line."""
