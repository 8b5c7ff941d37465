from kseparation.training.recovery import RecoveryPolicy


def test_rejected_steps_are_left_out_until_there_are_too_many_in_a_row() -> None:
    policy = RecoveryPolicy(most_in_a_row=3)
    assert [policy.rejected(step, row) for step, row in ((10, 1), (11, 2), (12, 3))] == ["skip", "skip", "roll_back"]


def test_a_hundredth_of_a_thousand_steps_may_be_left_out() -> None:
    policy = RecoveryPolicy()
    assert {policy.rejected(step, 1) for step in range(50, 5000, 100)} == {"skip"}
    policy = RecoveryPolicy()
    found = [policy.rejected(step, 1) for step in range(50, 1000, 80)]
    assert found == ["skip"] * 10 + ["roll_back"] * 2


def test_returns_become_slower_and_end() -> None:
    policy, found = RecoveryPolicy(most_returns=3), []
    for step in (100, 500, 900, 1300):
        found.append(policy.trouble(step))
        if found[-1] != "stop":
            policy.returned(step, step - 50, found[-1])
    assert found == ["roll_back", "roll_back_slower", "roll_back_slower", "stop"]
    assert policy.slower_returns(1300) == 2
    assert policy.trouble(10_000 + 900) == "roll_back" and policy.slower_returns(20_000) == 0


def test_a_return_in_vain_leads_further_back() -> None:
    policy = RecoveryPolicy()
    assert policy.earlier_return(500) is None
    policy.returned(500, 450, "roll_back")
    policy.returned(520, 400, "roll_back_slower")
    assert policy.earlier_return(510) == 400 and policy.earlier_return(900) is None


def test_strict_ends_at_the_first_trouble() -> None:
    policy = RecoveryPolicy(strict=True)
    assert (policy.rejected(5, 1), policy.trouble(6), policy.unreadable(7)) == ("stop",) * 3


def test_batches_that_cannot_be_read_have_the_limit_of_rejected_steps() -> None:
    policy = RecoveryPolicy()
    assert [policy.unreadable(step) for step in range(11)] == ["redraw"] * 10 + ["stop"]


def test_a_resume_does_not_reset_the_limits() -> None:
    policy = RecoveryPolicy(most_returns=1)
    policy.rejected(20, 1)
    policy.returned(90, 50, policy.trouble(90))
    later = RecoveryPolicy(most_returns=1, state=policy.state())
    assert later.state() == policy.state() == {"skips": [20], "returns": [{"step": 90, "to_step": 50, "slower": False}]}
    assert later.trouble(95) == "stop"
