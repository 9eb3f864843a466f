"""Values as sweeps and people write them, in flags and in a recipe's file."""

import pytest

from train.__main__ import main
from train.cli import parse


@pytest.mark.parametrize(
    "flags",
    [
        ["--bf16=None", "--batch_size=64.0", "--vae.latent_dim=8.0", "--seed=3.0"],
        ["--bf16=none", "--batch_size=64", "--vae.latent_dim=8", "--seed=3"],
        ["--bf16", "None", "--batch_size", "6.4e1", "--vae.latent_dim", "8.0", "--seed", "3"],
        ["--bf16=null", "--batch_size=64", "--vae.latent_dim=8", "--seed=3"],
    ],
)
def test_values_as_a_sweep_writes_them(flags):
    recipe = parse(["sample", *flags], "").recipe
    assert (recipe.bf16, recipe.batch_size, recipe.vae.latent_dim, recipe.seed) == (None, 64, 8, 3)


@pytest.mark.parametrize("vae", ["vae: {latent_dim: 8.0}", "vae.latent_dim: 8.0"])
@pytest.mark.parametrize("seed", ["3.0", "3", "0.3e1"])
@pytest.mark.parametrize("bf16", ["null", "None", "none", "~"])
def test_a_config_may_have_values_as_a_sweep_writes_them(bf16, seed, vae, tmp_path):
    (tmp_path / "a.yaml").write_text(f"batch_size: 64.0\nsteps: 1e3\nlr: 1\nbf16: {bf16}\nseed: {seed}\n{vae}\n")
    recipe = parse(["--config", str(tmp_path / "a.yaml"), "--vae.width=16.0"], "").recipe
    assert (recipe.bf16, recipe.batch_size, recipe.steps, recipe.seed) == (None, 64, 1000, 3)
    assert (recipe.lr, recipe.vae.latent_dim, recipe.vae.width) == (1.0, 8, 16)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        *((f"batch_size: {value}", "batch_size") for value in ("64.5", "null", "None", ".inf")),
        *(
            ("lr: None", "lr"),
            ("likelihood: null", "likelihood"),
            ("vae: null", "vae"),
            ("vae: {width: ~}", "vae.width"),
        ),
    ],
)
def test_a_value_of_another_kind_in_a_config_is_refused(line, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(line)
    with pytest.raises(SystemExit) as ended:
        main(["--config", "a.yaml"])
    assert name in capsys.readouterr().err + str(ended.value.code)
    assert len(list(tmp_path.iterdir())) == 1


def test_half_an_integer_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["sample", "--batch_size=64.5"], "")
    assert "64.5" in capsys.readouterr().err
