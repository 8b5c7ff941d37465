from kseparation.training.recovery import RecoveryPolicy


def test_rejected_steps_are_left_out_until_there_are_too_many_in_a_row() -> None:
    policy = RecoveryPolicy(most_in_a_row=3)
    assert [policy.rejected(step, row) for step, row in ((10, 1), (11, 2), (12, 3))] == ["skip", "skip", "roll_back"]


def test_a_hundredth_of_a_thousand_steps_may_be_left_out() -> None:
    policy = RecoveryPolicy()
    assert {policy.rejected(step, 1) for step in range(50, 5000, 100)} == {"skip"}
    policy = RecoveryPolicy()
    found = [policy.rejected(step, 1) for step in range(50, 900, 80)]
    assert found == ["skip"] * 10 + ["roll_back"]
    policy.returned(850, 800, "roll_back")
    assert policy.rejected(860, 1) == "skip"  # the ten are paid for


def test_returns_become_slower_and_end() -> None:
    policy, found = RecoveryPolicy(most_returns=3), []
    for step in (100, 500, 900, 1300):
        found.append(policy.trouble(step))
        if found[-1] != "stop":
            policy.returned(step, step - 50, found[-1])
    assert found == ["roll_back", "roll_back_slower", "roll_back_slower", "stop"]
    assert policy.rate_factor == 0.25
    assert policy.trouble(10_000 + 900) == "roll_back"
    policy.returned(10_900, 10_800, "roll_back")
    assert policy.rate_factor == 0.25  # a rate that was too high stays so


def test_a_return_in_vain_leads_further_back() -> None:
    policy = RecoveryPolicy()
    assert policy.earlier_return(500) is None
    policy.returned(500, 450, "roll_back")
    policy.returned(520, 400, "roll_back_slower")
    assert policy.earlier_return(510) == 400 and policy.earlier_return(900) is None


def test_strict_ends_at_the_first_trouble() -> None:
    policy = RecoveryPolicy(strict=True)
    assert (policy.rejected(5, 1), policy.trouble(6), policy.unreadable(7)) == ("stop",) * 3


def test_a_tenth_of_the_batches_may_be_unreadable() -> None:
    policy = RecoveryPolicy()
    assert {policy.unreadable(step) for step in range(0, 2000, 10)} == {"redraw"}
    assert [policy.unreadable(step) for step in (1995, 1996)] == ["stop", "stop"]


def test_the_third_bad_validation_in_a_row_is_the_end() -> None:
    policy = RecoveryPolicy()
    assert [policy.validation(finite) for finite in (False, False, True, False, False)] == ["report", "report", "none", "report", "report"]
    assert RecoveryPolicy(state=policy.state()).validation(False) == "stop"
    assert RecoveryPolicy(strict=True).validation(False) == "stop"


def test_a_resume_does_not_reset_the_limits() -> None:
    policy = RecoveryPolicy(most_returns=1)
    policy.rejected(20, 1)
    policy.returned(90, 50, policy.trouble(90))
    later = RecoveryPolicy(most_returns=1, state=policy.state())
    assert later.state() == policy.state()
    assert policy.state() == {"skips": [], "unread": [], "returns": [{"step": 90, "to_step": 50}], "rate_factor": 1.0, "bad_validations": 0, "rejected_before": False}
    assert later.trouble(95) == "stop"
