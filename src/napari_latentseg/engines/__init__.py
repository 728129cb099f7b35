"""What computes the networks of a model: torch, or OpenVINO on CPUs; NumPy arrays in and out.

A run knows the networks only through `Engine`. Which engine a model gets, and why, is decided in one place,
`choose`. The paths:

- `torch_engine`: the method's own code. Where OpenVINO is at hand, the functions that the method names in
  `Method.network_functions` are replaced by `CompiledFunction`s of the same modules; the rest, such as the
  loop of a diffusion, stays as it is.
- `compiled_engine`: a model whose prediction is nothing but compiled functions, without torch being imported.

Modules below them:

- `openvino`: conversion, compilation and properties; shuts the telemetry out.
- `compiled_functions`: the compiled functions of a model, in memory and on the disk.
- `graph_cache`: the files on the disk, named by a hash of everything that they were made from.
- `model_key`: that hash.
- `encodings`: images that were encoded before, for a second run on the same image.

A window compiles the model that is chosen in a child process (``napari-latentseg models compile NAME``) where
`api.needs_compiling` says so, and starts its runs with ``may_compile=False``: until then torch computes them.
"""
