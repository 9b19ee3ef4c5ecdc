"""Checkpoints: whole or not used."""

import logging

import pytest
import torch

from plankseg.learning.checkpoints import EpochReport, State, checkpoint_path, read_checkpoint, write_checkpoint
from plankseg.learning.metrics import ImageScores

pytestmark = pytest.mark.slow


def a_state(*, best_epoch: int) -> State:
    """Two epochs of a network of one layer, with the optimizer's moments."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    plateau.step(0.25)
    weights = {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
    return State(
        history=[EpochReport(n, 0.5, 0.25, 1e-3, 1.5, 0.125) for n in (1, 2)],
        best_epoch=best_epoch,
        scores=ImageScores({"a": 0.25}, {"a": 0.2}),
        best=weights if best_epoch == 2 else {name: tensor + 1 for name, tensor in weights.items()},
        network=weights,
        optimizer=optimizer.state_dict(),
        plateau=plateau.state_dict(),
    )


def assert_same(one: State, other: State) -> None:
    assert (one.history, one.best_epoch, one.scores) == (other.history, other.best_epoch, other.scores)
    assert one.plateau == other.plateau
    torch.testing.assert_close(one.network, other.network, rtol=0, atol=0)
    torch.testing.assert_close(one.best, other.best, rtol=0, atol=0)
    torch.testing.assert_close(one.optimizer["state"], other.optimizer["state"], rtol=0, atol=0)


def test_a_checkpoint_gives_back_what_was_written(tmp_path):
    for best_epoch in (1, 2):
        path = checkpoint_path(tmp_path, f"{best_epoch}")
        write_checkpoint(path, a_state(best_epoch=best_epoch))
        assert_same(read_checkpoint(path), a_state(best_epoch=best_epoch))


def test_an_optimizer_goes_on_from_a_checkpoint(tmp_path):
    path = checkpoint_path(tmp_path, "x")
    write_checkpoint(path, a_state(best_epoch=2))
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=5.0)
    optimizer.load_state_dict(read_checkpoint(path).optimizer)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.state[layer.weight]["step"] == 1


def test_no_checkpoint_and_a_torn_one_start_from_the_first_epoch(tmp_path, caplog):
    path = checkpoint_path(tmp_path, "x")
    assert read_checkpoint(path).epochs_done == 0
    write_checkpoint(path, a_state(best_epoch=2))
    whole = path.read_bytes()
    for torn in (b"", whole[:40], whole[: len(whole) // 2], whole[:-1], whole[:-9] + b"X" + whole[-8:]):
        path.write_bytes(torn)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert read_checkpoint(path).epochs_done == 0
        assert "damaged" in caplog.text


def test_a_write_that_was_cut_off_leaves_the_last_checkpoint(tmp_path):
    path = checkpoint_path(tmp_path, "x")
    write_checkpoint(path, a_state(best_epoch=2))
    path.with_name(f".{path.name}.partial").write_bytes(b"half of a check")
    assert read_checkpoint(path).epochs_done == 2
    write_checkpoint(path, a_state(best_epoch=1))
    assert read_checkpoint(path).best_epoch == 1
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
