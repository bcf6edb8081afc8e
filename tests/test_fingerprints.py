"""What the program does: a small part of ``python -m tests.fingerprints --check``."""

import pytest

from tests import fingerprints


def test_pixels_decisions_and_weights_are_those_recorded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = fingerprints.main(["--check", "--quick"])
    assert status == 0, capsys.readouterr().out


def test_another_result_is_noticed() -> None:
    record = {"photo": {"sha256": "1", "means": [[10.0]], "sequence": ["a"]}}
    for change in ({"sha256": "2"}, {"means": [[12.0]]}, {"sequence": ["b"]}):
        changed = {"photo": {**record["photo"], **change}}
        assert fingerprints.differences(record, changed, exactly=True)
        is_rounding = "sha256" in change
        assert bool(fingerprints.differences(record, changed, exactly=False)) != is_rounding
