import errno
import logging
import os
import subprocess
import sys

import pytest

from kseparation.storage.patient_file import PatientFile
from tests.small_disk import DISKS, REFUSALS, SmallDisk, refuse

LIMITED = """
import resource, sys
from kseparation.storage.patient_file import PatientFile
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
file = PatientFile(sys.argv[1])
for number in range(20):
    file.write(f"line {number:04d}\\n")
print(file.waiting, len(open(sys.argv[1]).read()))
if sys.argv[2] == "mended":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.log"


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_what_is_written_is_there_at_once_after_what_was_there(path):
    path.write_text("old\n")
    with PatientFile(path) as file:
        file.write("new\n")
        assert path.read_text() == "old\nnew\n"
        file.write(b"\x00\xff")
    assert path.read_bytes() == b"old\nnew\n\x00\xff"
    file.close()  # again


@pytest.mark.parametrize("number", REFUSALS)
def test_refused_lines_wait_and_come_in_their_order(path, monkeypatch, caplog, number):
    file = PatientFile(path)
    file.write("1\n")
    with monkeypatch.context() as patch:
        refuse(patch, "pwrite", number)
        file.write("2\n")
        file.write("3\n")
        file.flush()
        assert file.waiting == 2 and path.read_text() == "1\n"
    file.write("4\n")
    assert file.waiting == 0 and path.read_text() == "1\n2\n3\n4\n"
    file.close()
    assert warnings(caplog) == [
        f"`{path}` cannot be written: {os.strerror(number)}. What belongs there waits in memory, and is tried again with each new entry.",
        f"`{path}` is whole again: all that waited is on the disk.",
    ]


@pytest.mark.parametrize("cut", [True, False])
def test_a_line_that_was_written_in_part_is_not_doubled(path, monkeypatch, cut):
    """Whether or not the half line can be cut off at once."""
    write, taken = os.pwrite, [5]

    def half(descriptor, data, place):
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: taken.pop()], place)

    file = PatientFile(path)
    file.write("one\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        if not cut:
            refuse(patch, "ftruncate", errno.EIO)
        file.write("two and more\n")
        file.write("three\n")
        assert path.read_text() == ("one\n" if cut else "one\ntwo a")
    file.flush()
    assert path.read_text() == "one\ntwo and more\nthree\n"
    file.close()


@pytest.mark.parametrize("number", REFUSALS)
def test_what_a_failing_sync_may_have_lost_is_written_again(path, monkeypatch, caplog, number):
    file = PatientFile(path)
    file.write("safe\n")
    file.flush()
    file.write("lost\n")
    with monkeypatch.context() as patch:
        refuse(patch, "fsync", number)
        file.flush()
    os.pwrite(file._descriptor, bytes(5), 5)  # as a disk reads that dropped it
    file.write("new\n")
    assert path.read_text() == "safe\nlost\nnew\n"
    file.close()
    assert len(warnings(caplog)) == 2


def test_lines_that_are_still_refused_at_the_end_are_counted(path, monkeypatch, caplog):
    file = PatientFile(path)
    refuse(monkeypatch, "pwrite", errno.ENOSPC)
    for _ in range(3):
        file.write("line\n")
    file.close()
    assert [text for text in warnings(caplog) if "could not" in text] == [f"The last 3 entries of `{path}` could not be put on the disk."]
    assert path.read_text() == ""


def test_other_errors_are_raised(path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        PatientFile(path.parent / "missing" / "a.log")
    with PatientFile(path) as file, monkeypatch.context() as patch, pytest.raises(OSError, match="Permission denied"):
        refuse(patch, "pwrite", errno.EACCES)
        file.write("x\n")
    assert path.read_text() == "x\n"


@pytest.mark.parametrize(("end", "lines", "words"), [("mended", 20, "is whole again"), ("full", 10, "The last 10 entries of")])
def test_a_file_that_may_not_grow(path, end, lines, words):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path), end], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "10 100\n"), done.stderr
    assert path.read_text().splitlines() == [f"line {number:04d}" for number in range(lines)]
    assert "cannot be written: File too large." in done.stderr and words in done.stderr


@pytest.mark.parametrize("disk_kind", DISKS)
def test_a_full_disk(tmp_path, caplog, disk_kind: type[SmallDisk]):
    with disk_kind(tmp_path / "disk", 64) as disk, PatientFile(disk.path / "a.log") as file, caplog.at_level(logging.WARNING):
        lines = [f"line {number:04d}\n" for number in range(3000)]
        file.write(lines[0])
        disk.fill()
        for line in lines[1:2000]:
            file.write(line)
        assert file.waiting > 1000
        whole = (disk.path / "a.log").read_text()
        assert whole == "".join(lines[: 2000 - file.waiting])
        disk.empty()
        for line in lines[2000:]:
            file.write(line)
        assert file.waiting == 0 and (disk.path / "a.log").read_text() == "".join(lines)
        assert len(warnings(caplog)) == 2
        assert "No space left on device" in warnings(caplog)[0]


@pytest.mark.parametrize("flushed", [0, 2, 4])
@pytest.mark.parametrize("kept", [1, 3])
def test_the_end_can_be_forgotten_wherever_it_lies(tmp_path, flushed: int, kept: int) -> None:
    with PatientFile(tmp_path / "a.log") as file:
        for number in range(4):
            file.write(f"entry {number}\n")
            if number + 1 == flushed:
                file.flush()
        file.truncate(8 * kept)
        assert file.content() == b"".join(b"entry %d\n" % number for number in range(kept))
        file.write("new\n")
        assert file.content().endswith(b"new\n")
    assert (tmp_path / "a.log").read_text() == "".join(f"entry {number}\n" for number in range(kept)) + "new\n"
