"""How good a mask is, and how far its probabilities and intervals can be trusted.

Only arrays and geometry; running a model on a data set is `napari_latentseg.inference.evaluate`.

- `arrays`: checks of masks, images and spacing that the metrics take.
- `metrics`: Dice, IoU, HD95, ASSD, PSNR. `CONVENTIONS` states what each does with empty masks.
- `scores`: `ImageScores` of one image, and their summary over images.
- `protocols`: how each of the papers scores: size, empty masks, pooling, classes.
- `stability`: how alike the samples of an image are (PSNR, SSIM).
- `compare`: a label map against a reference, class by class, with distances in mm.
- `fit`, `header_fit`: whether an image is like those that a model was trained on.
- `reliability`: how often a voxel with some probability belongs to the class; `temperature_fit` corrects it.
- `calibration`: conformal intervals for areas and volumes.
"""
