"""Exercise `capstone`."""
