import pytest

from kseparation.config.failure_gate import require_reproduce_failure
from kseparation.config.records import RunConfig
from kseparation.errors import UserError


def test_a_setting_that_breaks_training_is_refused() -> None:
    with pytest.raises(
        UserError, match="`augment.0.low` is known to break a training: it is silent. Change it, or set"
    ):
        require_reproduce_failure(RunConfig(), "`augment.0.low`", "it is silent")


def test_it_passes_with_a_warning_on_request() -> None:
    with pytest.warns(UserWarning, match="It runs because `reproduce_failure` is true."):
        require_reproduce_failure(RunConfig(reproduce_failure=True), "`augment.0.low`", "it is silent")
