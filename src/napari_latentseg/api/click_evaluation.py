"""How well a model that is pointed at answers the clicks of a simulated person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model
from napari_latentseg.utils.argument_types import as_path, whole_number
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.evaluation.click_report import ClickReport
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["MAX_CLICKS", "evaluate_clicks"]

MAX_CLICKS = 50
"""More than anybody would click on one object."""


def evaluate_clicks(
    model: Model | LocatedModel | str | Path,
    data: str | Path,
    *,
    clicks: int = 5,
    images: int | None = None,
    samples: int | None = None,
    device: str = "auto",
    subset: str = "all",
    codec: str | Path | None = None,
    report: str | Path | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> ClickReport:
    """Score a model that is pointed at with the clicks of a simulated person: Dice after each click.

    The first click is at the deepest point of an object, each further one at the deepest point of the largest
    error of the last answer (Sofiiuk et al., ICIP 2022). Labels of the masks are only told apart: a model
    that is pointed at has no classes.

    Parameters
    ----------
    model
        A loaded model, or the name or folder of one; it must take prompts.
    data
        A folder of annotated images, as for `evaluate`.
    clicks
        Most clicks on an object, 1 to 50.
    images
        Most images, chosen evenly in the order of the folder; all where not given. An object takes some
        seconds on a CPU.
    samples
        Of each answer, 1 to 64; the model's default where not given.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    subset
        ``"all"`` images, or ``"validation"``: those that were the model's validation images in training.
    codec
        The model's codec, where it is not kept on this machine: a folder or file, or the name of a kept one.
    report
        An HTML file for a page with the scores, their distribution, pictures of the worst, the median and the
        best object, and a row for each. A file that is there is replaced.
    on_note
        Called with a sentence on what was passed over in the folder.
    progress
        Called with the fraction done, in [0, 1], after each object; what it raises ends the evaluation.

    Returns
    -------
    ClickReport
        Mean Dice over objects after each click with intervals over images, and the Dice of each object.

    Raises
    ------
    BadInput
        If there is no such model or data, the model takes no prompts, no image can be used, no mask holds an
        object of 20 pixels, or a setting is not possible.

    Examples
    --------
    >>> from napari_latentseg import evaluate_clicks
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> data = write_annotated_phantoms("phantoms", 2)
    >>> report = evaluate_clicks("any-structure", data, clicks=3, samples=1)
    >>> report.rows()[0]
    ('clicks', 'Dice', '95 % interval')
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.api.annotated_images import images_with_masks
    from napari_latentseg.api.prompts import check_takes_prompts
    from napari_latentseg.core.prompts import MAX_ANSWER_SAMPLES
    from napari_latentseg.errors import BadInput
    from napari_latentseg.report.click_page import write_click_page
    from napari_latentseg.report.click_pictures import draw_objects
    from napari_latentseg.report.evaluation_page import check_evaluation_page
    from napari_latentseg.utils.device import check_device_and_precision

    page = None if report is None else check_evaluation_page(as_path("report", report))
    located_model = locate_chosen_model(model)
    check_takes_prompts(located_model.card)
    check_device_and_precision(device, "float32")
    if not 1 <= clicks <= MAX_CLICKS:
        raise BadInput("clicks", f"are {clicks}", f"ask for 1 to {MAX_CLICKS}")
    if images is not None and images < 1:
        raise BadInput("images", f"are {images}", "ask for one or more")
    if samples is not None and not 1 <= whole_number("samples", samples) <= MAX_ANSWER_SAMPLES:
        raise BadInput("samples", f"are {samples}", f"ask for 1 to {MAX_ANSWER_SAMPLES}")
    cases, split = images_with_masks(located_model, data, subset, on_note)
    if images is not None and images < len(cases):
        cases = [cases[i * len(cases) // images] for i in range(images)]

    from napari_latentseg.inference.click_scores import ClickScores
    from napari_latentseg.utils.device import resolve_compute

    compute = resolve_compute(device, "float32")
    loaded = load_chosen_model(located_model, codec)
    loaded.to(compute)
    count = loaded.card.default_samples if samples is None else samples
    scores = ClickScores(loaded, compute, cases, count, clicks)
    for fraction in scores.run():
        progress(fraction)
    progress(1.0)
    scored = scores.report(split)
    if page is not None:
        write_click_page(page, scored, loaded.card, draw_objects(scored, scores.answer_again))
    return scored
