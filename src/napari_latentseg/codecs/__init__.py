"""Frozen autoencoders between pixels and latents, behind one interface.

A codec takes and gives float32 images in [0, 1] and latents of about unit standard deviation; the value
range, scale and shift of each autoencoder stay inside its class. `base` has the interface (`Codec`);
`compact` (comes with the package), `taef2` and `diffusers_codecs` (SD-VAE, TAESD) are the kinds; `spec` is
what a model card says of a codec (no torch); `loading` builds one from a folder of weights; `architectures`
has the published ones without weights, to count parameters.
"""
