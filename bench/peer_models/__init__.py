"""The competitors of bench/peers.py, and what they share."""
