"""`mf.Spectrogram`: the numbers beside those of others, and what cannot be declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import multifeed as mf
from multifeed.fields.spectrogram import Mels


def made(sound: np.ndarray, rate: int = 16_000, **options: Any) -> np.ndarray:
    """Return the spectrogram of a sound."""
    declared = mf.Spectrogram(**options)
    found = np.full((declared.frames(len(sound)), declared.mels), np.nan, np.float32)
    Mels(declared, rate).write(sound, found)
    return found


def triangles(rate: int, n_fft: int, mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Return the weight of each frequency in each band, as the formula has it, one by one."""

    def hertz(mel: float) -> float:
        return 700 * (10 ** (mel / 2595) - 1)

    low, high = (2595 * np.log10(1 + each / 700) for each in (fmin, fmax))
    edges = [hertz(low + (high - low) * each / (mels + 1)) for each in range(mels + 2)]
    weights = np.zeros((n_fft // 2 + 1, mels))
    for place in range(len(weights)):
        frequency = place * rate / n_fft
        for band in range(mels):
            left, centre, right = edges[band : band + 3]
            rising, falling = (
                (frequency - left) / (centre - left),
                (right - frequency) / (right - centre),
            )
            weights[place, band] = max(0, min(rising, falling))
    return weights


def noise(length: int = 8_000) -> np.ndarray:
    """Return noise, whose bands are never near zero."""
    return np.random.default_rng(0).normal(size=length).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_fft": 400, "hop": 160, "mels": 64},
        {"n_fft": 400, "hop": 160, "mels": 20, "fmin": 300, "fmax": 3_400, "power": 1},
        {"n_fft": 401, "hop": 7, "mels": 5, "window": "hamming"},
        {"n_fft": 512, "hop": 1_000, "mels": 128, "fmax": 8_000.0},
    ],
)
def test_it_is_what_pytorch_and_the_formula_make(options: dict[str, Any]) -> None:
    """The transform of `torch.stft`, whose defaults are torchaudio's, times the triangles."""
    declared, sound = mf.Spectrogram(**options), noise()
    kind = torch.hann_window if declared.window == "hann" else torch.hamming_window
    spectrum = torch.stft(
        torch.from_numpy(sound.astype(np.float64)),
        declared.n_fft,
        declared.hop,
        window=kind(declared.n_fft, dtype=torch.float64),
        return_complex=True,
    )
    power = spectrum.abs().numpy().T ** declared.power
    top = declared.fmax or 8_000
    weights = triangles(16_000, declared.n_fft, declared.mels, declared.fmin, top)
    expected = np.log(np.maximum(power @ weights, declared.floor))
    np.testing.assert_allclose(made(sound, **options), expected, atol=2e-4)


def test_a_thousand_hertz_are_a_thousand_mel() -> None:
    """A tone of 1,000 Hz is loudest in the band around it, as is one of 4,000 Hz, 2,146 mel."""
    time = np.arange(16_000) / 16_000
    # Bands of 80 mel: the centre of band i is at 80 · (i + 1).
    top = 700 * (10 ** (2_400 / 2595) - 1)
    for hertz, band in ((1_000, 1_000 / 80 - 1), (4_000, 2_146 / 80 - 1)):
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        found = made(tone, n_fft=2_048, mels=29, fmax=top)[20]
        assert abs(int(found.argmax()) - band) <= 0.5


def test_silence_and_bands_between_two_frequencies_are_the_floor() -> None:
    """Neither is minus infinity."""
    found = made(np.zeros(1_000, np.float32), n_fft=64, mels=4, floor=1e-6)
    np.testing.assert_allclose(found, np.log(1e-6), rtol=1e-6)
    found = made(noise(1_000), n_fft=64, mels=60)
    assert np.isfinite(found).all()
    is_floor = np.isclose(found, np.log(1e-10)).all(axis=0)
    assert 0 < is_floor.sum() < 60
    assert np.isclose(made(noise(1_000), n_fft=64, mels=3, fmin=10, fmax=20), np.log(1e-10)).all()


def test_what_is_no_number_stays_so() -> None:
    """Without a warning, and only in the windows that hold it."""
    sound = noise(1_000)
    sound[500] = np.nan
    found = made(sound, n_fft=64, hop=32, mels=4)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [15, 16]


def test_the_parts_that_are_computed_at_once_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window alone gives the bytes that it gives among others."""
    whole = made(noise(), n_fft=400, hop=160)
    monkeypatch.setattr("multifeed.fields.spectrogram._CHUNK_BYTES", 1)
    assert made(noise(), n_fft=400, hop=160).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 1}, "n_fft must be a whole number of at least 2; received 1."),
        ({"hop": 0}, "hop must be a whole number of at least 1; received 0."),
        ({"mels": 2.5}, "mels must be a whole number of at least 1; received 2.5."),
        ({"window": "blackman"}, "window must be one of 'hann', 'hamming'; received 'blackman'."),
        ({"power": 3}, "power must be one of 1, 2; received 3."),
        ({"floor": 0}, "floor is a number above 0; received 0."),
        (
            {"fmin": -1},
            "fmin and fmax are frequencies in Hz, 0 <= fmin < fmax; received fmin=-1, fmax=None.",
        ),
        (
            {"fmin": 200, "fmax": 200},
            "fmin and fmax are frequencies in Hz, 0 <= fmin < fmax; received fmin=200, fmax=200.",
        ),
        (
            {"fmax": float("nan")},
            "fmin and fmax are frequencies in Hz, 0 <= fmin < fmax; received fmin=0.0, fmax=nan.",
        ),
    ],
)
def test_what_cannot_be_is_told(options: dict[str, Any], message: str) -> None:
    """At its declaration, with what was received."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Spectrogram(**options)
    assert str(caught.value) == message


def test_what_does_not_fit_the_sound_is_told() -> None:
    """Frequencies above half of the rate, and windows longer than the sound."""
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Audio("x", 8_000, 4_000, spectrogram=mf.Spectrogram(fmax=8_000))
    assert str(caught.value) == (
        "fmin and fmax are frequencies in Hz, 0 <= fmin < fmax <= 4000, half of the rate; received "
        "fmin=0.0, fmax=8000."
    )
    with pytest.raises(mf.DeclarationError) as caught:
        mf.Audio("x", 8_000, 512, spectrogram=mf.Spectrogram())
    assert str(caught.value) == (
        "a sound is longer than half a window; length is 512 and n_fft 1024.\n"
        "  Pass a smaller n_fft, or a larger length."
    )
