"""How well the simulator predicts a real engine: the same schedulers and requests, simulated and served for real."""
