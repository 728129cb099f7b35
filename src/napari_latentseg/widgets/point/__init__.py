"""Pointing at structures: clicks, boxes and scribbles, the answer of the model, and the accepted objects."""
