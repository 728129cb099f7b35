"""What several widgets use: the session, layers, threads, keys."""
