"""Teaching a trained model a little more, from a few corrected images."""
