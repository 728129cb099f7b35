"""From a scan and a model to a segmentation, and how well a model does on annotated images.

The path of one segmentation: `Predictor.start` makes a `Run`, whose `RunState` holds everything that the run
has computed so far. Iterating over the run draws sample after sample of plane after plane and yields a
`RunProgress` after each batch of tiles; stopping the iteration cancels. `Run.result` builds the
`Segmentation` from the state.

Modules, in the order in which a run uses them:

- `settings`: `InferenceSettings`, what the user asks for, checked against the model card.
- `predictor`: `Predictor`, a model on its device; starts runs.
- `run`: `Run`, the loop over planes and samples, and `RunProgress`.
- `run_state`: `RunState`, the data of a run: scan, planes, settings, ensemble, notes.
- `working_plane`: one plane resized to the size at which the model works, in memory or read piecewise from
  disk.
- `tta`: test-time augmentation of a plane, and its exact inverse.
- `tiles`: overlapping tiles of a plane, and the weighted blending of their probabilities.
- `sample_job`: `SampleJob`, one sample of one plane in the making, and its tiles.
- `job_source`: `JobSource`, reads planes and makes the jobs of a run, ahead of the networks.
- `sampler`: `Sampler`, batches of tiles of several samples and planes, halved where memory runs out.
- `pipeline`: one batch is read, one computed and one used at the same time.
- `batch_size`: how many tiles go through the networks together.
- `tile_inference`: `sample_planes`, samples of whole planes, for validation in training and fine-tuning.
- `positional_noise`: `PositionalNoise`, noise that depends on the position, so that tiles and slices agree.
- `banded_resize`: resizing in bands of rows, back to the size of the scan.
- `ensemble`: `Ensemble`, running mean and variance over the samples of each plane.
- `early_stopping`: `SampleStopper`, when further samples no longer change the mask.
- `result`: mask, mean, variance, volumes and record from a `RunState`.
- `out_of_core`: planes too large for memory, in temporary files.
- `segment_each`: many scans, whose tiles share batches; the next is read while one is computed.
- `evaluate`, `calibrate`: scores, and calibration of probabilities and volumes, on images with reference
  masks.
"""
