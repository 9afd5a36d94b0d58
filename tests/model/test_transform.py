"""The model's first stage: free of scale, odd under reflection, standardised by frozen training statistics."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.features.feature_set import FEATURE_SETS, mirror_features
from nanoarb_jax.features.flow import flow
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.features.outcomes import NAMES
from nanoarb_jax.model.mamba import abstract_model
from nanoarb_jax.model.transform import CLIP, InputTransform, Statistic, flow_channels, lob44_channels, signed_log
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training.normalise import fit_transform

pytestmark = pytest.mark.usefixtures("compile_quickly")
PRICES, QUANTITIES = slice(0, 2), slice(4, 44)
BOOKS = synthetic_books(2_000, 5)
RAW = lob44(BOOKS, 4.0)

# channels of a mirrored market: the first three change sign, spread and its change stay, imbalances change sign,
# bid and ask levels trade places
SIGN = np.ones(55)
SIGN[[0, 1, 2, *range(5, 15)]] = -1
ORDER = np.concatenate([np.arange(15), *(np.arange(s, s + 10) for s in (25, 15, 45, 35))])


def channels(raw: np.ndarray) -> np.ndarray:
    return np.asarray(lob44_channels(raw[1:], raw[:-1]))


def test_feature_sets_know_their_channels() -> None:
    for name, feature_set in FEATURE_SETS.items():
        channels = feature_set.channels
        assert sorted(channels.logged + channels.plain) == list(range(channels.count))
        assert InputTransform(name, len(feature_set.names)).output_dim == channels.count


def test_channels_by_hand() -> None:
    before, now = np.zeros((2, 44), np.float32)
    before[:3], now[:3] = (999.5, 1000.25, 2.0), (1000.0, 999.75, 1.0)
    before[4:24], now[4:24] = 1.0, np.arange(1, 21)
    now[24:34], now[34:44] = np.cumsum(now[4:14]), np.cumsum(now[14:24])
    got = np.asarray(lob44_channels(now, before))
    mean_level = (55 + 155) / 20
    levels = np.arange(1, 21) / mean_level
    moved = np.arange(20) / mean_level
    np.testing.assert_allclose(got[:3], [np.log(501), -np.log(501), -np.log(251)], rtol=1e-5)
    np.testing.assert_allclose(got[3:5], [np.log(2), -np.log(2)], rtol=1e-5)
    bid, ask = now[24:34], now[34:44]
    np.testing.assert_allclose(got[5:15], (bid - ask) / (bid + ask), rtol=1e-5)
    np.testing.assert_allclose(got[15:35], np.log1p(levels), rtol=1e-5)
    np.testing.assert_allclose(got[35:], np.log1p(moved), rtol=1e-5)


def test_free_of_scale() -> None:
    """Another price level or another unit of quantity is not seen; powers of two change no digit."""
    expected = channels(RAW)
    for columns, factor in ((PRICES, 2.0**10), (PRICES, 2.0**-7), (QUANTITIES, 2.0**10), (QUANTITIES, 2.0**-7)):
        scaled = RAW.copy()
        scaled[:, columns] *= factor
        np.testing.assert_allclose(channels(scaled), expected, rtol=1e-5, atol=1e-6)
    scaled = RAW.copy()
    scaled[:, QUANTITIES] *= 0.37
    np.testing.assert_allclose(channels(scaled), expected, rtol=1e-4, atol=1e-5)
    # float32 holds a price to 6e-8 of itself, and price channels count millionths
    scaled = RAW.copy()
    scaled[:, PRICES] *= 13.7
    np.testing.assert_allclose(channels(scaled), expected, rtol=1e-3, atol=0.3)
    np.testing.assert_array_equal(channels(scaled)[:, 3:], expected[:, 3:])


def test_flow_channels_by_hand() -> None:
    before, now = np.zeros((2, 101), np.float32)
    before[2], now[2], before[44] = 2.0, 1.0, 0.75
    now[4:24], now[24:34], now[34:44] = np.arange(1, 21), np.arange(2, 12), 4.0
    now[44], now[45:55], now[55:57], now[75:81] = -0.5, np.arange(-2, 8), (-3.0, 5.0), (1, 0, 0, 1, 1, 0)
    now[81], now[83], now[84], now[85], now[86:101] = 0.25, 0.75, 1.5, 2.5, np.arange(-7, 8)
    got = np.asarray(flow_channels(now, before))
    raw = [0.4, -8, 0.6, -0.8, 8, 300, 2.5, 250, 100, 200, 1100, 1200, -2, -1, 0, 0, 25, -3, 5, *range(-7, 8)]
    np.testing.assert_allclose(got[:34], np.sign(raw) * np.log1p(np.abs(raw)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[34:44], (now[24:34] - 4) / (now[24:34] + 4), rtol=1e-5)
    np.testing.assert_array_equal(got[44:], now[75:81])


def test_flow_channels_do_not_look_at_prices() -> None:
    raw = flow(BOOKS, 4.0, spread_scale=1.5)
    other = raw.copy()
    other[:, PRICES] = 7.0
    np.testing.assert_array_equal(*(np.asarray(flow_channels(x[1:], x[:-1])) for x in (raw, other)))


def test_mirror() -> None:
    """Reflected about the present price, where relative changes are exact."""
    now, before = RAW[1:200].copy(), RAW[:199].copy()
    for price in (now, before):
        price[:, PRICES] = np.round(price[:, PRICES])  # whole prices are reflected without rounding
    expected = np.asarray(lob44_channels(now, before))
    mirrored = [
        np.asarray(lob44_channels(mirror_features(one, one[0]), mirror_features(past, one[0])))
        for one, past in zip(now, before, strict=True)
    ]
    np.testing.assert_allclose(mirrored, (expected * SIGN)[:, ORDER], rtol=1e-5, atol=1e-6)


def test_mirrored_flow() -> None:
    """Signed channels change their sign, those of a side trade places, the others stay."""
    now, before = flow(BOOKS, 4.0, spread_scale=1.5)[1:200], flow(BOOKS, 4.0, spread_scale=1.5)[:199]
    expected = np.asarray(flow_channels(now, before))
    mirrored = [
        np.asarray(flow_channels(mirror_features(one, one[0]), mirror_features(past, one[0])))
        for one, past in zip(now, before, strict=True)
    ]
    sign, order = np.ones(50), np.arange(50)
    leans = [19 + i for i, name in enumerate(NAMES) if name.startswith("lean")]
    sign[[0, 2, 3, *range(12, 18), *leans, *range(34, 44)]] = -1
    order[8:12], order[44:] = [10, 11, 8, 9], [46, 47, 44, 45, 49, 48]
    np.testing.assert_allclose(mirrored, (expected * sign)[:, order], rtol=1e-5, atol=1e-6)


def test_mirror_about_another_price_is_near() -> None:
    """Training reflects about a stream's first price: what is left is the relative drift since then."""
    expected, mirrored = channels(RAW), channels(mirror_features(RAW, float(RAW[0, 0])))
    drift = np.abs(RAW[1:, 0] / RAW[0, 0] - 1).max()
    np.testing.assert_array_equal(mirrored[:, 3:], (expected * SIGN)[:, ORDER][:, 3:])
    np.testing.assert_allclose(mirrored[:, :3], (expected * SIGN)[:, ORDER][:, :3], atol=0.3 + 3 * drift)


