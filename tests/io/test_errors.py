from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors, silence_logger, write_errors

PATH = Path("folder/a.tif")
NAME = "Doe^Jane"

READING = {
    "anything": (ValueError(f"tag 270 holds {NAME}"), "is not a TIFF file, or is damaged or cut short"),
    "not enough memory": (MemoryError(), "does not fit into memory"),
    "gone": (FileNotFoundError(2, NAME), "no such file"),
    "locked": (PermissionError(13, NAME), "cannot be read (permission denied)"),
    "a drive of the network that is gone": (OSError(5, NAME), "cannot be reached (Input/output error)"),
    "no reason of the system": (OSError(NAME), "is not a TIFF file, or is damaged or cut short"),
    "another package": (
        ValueError(f"{NAME} requires the 'imagecodecs' package"),
        "is compressed in a way that needs another package; install imagecodecs",
    ),
    "a geometry": (
        BadInput("geometry", "the affine cannot be inverted", "repair"),
        "the affine cannot be inverted",
    ),
}


@pytest.mark.parametrize(("error", "why"), READING.values(), ids=READING.keys())
def test_what_a_library_raises_becomes_one_line_with_the_file_s_name(error, why):
    with pytest.raises(BadInput) as caught, read_errors(PATH, "a TIFF file"):
        raise error
    assert str(caught.value).startswith(f"{PATH}: {why}")
    assert caught.value.remedy
    assert NAME not in str(caught.value)


def test_our_own_line_stays():
    own = BadInput("b.tif", "has 9 dimensions", "give a plane")
    for context in (read_errors(PATH, "a TIFF file"), write_errors(PATH, (".tif",), "a TIFF file")):
        with pytest.raises(BadInput) as caught, context:
            raise own
        assert caught.value is own


@pytest.mark.parametrize(
    "context", [read_errors(PATH, "a file"), write_errors(PATH, (".tif",), "a file")], ids=["r", "w"]
)
def test_an_interrupt_is_no_fault_of_the_file(context):
    with pytest.raises(KeyboardInterrupt), context:
        raise KeyboardInterrupt


WRITING = {
    "full": (OSError(28, "No space left on device"), "cannot be written \\(No space left on device\\)"),
    "no reason": (OSError(), "cannot be written \\(no reason given\\)"),
    "anything": (RuntimeError(NAME), "cannot be written as a TIFF file; choose another format"),
}


@pytest.mark.parametrize(("error", "why"), WRITING.values(), ids=WRITING.keys())
def test_what_a_library_raises_while_it_writes(error, why):
    with pytest.raises(BadInput, match=why) as caught, write_errors(PATH, (".tif",), "a TIFF file"):
        raise error
    assert NAME not in str(caught.value)


def test_only_this_thread_is_quiet_and_only_for_a_while(caplog):
    log = logging.getLogger("tests.quiet")

    def another(text: str) -> None:
        thread = threading.Thread(target=log.warning, args=(text,))
        thread.start()
        thread.join()

    with silence_logger("tests.quiet"):
        log.error("here")
        another("elsewhere")
        with silence_logger("tests.quiet"):
            pass
        log.error("still here")
    log.warning("afterwards")
    assert [r.message for r in caplog.records] == ["elsewhere", "afterwards"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("dicomweb://user:secret@host:8042/dicom", "dicomweb://host:8042/dicom"),
        (Path("http://user:secret@host/dicom?patient=secret"), f"{Path('http://host/dicom')}"),
        ("dicomweb+http://host/dicom?patient=secret#secret", "dicomweb+http://host/dicom"),
        ("C:/scans/a@b?.nii", "C:/scans/a@b?.nii"),
        ("/home/a@b/scan#1.nii", "/home/a@b/scan#1.nii"),
    ],
)
def test_a_password_or_a_patient_in_an_address_is_not_said_again(given, shown):
    error = BadInput(given, f"is none; see {given}", "write dicomweb://host/path?patient=ID")
    assert error.what == shown
    assert error.why == f"is none; see {shown}"
    assert "secret" not in str(error)
    assert error.remedy == "write dicomweb://host/path?patient=ID"
