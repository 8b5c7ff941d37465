"""The scores as rows, text and a sentence."""

import pytest

from kseparation.reporting.score_table import decibels, interval_text, score_rows, score_text, verdict


def summary(model=(5.0, 1.0), best=(2.0, 3.0), fitted=True):
    def scores(sdr, trivial):
        return {"sdr_global": sdr, "trivial_sdr_global": trivial, "si_sdr": None}

    mean = [None if None in values else sum(values) / 2 for values in (model, best)]
    trivial = {
        "zeros": {"vocals": 0.0, "drums": 0.0, "mean": 0.0},
        "constant_mask": {"vocals": 2.0, "drums": 3.0, "mean": 2.5} if fitted else None,
    }
    stems = {"vocals": scores(model[0], best[0]), "drums": scores(model[1], best[1])}
    return {"stems": stems, "mean": scores(*mean), "trivial": trivial}


def test_rows_hold_the_difference_to_the_best_trivial_predictor():
    vocals, drums, mean = score_rows(summary())
    assert (vocals.stem, vocals.difference, drums.difference) == ("vocals", 3.0, -2.0)
    assert (mean.stem, mean.model, mean.best_trivial, mean.difference) == ("mean", 3.0, 2.5, 0.5)
    assert mean.trivial == {"zeros": 0.0, "constant_mask": 2.5}


def test_text_has_a_column_for_each_predictor_and_a_dash_for_a_missing_one():
    lines = score_text(summary(fitted=False)).splitlines()
    assert lines[0].split("  ")[0] == "SDR in dB"
    assert [line.split() for line in lines[1:]] == [
        ["vocals", "5.00", "0.00", "-", "2.00", "+3.00"],
        ["drums", "1.00", "0.00", "-", "3.00", "-2.00"],
        ["mean", "3.00", "0.00", "-", "2.50", "+0.50"],
    ]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ((5.0, 4.0), "The model is 2.0 dB better than predictors without a network."),
        ((5.0, 1.0), "The model is 0.5 dB better than predictors without a network, but not for drums."),
        ((2.0, 3.01), "The model is no better than predictors without a network."),
        ((0.0, 1.0), "The model is 2.0 dB worse than predictors without a network."),
        ((None, 1.0), "The scores are not finite, so they cannot be compared."),
    ],
)
def test_the_verdict_is_plain_about_the_comparison(model, words):
    assert verdict(summary(model)).endswith(words)


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(1.234, False, "1.23"), (1.0, True, "+1.00"), (None, False, "-"), (float("nan"), True, "-")],
)
def test_decibels(value, sign, text):
    assert decibels(value, sign) == text


def test_differences_have_signs_and_intervals():
    assert interval_text({"difference": 1.234, "low": -0.5, "high": 2.0}) == "+1.23 [-0.50, +2.00]"
    assert interval_text({"difference": -1.0, "low": None, "high": None}) == "-1.00"
    assert interval_text(None) == "-"
