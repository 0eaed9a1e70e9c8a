"""Presets in files: there and back, and mistakes in them."""

from pathlib import Path

import pytest

from headrace.config.simulator import Simulator
from headrace.engines.sim import sheet
from headrace.engines.sim.presets import PRESETS
from headrace.engines.sim.server import Server
from headrace.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    """What is written is read again, to the digits that are written; remarks do not matter."""
    path = tmp_path / "preset.yaml"
    path.write_text(sheet.text(PRESETS[name], ["a remark", "", "and: another"]), encoding="utf-8")
    found, shipped = sheet.read(path), PRESETS[name]

    assert shipped.step_ms == pytest.approx(found.step_ms, rel=1e-3)
    assert shipped.prefill_ms(4096) == pytest.approx(found.prefill_ms(4096), rel=1e-3)
    assert (shipped.name, shipped.source) == (found.name, found.source)
    assert (shipped.kv_tokens, shipped.block_size) == (found.kv_tokens, found.block_size)
    assert shipped.request_ms == pytest.approx(found.request_ms, rel=1e-3)


def test_a_simulator_takes_a_file(tmp_path: Path) -> None:
    """A preset that ends in .yaml is a file; its block size and cache are the simulator's."""
    path = tmp_path / "mine.yaml"
    text = sheet.text(PRESETS["l4-8b"]).replace("block_size: 16", "block_size: 128")
    path.write_text(text.replace("kv_tokens: 34000", "kv_tokens: 64000"), encoding="utf-8")
    server = Server(Simulator(preset=str(path), max_model_len=50_000))

    assert (128, 64_000) == (server.preset.block_size, server.preset.kv_tokens)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("kv_tokens: 34000", "kv_tokens: many"), r"x\.yaml:11: kv_tokens: must be a valid int"),
        (("  weights: 50.0", "  weights: -1"), r"x\.yaml:4: cost\.weights: must be greater than"),
        (("  weights: 50.0\n", ""), r"x\.yaml:3: cost\.weights: is required"),
        (("start_s:", "strat_s:"), r"x\.yaml:\d+: strat_s: there is no such key"),
        (("cost:", "cost: ["), r"x\.yaml:"),
    ],
)
def test_mistakes_have_their_line(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    """A problem is told with file, line and key."""
    text = sheet.text(PRESETS["l4-8b"])
    assert change[0] in text

    with pytest.raises(ConfigError, match=told):
        sheet.read(written(tmp_path, text.replace(*change)))


def test_what_is_no_preset(tmp_path: Path) -> None:
    """Neither a list, nor bytes, nor a file that is not there."""
    with pytest.raises(ConfigError, match="must hold the keys of a preset"):
        sheet.read(written(tmp_path, "[1, 2]"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        sheet.read(tmp_path / "bytes.yaml")
    with pytest.raises(ConfigError, match=r"No such file .* writes presets"):
        sheet.read(tmp_path / "none.yaml")
