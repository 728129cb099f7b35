"""What a configuration says of its method is checked before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.config_files import load_config, named_configs
from napari_latentseg.training.method_checks import check_method


@pytest.mark.parametrize("name", named_configs())
def test_every_packaged_configuration_fits_its_method(name: str) -> None:
    config = load_config(name)
    if config.begin_share:
        config = config.replace(begin_from="a-model")
    check_method(config, has_codec=config.codec is not None)


_GUIDED_STAGES = ("autoencoders", "diffusion")
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "stage": (
        {"method": "medseglatdiff", "stages": {"difusion": {}}},
        "stages.difusion: is not known; did you mean 'diffusion'? (autoencoders, diffusion)",
    ),
    "stage of another": (
        {"method": "guided", "stages": {"mapper": {}}},
        "stages.mapper: is not known; use one of autoencoders, diffusion",
    ),
    "stage of one": (
        {"stages": {"diffusion": {}}},
        "stages.diffusion: gms is trained in one stage; leave it out",
    ),
    "setting": (
        {"settings": {"widht": 16}},
        "gms settings, widht: is not known; did you mean 'width'?",
    ),
    "setting below": (
        {"method": "guided", "settings": {"diffusion": {"step": 2}}},
        "guided settings, diffusion.step: is not known; did you mean 'steps'?",
    ),
    "method": ({"method": "gsm"}, "method: no method 'gsm'; did you mean 'gms'?"),
    "codec": ({"codec": None}, "codec: is missing; gms is built on a pretrained one"),
    "no codec": ({"method": "guided"}, "codec: is given, but guided trains its own autoencoders"),
    "weights": ({"published_weights": "no-such.pth"}, "published_weights: no such file"),
    "all stages left out": (
        {"method": "guided", "stages": {name: {"epochs": 0} for name in _GUIDED_STAGES}},
        "stages: are all left out; train at least one of them",
    ),
    "share": ({"begin_share": 0.5}, "begin_share: is a share of the weights of begin_from, which names"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_the_method_does_not_have_is_refused(name: str) -> None:
    fields, message = WRONG[name]
    config = TrainingConfig(**fields)
    with pytest.raises(BadInput) as caught:
        check_method(config, has_codec=config.codec is not None)
    assert str(caught.value).startswith(message)
