"""What every package may use: atomic files, weights, devices, memory."""
