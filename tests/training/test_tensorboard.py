"""The event file, read back record by record."""

from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog

from kseparation.training.tensorboard import tensorboard_scalars


def test_tensorboard_hides_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with tensorboard_scalars(tmp_path, True, first_step=8) as writer:
        writer.add_scalar("loss", 1.5, 9)
        writer.flush()
        (file,) = tmp_path.iterdir()
        data, events = file.read_bytes(), []
    while data:  # length, checksum, event, checksum
        size = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    assert events[0].file_version == "brain.Event:2"
    assert (events[1].step, events[1].session_log.status) == (9, SessionLog.START)  # the event of the checkpoint's own step is not made again
    assert [(event.step, event.summary.value[0].tag, event.summary.value[0].simple_value) for event in events[2:]] == [(9, "loss", 1.5)]


def test_nothing_is_made_where_it_is_not_wanted(tmp_path: Path) -> None:
    with tensorboard_scalars(tmp_path / "tensorboard", False) as writer:
        assert writer is None
    assert not any(tmp_path.iterdir())
