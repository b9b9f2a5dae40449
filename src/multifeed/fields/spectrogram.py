"""Spectrograms of sound on the mel scale. Knows nothing of fields."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from multifeed.errors import DeclarationError, lines
from multifeed.fields.shared import at_least, is_number, one_of

NDArray = np.ndarray[Any, Any]

# Bytes of the windows that are transformed at once: they stay in the processor's cache.
_CHUNK_BYTES = 2**19

_WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}


@dataclass(frozen=True)
class Spectrogram:
    """How `Audio` turns sound into a spectrogram: the logarithm of the power in bands of frequencies.

    Windows of `n_fft` samples are centred at samples 0, `hop`, 2 · `hop`, …; beyond its ends the sound
    is mirrored. Each is weighted, and the squared magnitudes of its discrete Fourier transform (or the
    magnitudes themselves) are summed in bands. A band is a triangle over frequency: 1 at its centre, 0
    at the centres of its neighbours. The centres are equally far apart on the mel scale, of HTK:
    ``mel = 2595 · log10(1 + hertz / 700)`` (O'Shaughnessy, Speech Communication, 1987). Bands may be so
    narrow that they lie between two frequencies of the transform: these are always `floor`.

    These are the numbers of ``torchaudio.transforms.MelSpectrogram`` with its defaults, followed by
    ``log(max(…, floor))``.

    Args:
        n_fft: Samples of a window.
        hop: Samples from one window to the next; a quarter of `n_fft` by default.
        mels: How many bands.
        fmin: Where the lowest band begins, in Hz.
        fmax: Where the highest ends, in Hz; half of the rate by default.
        window: How samples of a window are weighted, ``"hann"`` or ``"hamming"`` (periodic).
        power: 2 for power, 1 for magnitude.
        floor: What smaller values are raised to before the natural logarithm is taken.

    Raises:
        DeclarationError: If a number is out of range, or the window unknown.

    Example:
        >>> Spectrogram(n_fft=400, hop=160, mels=64).frames(16_000)
        101
    """

    _: KW_ONLY
    n_fft: int = 1024
    hop: int | None = None
    mels: int = 80
    fmin: float = 0.0
    fmax: float | None = None
    window: str = "hann"
    power: int = 2
    floor: float = 1e-10

    def __post_init__(self) -> None:
        for what, least in (("n_fft", 2), ("mels", 1)):
            object.__setattr__(self, what, at_least(what, getattr(self, what), least))
        hop = max(1, self.n_fft // 4) if self.hop is None else at_least("hop", self.hop, 1)
        object.__setattr__(self, "hop", hop)
        one_of("window", self.window, tuple(_WINDOWS))
        one_of("power", self.power, (1, 2))
        if not is_number(self.floor) or not 0 < self.floor < np.inf:
            raise DeclarationError(f"floor is a number above 0; received {self.floor!r}.")
        top = np.inf if self.fmax is None else self.fmax
        if not (is_number(self.fmin) and is_number(top) and 0 <= self.fmin < top):
            raise self._wrong_ends("")

    def _wrong_ends(self, said: str) -> DeclarationError:
        return DeclarationError(
            f"fmin and fmax are frequencies in Hz, 0 <= fmin < fmax{said}; received fmin={self.fmin!r}, "
            f"fmax={self.fmax!r}."
        )

    def check(self, rate: int, length: int) -> None:
        """Raise `DeclarationError` unless it can be made of `length` samples at a rate."""
        top = rate / 2 if self.fmax is None else self.fmax
        if not self.fmin < top <= rate / 2:
            raise self._wrong_ends(f" <= {rate / 2:g}, half of the rate")
        if length <= self.n_fft // 2:
            raise DeclarationError(
                lines(
                    f"a sound is longer than half a window; length is {length} and n_fft {self.n_fft}.",
                    "Pass a smaller n_fft, or a larger length.",
                )
            )

    def frames(self, length: int) -> int:
        """Return how many windows are centred in a sound of `length` samples, its end included."""
        assert self.hop is not None
        return 1 + length // self.hop


class Mels:
    """Makes spectrograms of sounds of one rate.

    Args:
        declared: What kind of spectrogram.
        rate: The rate of the sounds, in Hz.
    """

    def __init__(self, declared: Spectrogram, rate: int) -> None:
        self._declared = declared
        size = declared.n_fft
        constant, wave = _WINDOWS[declared.window]
        turns = np.arange(size) / size
        self._window = (constant - wave * np.cos(2 * np.pi * turns)).astype(np.float32)
        # Band i rises from edge i to edge i + 1, and falls from there to edge i + 2.
        top = rate / 2 if declared.fmax is None else declared.fmax
        edges = _hertz(np.linspace(_mel(declared.fmin), _mel(top), declared.mels + 2))
        frequencies = np.arange(size // 2 + 1) * rate / size
        between = np.searchsorted(edges, frequencies, side="right") - 1
        self._used = used = np.flatnonzero((between >= 0) & (between <= declared.mels))
        between = between[used]
        share = (frequencies[used] - edges[between]) / (edges[between + 1] - edges[between])
        self._rising = share.astype(np.float32)[:, None]
        self._falling = (1 - share).astype(np.float32)[:, None]
        # Where the frequencies between each two edges begin; `reduceat` takes no sum over none.
        begins = np.searchsorted(between, np.arange(declared.mels + 1))
        self._is_empty = np.diff(begins, append=len(used)) == 0
        self._begins = np.minimum(begins, max(0, len(used) - 1))

    def write(self, sound: NDArray, out: NDArray) -> None:
        """Write the spectrogram of a sound.

        Args:
            sound: ``float32[length]``.
            out: ``float32[frames, mels]``.
        """
        declared = self._declared
        padded = np.pad(sound, declared.n_fft // 2, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, declared.n_fft)[:: declared.hop]
        at_once = max(1, _CHUNK_BYTES // (4 * declared.n_fft))
        for start in range(0, len(out), at_once):
            # A sound may hold NaN, which stays NaN, and infinity, which becomes it.
            with np.errstate(all="ignore"):
                spectrum = np.fft.rfft(windows[start : start + at_once] * self._window)
                bands = self._bands(spectrum)
                np.log(np.maximum(bands, declared.floor, out=bands), out=bands)
            out[start : start + at_once] = bands.T

    def _bands(self, spectrum: NDArray) -> NDArray:
        """Return what bands have of spectra, ``complex64[n, frequencies]``, as ``float32[mels, n]``."""
        # With time last, sums over frequencies are sums of whole rows. A matrix product would be left
        # to BLAS, whose threads and order of sums differ from machine to machine.
        used = spectrum.T[self._used]
        power = used.real**2 + used.imag**2
        if self._declared.power == 1:
            np.sqrt(power, out=power)
        return self._sums(power * self._rising)[:-1] + self._sums(power * self._falling)[1:]

    def _sums(self, weighted: NDArray) -> NDArray:
        """Return the sums of rows between edges, ``float32[mels + 1, n]``."""
        if not len(weighted):
            return np.zeros((len(self._begins), weighted.shape[1]), np.float32)
        sums = np.add.reduceat(weighted, self._begins, axis=0)
        sums[self._is_empty] = 0
        return sums


def _mel(hertz: Any) -> Any:
    return 2595 * np.log10(1 + hertz / 700)


def _hertz(mel: Any) -> Any:
    return 700 * (10 ** (mel / 2595) - 1)
