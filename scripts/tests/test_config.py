from pathlib import Path

import pytest

from tasnif_train import config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("default*.toml")), ids=lambda p: p.stem)
def test_every_committed_configuration_parses(path: Path) -> None:
    loaded = config.load(path)
    assert loaded.name == "default"
    assert loaded.reported == "annotated.test"
    assert loaded.sampling.empty + loaded.sampling.unrelated < 1


def test_a_misspelt_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="learning_rate"):
        config.parse({"optim": {"learning_rate": 1}})
