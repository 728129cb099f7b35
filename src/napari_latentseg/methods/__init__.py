"""The segmentation methods: one module a paper, composed of codecs, networks and a sampling process.

`base` has what every method offers (`Method`, `Batch`, `Stage`, `FineTuneSpec`) and `registry` finds a method
by its name. The papers: `gms`, `wave_gms`, `sdseg`, `medseglatdiff` and `guided` (its settings in
`guided_config`). What several of them share: `latent_matching` (the objective of GMS and Wave-GMS),
`diffusion` (noise schedule and DDIM/DDPM sampling), `vlb` (learned variance and variational bound),
`timestep_sampler` (importance sampling of timesteps). docs/methods.md says where each differs from its paper.
"""
