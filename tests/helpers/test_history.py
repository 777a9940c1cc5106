"""The training history and its logs."""

import csv

from helpers.history import extend_history, is_history, write_logs


def summary(value):
    return dict.fromkeys(("loss", "acc", "macc", "miou"), value)


def history_of(epochs):
    history = {}
    for epoch in range(epochs):
        history = extend_history(history, summary(0.5), summary(epoch / 10), 0.01, 2.0, 4.0)
    return history


def test_the_log_has_each_epoch_once_however_often_it_is_written(tmp_path):
    for epochs in (1, 2, 2, 3):
        write_logs(tmp_path, history_of(epochs))
    rows = list(csv.DictReader((tmp_path / "log_epoch.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["miou"]) for row in rows] == [0.0, 0.1, 0.2]
    assert list(rows[0])[:6] == ["epoch", "train loss", "val loss", "train acc", "val acc", "miou"]
    assert "seconds" not in rows[0]
    assert len((tmp_path / "log_time.csv").read_text().splitlines()) == 4
    assert not list(tmp_path.glob("*.tmp"))


def test_a_history_extends_a_copy():
    first = history_of(1)
    extend_history(first, summary(0.5), summary(0.9), 0.01, 2.0, 4.0)
    assert first["miou"] == [0.0]
    assert is_history(first)
    assert not is_history({"train_loss": [], "train_acc": [], "val_acc": [], "val_loss": [], "miou": []})
