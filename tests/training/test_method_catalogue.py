"""What is told of the methods."""

from __future__ import annotations

import pytest

from napari_latentseg.codecs.architectures import KNOWN_CODECS, meta_codec
from napari_latentseg.core.record import SAMPLING_SOURCES
from napari_latentseg.methods.registry import METHODS
from napari_latentseg.training.config_files import named_configs
from napari_latentseg.training.method_catalogue import describe_methods
from napari_latentseg.training.method_info import MethodInfo


@pytest.fixture(scope="module")
def told() -> dict[str, MethodInfo]:
    return {method.name: method for method in describe_methods()}


def test_every_method_is_there_with_what_it_has(told: dict[str, MethodInfo]) -> None:
    assert list(told) == list(METHODS)
    for name, method in told.items():
        assert method.title == METHODS[name].title
        assert method.paper == METHODS[name].paper
        assert set(method.sources) <= set(SAMPLING_SOURCES)
        assert "members" in method.sources or METHODS[name].takes_prompts
        assert all(
            count > 0
            for part in ("trainable", "frozen")
            for count in getattr(method.parameters, part).values()
        )
        assert sum(method.parameters.trainable.values()) > 10_000
        first = method.configurations[0]
        assert first.name == method.parameters.configuration
        assert (first.kind == "paper") == (not method.parameters.variant)
        assert "small" in {c.kind for c in method.configurations}


def test_every_configuration_is_some_method_s(told: dict[str, MethodInfo]) -> None:
    names = [c.name for method in told.values() for c in method.configurations]
    assert sorted(names) == sorted(named_configs())


def test_only_what_does_not_depart_from_the_paper_is_called_the_papers(told: dict[str, MethodInfo]) -> None:
    configurations = {c.name: c for method in told.values() for c in method.configurations}
    for name, configuration in configurations.items():
        assert configuration.kind != "paper" or not configuration.variant, name
    assert configurations["gms-busi"].kind == "paper"
    abdomen = configurations["guided-abdomen"]
    assert (abdomen.kind, abdomen.variant) == ("other", "no perceptual term in the image autoencoder")


def test_the_counts_are_the_papers(told: dict[str, MethodInfo]) -> None:
    """GMS gives 1.5 M, SDSeg 329 M, Wave-GMS 2.6 M, and the autoencoders 83.7 M and 2.4 M."""
    gms, wave, sdseg = (told[name].parameters for name in ("gms", "wave-gms", "sdseg"))
    assert gms.trainable == {"mapper": 1_564_976}
    assert gms.frozen == sdseg.frozen == {"codec": 83_653_863}
    assert gms.variant == ""
    assert sum(wave.trainable.values()) == pytest.approx(2.6e6, rel=0.01)
    assert wave.frozen == {"codec": 2_445_063}
    assert sum(sdseg.trainable.values()) == pytest.approx(329e6, rel=0.01)


def test_a_deterministic_method_has_one_answer_and_the_others_have_not(
    told: dict[str, MethodInfo],
) -> None:
    assert told["gms"].sources == ("members-augment", "members", "augment", "none")
    assert told["sdseg"].sources == ("noise", "members")


def test_an_empty_codec_takes_no_memory() -> None:
    for name in KNOWN_CODECS:
        codec = meta_codec(name)
        assert codec is not None
        assert all(p.is_meta and not p.requires_grad for p in codec.parameters())
        assert (codec.channels, codec.downsampling_factor) == (4, 8)
    assert meta_codec("no-such") is None
