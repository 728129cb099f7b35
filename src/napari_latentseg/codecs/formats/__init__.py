"""The layouts in which autoencoders are published, each read as settings and weights of our codecs.

`find` says which files of a folder are an autoencoder, and in which layout (no torch); `reading` has
`read_codec`, which reads any of them; `diffusers_folder`, `ldm_autoencoder` and `tiny_pair` read one layout
each. Nothing is built here: `codecs.loading` builds a codec from what they return.
"""
