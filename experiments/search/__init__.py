"""An offline search for the order of requests that maximises an objective, with the simulator in the loop."""