def test_finite() -> None:
    rng = np.random.default_rng(0)
    for size in (0.0, 1e-30, 1.0, 1e20):
        raw = (size * rng.normal(size=(50, 44))).astype(np.float32)
        assert np.isfinite(channels(raw)).all()
        assert np.isfinite(np.asarray(lob44_channels(raw, np.zeros_like(raw)))).all()
        assert np.isfinite(np.asarray(lob44_channels(np.zeros_like(raw), raw))).all()


def test_signed_log_is_odd() -> None:
    x = np.array([0.0, 1e-9, 1.0, 1e6, np.inf], np.float32)
    np.testing.assert_array_equal(signed_log(-x), -signed_log(x))
    assert float(signed_log(jnp.float32(np.e - 1))) == pytest.approx(1.0)


def test_transform_standardises_and_clips() -> None:
    transform = InputTransform("lob44", 44)
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=55), rng.uniform(0.1, 1.0, 55)
    std[7] = 0.0  # a channel that never moved in training is not heard later
    transform.fit(mean, std)
    std[7] = np.inf
    got = np.asarray(transform(RAW[1:], RAW[:-1]))
    np.testing.assert_allclose(got, np.clip((channels(RAW) - mean) / std, -CLIP, CLIP), rtol=1e-4, atol=1e-4)
    assert (np.abs(got) == CLIP).any() and np.abs(got).max() == CLIP


def test_identity_does_nothing() -> None:
    transform = InputTransform("identity", 44)
    transform.fit(np.ones(44), np.ones(44))
    assert transform.output_dim == 44 and not nnx.state(transform)
    np.testing.assert_array_equal(transform(RAW, RAW[::-1]), RAW)


def streams() -> list[Stream]:
    config = DataConfig(horizons=(2, 5))
    return [make_stream(synthetic_books(rows, rows, start_ticks=rows), config) for rows in (2_000, 4_000)]


def fitted(data: list[Stream]) -> tuple[np.ndarray, np.ndarray]:
    model = abstract_model(ModelConfig.preset("nano"))
    model.transform.mean, model.transform.std = Statistic(jnp.zeros(55)), Statistic(jnp.ones(55))
    fit_transform(model, data)
    return np.asarray(model.transform.mean[...]), np.asarray(model.transform.std[...])


def test_fit_is_of_the_training_rows_and_their_mirror_image() -> None:
    data = streams()
    mean, std = fitted(data)
    moments = []
    for stream in data:
        raw = stream.features[: stream.train[1]]
        both = np.concatenate([channels(raw), channels(mirror_features(raw, float(raw[0, 0])))]).astype(np.float64)
        moments.append((both.mean(axis=0), (both**2).mean(axis=0)))
    average, square = (np.mean([m[i] for m in moments], axis=0) for i in (0, 1))  # each stream counts once
    np.testing.assert_allclose(mean, average, atol=1e-4)
    np.testing.assert_allclose(std, np.sqrt(square - average**2), rtol=1e-3)
    # a mirrored market has the same statistics
    assert (np.abs(mean - (mean * SIGN)[ORDER]) / std).max() < 2e-3
    np.testing.assert_allclose(std, std[ORDER], rtol=1e-3)


def test_standardised_training_rows() -> None:
    """Of one stream: mean 0 and standard deviation 1, its mirror image with it."""
    data = streams()[:1]
    mean, std = fitted(data)
    raw = data[0].features[: data[0].train[1]]
    inputs = (np.concatenate([channels(raw), channels(mirror_features(raw, float(raw[0, 0])))]) - mean) / std
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(inputs.std(axis=0), 1, atol=1e-3)


def test_fit_in_blocks_and_without_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    data = streams()[:1]
    mean, std = fitted(data)
    monkeypatch.setattr("nanoarb_jax.training.normalise.CHUNK_ROWS", 500)
    data[0].features[data[0].train[1] :] *= 3.0
    again_mean, again_std = fitted(data)
    np.testing.assert_allclose(again_mean, mean, atol=1e-5)
    np.testing.assert_allclose(again_std, std, rtol=1e-5)
