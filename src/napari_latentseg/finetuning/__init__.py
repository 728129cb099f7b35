"""Fine-tuning a trained model on a few corrected images."""
