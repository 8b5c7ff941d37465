"""The event file, read back record by record."""

from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog

from kseparation.training.tensorboard import tensorboard_scalars


def events_of(folder: Path) -> list[Event]:
    (file,) = folder.iterdir()
    data, events = file.read_bytes(), []
    while data:  # length, checksum, event, checksum
        size = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return events


def test_tensorboard_hides_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with tensorboard_scalars(tmp_path, True, first_step=8) as writer:
        writer.add_scalar("loss", 1.5, 9)
        writer.flush()
        events = events_of(tmp_path)
    assert events[0].file_version == "brain.Event:2"
    assert (events[1].step, events[1].session_log.status) == (9, SessionLog.START)  # the event of the checkpoint's own step is not made again
    assert [(event.step, event.summary.value[0].tag, event.summary.value[0].simple_value) for event in events[2:]] == [(9, "loss", 1.5)]


def test_a_return_hides_the_steps_that_are_made_again(tmp_path: Path) -> None:
    with tensorboard_scalars(tmp_path, True) as writer:
        writer.add_scalar("loss", 1.5, 4)
        writer.restart(3)
        writer.add_scalar("loss", 2.5, 4)
        writer.flush()
        events = events_of(tmp_path)[2:]
    assert [(event.step, event.session_log.status == SessionLog.START) for event in events] == [(4, False), (4, True), (4, False)]
    assert events[2].summary.value[0].simple_value == 2.5


def test_nothing_is_made_where_it_is_not_wanted(tmp_path: Path) -> None:
    with tensorboard_scalars(tmp_path / "tensorboard", False) as writer:
        assert writer is None
    assert not any(tmp_path.iterdir())
