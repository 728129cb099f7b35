"""`methods`."""

from __future__ import annotations

import json

from napari_latentseg.methods.registry import METHODS


def test_methods_are_told_for_people_and_for_programs(cli) -> None:
    ended = cli("methods", "--json")
    assert (ended.code, ended.errors) == (0, [])
    told = json.loads(ended.out)
    assert [method["name"] for method in told] == list(METHODS)
    text = cli("methods")
    assert (text.code, text.errors) == (0, [])
    for method in told:
        lines = text.out.partition(f"{method['name']}: {method['title']}\n")[2].splitlines()
        rows = {line[2:18].strip(): line[18:].strip() for line in lines[:6]}
        assert rows["paper"] == method["paper"]
        total = sum(method["parameters"]["trainable"].values())
        assert rows["trainable"].startswith(f"{total:,} (")
        assert rows["samples from"] == ", ".join(method["sources"])
        if method["parameters"]["variant"]:
            name = method["parameters"]["configuration"]
            assert f"{name} (variant)" in rows["configurations"]
            assert f"{name} from the paper: {method['parameters']['variant']}" in text.out
