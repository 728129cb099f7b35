"""The configuration of a training, validated."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import MemberParts
from napari_latentseg.training.card_config import CardConfig
from napari_latentseg.training.dataset_config import (
    ClassConfig,
    DatasetConfig,
    SliceSamplingConfig,
    check_patient_pattern,
)
from napari_latentseg.utils.field_errors import wrong_field

__all__ = ["SplitConfig", "StageConfig", "TrainingConfig", "with_changes"]

# The conditioner already exists. With 22 % of the epochs the mappers of hippocampus-mr stayed 2 to 5 points
# behind the first (docs/benchmarks/uncertainty.md), so no less than a third.
_MEMBER_SHARE = 3


class SplitConfig(FrozenModel):
    """Which images are held out for validation.

    Attributes
    ----------
    fraction
        Fraction of all images that is held out.
    seed
        Seed of the random choice.
    group_pattern
        A regular expression on the file name whose first group is the patient; all images of a patient are on
        the same side of the split.
    likeness_bits
        Images whose 256-bit difference hashes differ in no more bits are near duplicates and stay together;
        None to ignore near duplicates.
    block
        For frames of videos: blocks of this many consecutive files stay together, in natural order (9 before
        10). The last frames of a block may still resemble the first of the next.
    lists
        Files that name the training, validation and test images, see
        `napari_latentseg.training.split_lists.read_split_lists`. They are followed to the letter: near
        duplicates may be on both sides. Images that they do not name are not used, nor are those of the test
        list. Without a validation list, validation images are held out of the training list as above.
    of_model
        The folder of a model whose `split.json` says which image is for training or validation; all others
        are left out. Replaces the other settings; empty for none.
    select_on
        ``"validation"``, or ``"test"``: the images of the test list are those that the weights are selected
        on, as in the code of several papers. The figures on them are then no test, and are not called one.
    """

    fraction: float = Field(0.1, gt=0, lt=1)
    seed: int = 0
    group_pattern: str | None = None
    likeness_bits: int | None = Field(None, ge=0, le=256)
    block: int | None = Field(None, ge=1)
    lists: tuple[str, ...] = ()
    of_model: str = ""
    select_on: Literal["validation", "test"] = "validation"

    _check_pattern = field_validator("group_pattern")(check_patient_pattern)

    @model_validator(mode="after")
    def _check_grouping(self) -> SplitConfig:
        if self.block is not None and self.group_pattern is not None:
            raise ValueError("block and group_pattern exclude each other")
        if self.select_on == "test" and not self.lists:
            raise ValueError("selecting on the test list needs a list: --split FILE")
        return self


class StageConfig(FrozenModel):
    """Settings that differ in one stage of a training; None: as in `TrainingConfig`.

    With 0 epochs a stage of the method is left out: what it trains keeps the weights of
    `TrainingConfig.begin_from`.
    """

    epochs: int | None = Field(None, ge=0)
    steps: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    accumulate: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    weight_decay: float | None = Field(None, ge=0, allow_inf_nan=False)
    warmup_epochs: float | None = Field(None, ge=0, allow_inf_nan=False)
    warmup_steps: int | None = Field(None, ge=0)
    ema_decay: float | None = Field(None, ge=0, lt=1)
    clip_gradient: float | None = Field(None, ge=0, allow_inf_nan=False)
    validate_every: int | None = Field(None, ge=1)


class MemberTrainingConfig(StageConfig):
    """Settings that differ while a further predictor is trained, see `TrainingConfig.member_training`."""

    epochs: int | None = Field(None, ge=1)


class TrainingConfig(FrozenModel):
    """The training of a method. The defaults are those of GMS as published, or of its code.

    Attributes
    ----------
    name, extends
        The name; and that of the configuration that this one was made from, by changing the fields that its
        file has. Empty for one that stands alone.
    ablation
        Of an ablation in the paper: which table and row.
    method, settings
        The method, and the settings that only this method has.
    codec
        ``"embedded"``, a repository on the Hugging Face hub, or a folder; `codec_revision` pins the commit of
        the repository. None for a method that trains its own codec.
    preprocess, augment, split
        See `Preprocess`, `AugmentationConfig` and `SplitConfig`.
    slice_spacing
        Millimetres between the slices of a volume that are trained on: of thinner ones every n-th is taken,
        as near to it as can be; thicker ones are all taken. None for all slices.
    epochs, batch_size, learning_rate, weight_decay, warmup_epochs
        AdamW, with a linear warm-up from zero and then a cosine to zero.
    schedule_by
        Whether the learning rate changes once per ``"epoch"`` or once per ``"step"``. By epochs, the first
        epoch of the warm-up has a learning rate of zero and the last one the full rate, as in the GMS code.
    steps
        The length of the training in optimizer steps, rounded up to whole epochs; replaces `epochs`.
    warmup_steps
        The length of the warm-up in optimizer steps; replaces `warmup_epochs`, and needs `schedule_by`
        ``"step"``.
    schedule
        After the warm-up: ``"cosine"`` to zero, or ``"constant"``.
    accumulate
        Batches whose gradients are accumulated for one optimizer step.
    stages
        Settings that differ in a stage of a method with several stages, by the name of the stage.
    crops_per_image
        For tiles: random crops of each slice in an epoch.
    ema_decay
        Decay of the exponential moving average of the weights, which is then what is saved; 0 for none.
    ema_warmup
        Whether the decay starts low: the lesser of `ema_decay` and (1 + n) / (10 + n) after n steps.
    clip_gradient
        Maximum norm of the gradient; 0 for no clipping.
    select
        ``"best"``: the weights with the best Dice on the validation images. ``"last"``: those of the last
        epoch, so that the validation scores are not biased by selection.
    validate_every
        Epochs between two validations.
    validate_planes
        Number of validation slices that are used in a validation; None for all.
    judge_planes
        Most slices of the validation images that are segmented, of each data set and with each sampling
        source, to judge the trained model; None for all. Whole images are chosen evenly; of a single volume
        with more slices, every n-th slice.
    classes
        The classes of a model with several. Empty for a single class: `card` names it, and every label other
        than 0 belongs to it.
    datasets
        What the labels of each data set mean, by the name of its folder.
    readers
        Which mask of an image is trained on: ``"consensus"``, that of `masks/`, or ``"random"``, in every
        step that of one reader, each with the same probability, so that samples learn to differ as readers
        do. Validation uses `masks/` in both cases.
    reader_masks
        The folders of the readers' masks beside `images/`; empty for all that are called `masks_r1`,
        `masks_r2` and so on.
    draw
        How the slices of an epoch are sampled; None for every slice, `crops_per_image` times.
    cache_latents
        Encode each augmented image once and keep its latents. Useful where images repeat: without
        augmentation, or with few `augment_variants`.
    augment_variants
        Number of augmented versions of each image; 0 draws a new one every time, as in the GMS paper.
    published_weights
        Pretrained weights of the network parts for which such weights are published: ``""`` takes them from
        the Python package that contains them, ``"none"`` leaves random weights, or the path of a file.
    pretrained_unet
        For SDSeg: the checkpoint of a latent diffusion model whose U-Net the training begins from, as a path;
        in the paper's code that of LSUN churches. Empty to begin at random.
    begin_from
        The name or the folder of a model of the same method, settings and codec whose weights the training
        begins with, in place of random and published ones. Empty to begin anew.
    begin_share
        Share of these weights in those that are kept, beside the trained ones, so that less is forgotten
        (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
    perceptual
        Files of the network of the perceptual term, which guided latent diffusion has where
        `settings.perceptual_weight` is not 0: torchvision's VGG16, and the weights of lpips.
    published_rate
        Learning rate of the parts with `published_weights`, as a fraction of `learning_rate`.
    precision
        ``"float32"`` (as in the GMS paper), ``"bfloat16"``, or ``"auto"``: bfloat16 on hardware where it is
        faster.
    seed
        Of initial weights, order of the images and augmentation.
    members
        Number of members of a deep ensemble. They share codec and split; their seeds are `seed`, `seed` + 1
        and so on. A model with several members offers the sampling source ``"members"``.
    member_parts
        What each further member has of its own: ``"all"`` trained parts, or the ``"predictor"`` alone (the
        mapper of GMS and Wave-GMS, the denoiser of SDSeg). With the latter the first member trains
        everything, and the others train a predictor on its conditioner, which is then frozen.
    member_images
        What such a predictor is trained on: a ``"bootstrap"`` sample of the training images, drawn with
        replacement, or ``"all"``.
    member_training
        Settings that differ while such a predictor is trained. Where neither its epochs nor its steps are
        given, it gets a third of those of the first member.
    card
        Entries of the model card beside the scores.
    """

    name: str = ""
    extends: str = ""
    ablation: str = ""
    method: str = "gms"
    settings: dict[str, Any] = Field(default_factory=dict)
    codec: str | None = "embedded"
    codec_revision: str | None = None
    preprocess: Preprocess = Preprocess()
    augment: AugmentationConfig = AugmentationConfig()
    split: SplitConfig = SplitConfig()
    slice_spacing: float | None = Field(None, gt=0, allow_inf_nan=False)
    epochs: int = Field(1000, ge=1)
    steps: int | None = Field(None, ge=1)
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    crops_per_image: int = Field(1, ge=1)
    learning_rate: float = Field(2e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)
    warmup_epochs: float = Field(5.0, ge=0, allow_inf_nan=False)
    warmup_steps: int | None = Field(None, ge=0)
    schedule_by: Literal["epoch", "step"] = "epoch"
    schedule: Literal["cosine", "constant"] = "cosine"
    ema_decay: float = Field(0.0, ge=0, lt=1)
    ema_warmup: bool = False
    clip_gradient: float = Field(0.0, ge=0, allow_inf_nan=False)
    select: Literal["best", "last"] = "best"
    validate_every: int = Field(1, ge=1)
    validate_planes: int | None = Field(None, ge=1)
    judge_planes: int | None = Field(None, ge=1)
    classes: tuple[ClassConfig, ...] = ()
    datasets: dict[str, DatasetConfig] = Field(default_factory=dict)
    readers: Literal["consensus", "random"] = "consensus"
    reader_masks: tuple[str, ...] = ()
    draw: SliceSamplingConfig | None = None
    cache_latents: bool = False
    augment_variants: int = Field(0, ge=0)
    published_weights: str = ""
    pretrained_unet: str = ""
    begin_from: str = ""
    begin_share: float = Field(0.0, ge=0, lt=1)
    perceptual: tuple[str, ...] = ()
    published_rate: float = Field(1.0, gt=0, le=1)
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    seed: int = Field(2333, ge=0, lt=2**63)
    members: int = Field(1, ge=1, le=100)
    member_parts: MemberParts = "all"
    member_images: Literal["all", "bootstrap"] = "bootstrap"
    member_training: MemberTrainingConfig = MemberTrainingConfig()
    stages: dict[str, StageConfig] = Field(default_factory=dict)
    card: CardConfig = CardConfig()

    @property
    def detail(self) -> int:
        """Times the working size at which images are kept; more than 1 for methods that look at parts."""
        return int(self.settings.get("detail", 1))

    @property
    def image_size(self) -> int:
        """Side of the images of a batch, in pixels."""
        return self.preprocess.size * self.detail

    def leaves_out(self, stage: str) -> bool:
        """Whether a stage of the method is not trained, but keeps the weights of `begin_from`."""
        return self.stages.get(stage, StageConfig()).epochs == 0

    def for_stage(self, name: str) -> TrainingConfig:
        """The settings of one stage, which is not left out."""
        return self._with_overrides(self.stages.get(name, StageConfig()))

    def for_member(self, number: int) -> TrainingConfig:
        """The settings of a member, from 0: its own seed, and of a further predictor `member_training`.

        Examples
        --------
        >>> config = TrainingConfig(member_parts="predictor", member_training={"epochs": 9}, seed=1)
        >>> [(config.for_member(i).seed, config.for_member(i).epochs) for i in range(2)]
        [(1, 1000), (2, 9)]
        """
        config = self.replace(seed=self.seed + number)
        if number == 0 or self.member_parts == "all":
            return config
        settings = self.member_training
        if settings.epochs is None and settings.steps is None:
            third = "steps" if self.steps is not None else "epochs"
            settings = settings.replace(**{third: -(-(self.steps or self.epochs) // _MEMBER_SHARE)})
        # what the first member sets for a single stage is of that member's training
        return config.replace(stages={})._with_overrides(settings)

    def _with_overrides(self, settings: StageConfig) -> TrainingConfig:
        overrides = settings.model_dump(exclude_none=True)
        if "epochs" in overrides:
            overrides.setdefault("steps", None)  # the stage's epochs replace the steps of the whole file
        if "warmup_epochs" in overrides:
            overrides.setdefault("warmup_steps", None)
        return self.replace(**overrides)

    @model_validator(mode="after")
    def _check_warmup_unit(self) -> TrainingConfig:
        warmup_steps = [self.warmup_steps, *(stage.warmup_steps for stage in self.stages.values())]
        if self.schedule_by != "step" and any(steps is not None for steps in warmup_steps):
            raise ValueError("warmup_steps needs schedule_by 'step'")
        return self

    @model_validator(mode="after")
    def _check_class_count(self) -> TrainingConfig:
        """The settings of a method with several classes must agree with `classes`."""
        class_count = self.settings.get("classes", 1)
        if isinstance(class_count, int) and class_count != (len(self.classes) or 1):
            raise ValueError(
                f"classes: {len(self.classes) or 1} are named, but the settings have {class_count}"
            )
        return self

    @model_validator(mode="after")
    def _check_neighbours(self) -> TrainingConfig:
        """Neighbouring slices are no colours: a change of hue or saturation would mix them."""
        if self.preprocess.neighbours is not None and (self.augment.hue or self.augment.saturation):
            raise ValueError("augment: hue and saturation must be 0 where preprocess has neighbours")
        return self

    @model_validator(mode="after")
    def _check_latent_cache(self) -> TrainingConfig:
        ranges = self.augment
        probabilities = (
            ranges.horizontal_flip,
            ranges.vertical_flip,
            ranges.quarter_turn,
            ranges.jitter,
            ranges.affine,
            ranges.elastic,
            ranges.degrade,
        )
        images_repeat = self.augment_variants or not (any(probabilities) or self.preprocess.mode != "whole")
        if self.cache_latents and not images_repeat:
            raise ValueError(
                "cache_latents needs images that repeat: no augmentation, or few augment_variants"
            )
        return self


def with_changes(config: TrainingConfig, changes: dict[str, Any]) -> TrainingConfig:
    """A validated copy with other values.

    Raises
    ------
    BadInput
        If a field is not valid; the message names it.
    """
    try:
        return TrainingConfig.model_validate(config.model_dump() | changes)
    except ValidationError as error:
        field, why, remedy = wrong_field(error, TrainingConfig)
        raise BadInput(field or "configuration", why, remedy) from error
