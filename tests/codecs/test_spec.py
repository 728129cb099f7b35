from __future__ import annotations

import pytest
from pydantic import ValidationError

from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.codecs.spec import CODEC_KINDS, CodecSpec
from napari_latentseg.errors import BadInput

GOOD = {
    "kind": "kl",
    "name": "owner/name",
    "channels": 4,
    "scale": 0.18215,
    "sha256": "0" * 64,
    "revision": "1" * 40,
}


def test_round_trip() -> None:
    spec = CodecSpec(**GOOD)
    assert CodecSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "gan"),
        ("name", ""),
        ("channels", 0),
        ("scale", 0),
        ("scale", -1),
        ("sha256", None),
        ("scales", 1),
    ],
)
def test_what_is_not_valid(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        CodecSpec(**(GOOD | {field: value}))


def test_it_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CodecSpec(**GOOD).channels = 5


def test_every_kind_can_be_built_and_no_other() -> None:
    settings = {"kl": {"norm_num_groups": 4, "block_out_channels": (8,)}, "compact": {"channels": 4}}
    for kind in CODEC_KINDS:
        assert build_codec(kind, **settings.get(kind, {})).kind == kind
    with pytest.raises(BadInput, match="use one of compact, kl, tiny, taef2, vq"):
        build_codec("gan")
