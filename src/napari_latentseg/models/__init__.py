"""Models: a method with weights, and a card that says what it is."""
