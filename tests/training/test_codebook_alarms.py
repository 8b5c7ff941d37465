"""What is said of a codebook that dies while every loss is finite."""

import types

import pytest

from kseparation.training.codebook_alarms import STILL_STEPS, CodebookAlarms


def watched(codes=256, rule="relative"):
    said = []
    alarms = CodebookAlarms(lambda name, words: said.append((name, words)))
    quantizer = types.SimpleNamespace(codebook_size=codes, movement=0.1, events=0.0, capped_events=0.0, revival=types.SimpleNamespace(rule=rule))
    alarms.set_model(types.SimpleNamespace(quantizer=quantizer))
    alarms.on_train_begin()
    return alarms, quantizer, said


@pytest.mark.parametrize(("codes", "least"), [(64, 3.2), (160, 8.0), (1024, 8.0)])
def test_a_collapse_is_said_once_until_it_is_over(codes, least):
    alarms, _, said = watched(codes)
    for perplexity in (least + 0.1, least - 0.1, 1.0, least + 0.1, 1.0):
        alarms.on_epoch_end(0, {"perplexity": perplexity})
    assert [name for name, _ in said] == ["collapse", "collapse"]
    assert said[1][1] == f"the codes tell as much as 1 used alike, of {codes}: most cells get the same code"


@pytest.mark.parametrize(("ratio", "wrong"), [(0.09, True), (0.11, False), (1.0, False), (9.9, False), (10.1, True), (float("nan"), True)])
def test_codes_of_another_scale_than_the_vectors_are_told(ratio, wrong):
    alarms, _, said = watched()
    alarms.on_epoch_end(0, {"code_norm_ratio": ratio})
    assert [name for name, _ in said] == ["scale"] * wrong


def test_a_storm_is_over_80_percent_of_the_events_of_an_epoch():
    alarms, quantizer, said = watched()
    for events, capped in ((4, 4), (10, 8), (20, 17), (30, 17)):  # fewer than five; 8 of 10; 9 of 10; none of 10
        quantizer.events, quantizer.capped_events = float(events), float(capped)
        alarms.on_epoch_end(0, {})
    assert said == [("storm", "in 9 of 10 events as many codes were revived as may be: they die faster than they are used")]
    assert alarms.names == set()


def test_a_codebook_that_stands_still_for_500_steps_is_told():
    alarms, quantizer, said = watched(rule="off")
    quantizer.movement = 1e-8
    for _ in range(STILL_STEPS - 1):
        alarms.on_train_batch_end(0)
    quantizer.movement = 1e-3
    alarms.on_train_batch_end(0)
    quantizer.movement = 0.0
    for _ in range(2 * STILL_STEPS):
        alarms.on_train_batch_end(0)
    assert said == [("standstill", "the codebook has not moved for 500 steps: nothing trains it")]
    alarms.on_epoch_end(0, {"perplexity": 100.0})
    assert len(said) == 1
