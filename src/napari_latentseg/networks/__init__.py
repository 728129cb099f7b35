"""The networks (torch modules) that the methods and codecs are built from; no training and no files here.

`lmm` is the latent mapping model of GMS and Wave-GMS, `wavelet` the multi-resolution encoder of Wave-GMS,
`denoiser` the diffusion U-Net of SDSeg, MedSegLatDiff and guided latent diffusion, `vq` and `autoencoder` the
autoencoders that the last two train for themselves, `class_texts` the class embeddings from text. `compact`
and `taef2` are the networks of two codecs, `efficientnet` a pretrained image encoder, `losses` the Dice and
cross-entropy terms. Names of submodules are the keys of weight files: renaming one makes published models
unreadable.
"""
