"""Sound inside a page, decoded again."""

import base64

import numpy as np
import pytest

from kseparation.audio.files import read_audio
from kseparation.reporting.players import audio_uri, data_uri, song_players
from kseparation.reporting.report_data import Excerpt


def decoded(uri, tmp_path):
    head, content = uri.split(",")
    file = tmp_path / ("sound.mp3" if "mpeg" in head else "sound.ogg")
    file.write_bytes(base64.b64decode(content))
    return read_audio(file)


@pytest.mark.parametrize(("rate", "kind"), [(16000, "audio/mpeg"), (10000, "audio/ogg")])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_sound_survives_at_any_rate_and_channel_count(tmp_path, rate, kind, channels):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    uri = audio_uri(np.repeat(tone[:, None], channels, axis=1), rate)
    assert uri.startswith(f"data:{kind};base64,")
    audio, read_rate = decoded(uri, tmp_path)
    assert read_rate == rate
    assert audio.shape[1] == min(channels, 2 if channels < 3 else 1)
    assert np.std(audio[rate // 4 : rate // 2, 0]) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_one_factor_for_all_sounds_where_one_would_clip(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)[:, None].astype(np.float32)
    excerpt = Excerpt("song", 3.0, 16000, tone, {"a": 0.5 * tone}, {"a": 4.0 * tone})
    players = song_players(excerpt)
    assert (players.track, players.start_seconds, players.seconds) == ("song", 3.0, 1.0)
    levels = [
        np.std(decoded(uri, tmp_path)[0][4000:12000])
        for uri in (players.mixture, players.references["a"], players.estimates["a"])
    ]
    np.testing.assert_allclose(np.array(levels) * np.sqrt(2), [0.25, 0.125, 1.0], rtol=0.05)
    assert players.size_bytes == len(players.mixture) + len(players.references["a"]) + len(players.estimates["a"])


def test_data_uri():
    assert data_uri(b"abc", "text/plain") == "data:text/plain;base64,YWJj"
