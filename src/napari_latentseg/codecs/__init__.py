"""Autoencoders between pixels and latents, all with the same conventions.

The outside of a codec speaks float32 images in [0, 1] and latents of about unit scale; the signs, scales
and channel means of each autoencoder stay inside it.
"""
