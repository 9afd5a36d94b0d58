"""The protocol for any forecasts: the same rows for all, and what is said of all series together."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.calibration import expected_calibration_error, fit_temperature, scale
from nanoarb_jax.evaluation.judging import LEAST_HISTORY, judge_streams, rows_of, train_priors
from nanoarb_jax.evaluation.metrics import choose_tau, class_prior, decide, mcc_from_confusion
from support.made_stream import stream_of

HORIZONS = (2, 5)
HOUR_NS = 3_600_000_000_000


def series(i: int, rows: int = 1_400, spread: float = 1.0) -> Stream:
    """Labels in a random order, the last of a part undefined; four hours long from 22:00."""
    rng = np.random.default_rng(i)
    labels = rng.choice(3, size=(rows, 2), p=[0.2, 0.6, 0.2])
    labels[-5:] = -1
    parts = {"train": (0, 800), "validation": (805, 1_100), "test": (1_105, rows)}
    return stream_of(labels, name=f"series_{i}")._replace(
        **parts, spread=np.full(rows, spread, np.float32), ts_ns=22 * HOUR_NS + np.arange(rows) * HOUR_NS // 350
    )


def forecasts(stream: Stream, knowledge: float) -> np.ndarray:
    """Log-probabilities that know something of the labels."""
    rng = np.random.default_rng(stream.rows)
    logits = rng.normal(size=(stream.rows, 2, 3)) + knowledge * np.eye(3)[np.maximum(stream.labels, 0)]
    return (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32)


STREAMS = (series(0), series(1, 1_500), series(2, 1_450, spread=3.0))
JUDGES = {name: [forecasts(s, k) for s in STREAMS] for name, k in (("model", 1.5), ("weaker", 1.0), ("none", 0.0))}


@pytest.fixture(scope="module")
def judged() -> dict:
    return judge_streams(JUDGES, STREAMS, HORIZONS)


def test_plain_json_of_every_judge_and_horizon(judged: dict) -> None:
    assert json.loads(json.dumps(judged)) == judged
    assert judged.keys() == {
        "verdict", "series", "instruments", "mean", "pooled", "intervals", "paired", "best_baseline", "regimes",
        "hours",
    }  # fmt: skip
    assert judged["instruments"] == {stream.name: stream.instrument for stream in STREAMS}
    tables = [*judged["series"].values(), judged["mean"], judged["pooled"], judged["intervals"]]
    assert all(list(table) == ["model", "weaker", "none"] for table in tables)
    assert list(judged["paired"]) == ["weaker", "none"]
    assert all(list(of) == ["h2", "h5"] for table in [*tables, judged["paired"]] for of in table.values())
    for horizon in ("h2", "h5"):
        each = [judged["series"][stream.name]["model"][horizon] for stream in STREAMS]
        for key, mean in judged["mean"]["model"][horizon].items():
            assert mean == pytest.approx(np.mean([one[key] for one in each])), key


def test_protocol_by_hand(judged: dict) -> None:
    """τ and temperature of the validation rows, prior of the training rows, decisions of the test rows."""
    stream, log_p = STREAMS[1], JUDGES["model"][1][:, 1]
    labels, prior = stream.labels[:, 1], class_prior(stream.labels[:800, 1])
    np.testing.assert_array_equal(train_priors(stream)[1], prior)
    tau, fitted = choose_tau(log_p[805:1_100], labels[805:1_100], prior), slice(805, 1_100)
    test = slice(1_105, 1_495)
    scaled = scale(log_p[test], fit_temperature(log_p[fitted], labels[fitted]))
    met = judged["series"]["series_1"]["model"]["h5"]
    assert (met["n"], met["tau"]) == (390, tau)
    assert met["mcc"] == mcc_from_confusion(met["confusion"])
    assert met["accuracy"] == pytest.approx((decide(log_p[test], prior, tau) == labels[test]).mean())
    assert met["ece"] == pytest.approx(expected_calibration_error(log_p[test], labels[test]))
    assert met["ece_scaled"] == pytest.approx(expected_calibration_error(scaled, labels[test]))
    # all directional decisions count at threshold 0, fewer above
    assert met["p_t"]["transactions"] == sorted(met["p_t"]["transactions"], reverse=True)


def test_only_validation_and_judged_rows_are_read(judged: dict) -> None:
    others = {}
    for name, arrays in JUDGES.items():
        others[name] = [array.copy() for array in arrays]
        for array in others[name]:
            array[:805] = array[1_100:1_105] = np.nan
    assert judge_streams(others, STREAMS, HORIZONS) == judged


def test_warm_up_is_judged_by_nobody() -> None:
    assert rows_of(STREAMS[0], "train") == (LEAST_HISTORY, 800) and rows_of(STREAMS[0], "test") == (1_105, 1_400)
    met = judge_streams(JUDGES, STREAMS, HORIZONS, "train")["series"]["series_0"]
    assert {horizons["h2"]["n"] for horizons in met.values()} == {800 - LEAST_HISTORY}
    short = STREAMS[0]._replace(validation=(300, 400))
    with pytest.raises(
        DataError, match=r"stream 'series_0': its validation part, rows 300 to 400, has no row after 500"
    ):
        judge_streams({"model": JUDGES["model"][:1]}, (short,), HORIZONS)


def test_the_better_judge_is_told_from_the_weaker(judged: dict) -> None:
    for horizon in ("h2", "h5"):
        means = {name: of[horizon]["mcc"] for name, of in judged["mean"].items()}
        for name, of in judged["intervals"].items():
            low, high = of[horizon]["mcc"]
            assert low < means[name] < high and high - low < 0.2
        assert judged["paired"]["none"][horizon]["p_value"] < 0.01
        test = judged["paired"]["weaker"][horizon]
        assert test["difference"] == pytest.approx(means["model"] - means["weaker"])
        assert test["low"] < test["difference"] < test["high"]


def test_the_lead_in_every_figure(judged: dict) -> None:
    """Macro-F1 and log loss beside the MCC, over blocks and over instruments."""
    means = judged["mean"]
    for other, horizons in judged["paired"].items():
        for key, test in horizons.items():
            for figure, of in (("mcc", test), ("macro_f1", test["macro_f1"]), ("log_loss", test["log_loss"])):
                assert of["difference"] == pytest.approx(means["model"][key][figure] - means[other][key][figure])
                assert of["low"] < of["difference"] < of["high"] and of["low_instruments"] < of["high_instruments"]
                assert of["p_value_instruments"] >= 0.25  # of three instruments
                low, high = judged["intervals"][other][key][figure]
                assert low < means[other][key][figure] < high
            assert test["log_loss"]["high"] < 0 < test["macro_f1"]["low"]
    one = [stream._replace(instrument="the same") for stream in STREAMS]
    alone = judge_streams(JUDGES, one, HORIZONS)["paired"]
    assert alone["weaker"]["h2"]["p_value_instruments"] is None
    assert alone["weaker"]["h2"]["low"] == judged["paired"]["weaker"]["h2"]["low"]


def test_the_better_baseline_of_each_horizon(judged: dict) -> None:
    """Of those that were fitted; neither guesses nor other models count, whatever they know."""
    assert judged["best_baseline"] == {} and "no fitted baseline" in judged["verdict"]
    first, second = ([log_p.copy() for log_p in JUDGES["weaker"]] for _ in range(2))
    for log_p, worse in ((first, 1), (second, 0)):
        for array, none in zip(log_p, JUDGES["none"], strict=True):
            array[:, worse] = none[:, worse]
    judges = {
        "model": JUDGES["model"],
        "logistic": first,
        "gradient_boosting_flow": second,
        "majority": JUDGES["model"],
    }
    met = judge_streams(judges, STREAMS, HORIZONS)
    assert {key: best["judge"] for key, best in met["best_baseline"].items()} == {
        "h2": "logistic", "h5": "gradient_boosting_flow",
    }  # fmt: skip
    assert met["best_baseline"]["h2"] == {"judge": "logistic", **met["paired"]["logistic"]["h2"]}
    assert met["verdict"].startswith("On 3 series of 3 instruments, the model is ahead of the best baseline")


def test_pooled_calibration_weighs_series_alike(judged: dict) -> None:
    met = judged["pooled"]["model"]["h5"]
    assert sum(met["reliability"]["n"]) == pytest.approx(1, abs=1e-4)
    accuracy = sum(n * a for n, a in zip(met["reliability"]["n"], met["reliability"]["accuracy"], strict=True) if n)
    each = []
    for stream, array in zip(STREAMS, JUDGES["model"], strict=True):
        rows = slice(stream.test[0], stream.rows - 5)
        each.append((array[rows, 1].argmax(axis=-1) == stream.labels[rows, 1]).mean())
    assert accuracy == pytest.approx(np.mean(each), abs=1e-4)
    mean = judged["mean"]["model"]["h5"]
    assert met["ece_scaled"] < mean["ece_scaled"] and met["ece_floor"] < mean["ece_floor"]
    counts = [judged["series"][s.name]["model"]["h5"]["p_t"]["transactions"] for s in STREAMS]
    assert met["p_t"]["transactions"] == np.sum(counts, axis=0).tolist()


def test_regimes(judged: dict) -> None:
    large, small = judged["regimes"]["large_tick"], judged["regimes"]["small_tick"]
    assert (large["series"], small["series"]) == (["series_0", "series_1"], ["series_2"])
    one = judged["series"]["series_2"]["weaker"]["h2"]
    keys = ("mcc", "macro_f1", "profit_per_trade_ticks", "profit_per_trade_bp")
    assert small["weaker"]["h2"] == {key: one[key] for key in keys}
    alone = judge_streams({"model": JUDGES["model"][:2]}, STREAMS[:2], HORIZONS)["regimes"]
    assert alone["small_tick"] == {"series": []} and alone["large_tick"]["model"] == large["model"]


def test_hours_share_out_all_rows(judged: dict) -> None:
    assert list(judged["hours"]) == ["01", "02"]  # rows 1,105 on are three hours after 22:00
    for name in JUDGES:
        whole = sum(judged["series"][s.name][name]["h2"]["n"] for s in STREAMS)
        assert sum(of[name]["h2"]["n"] for of in judged["hours"].values()) == whole
    in_first = [(stream.ts_ns[stream.test[0] : -5] // HOUR_NS % 24 == 1).sum() for stream in STREAMS]
    assert judged["hours"]["01"]["model"]["h2"]["n"] == sum(in_first)


def test_an_hour_too_short_for_a_horizon() -> None:
    """Three rows before the end the clock strikes: two of them have a label two ticks ahead, none five."""
    streams = []
    for stream in STREAMS:
        labels, rows = stream.labels.copy(), np.arange(stream.rows)
        labels[-5:-2, 0], labels[-2:, 0] = 1, -1
        streams.append(stream._replace(labels=labels, ts_ns=22 * HOUR_NS + (rows >= stream.rows - 4) * HOUR_NS))
    judged = judge_streams(JUDGES, streams, HORIZONS)
    assert list(judged["hours"]) == ["22", "23"]
    assert judged["hours"]["23"]["model"]["h2"]["n"] == 2 * len(STREAMS)
    assert all(of["h5"] == {"n": 0, "mcc": None} for of in judged["hours"]["23"].values())
    first = [stream._replace(ts_ns=stream.ts_ns[::-1].copy()) for stream in streams]  # the short hour comes first
    assert judge_streams(JUDGES, first, HORIZONS)["hours"]["22"]["model"].keys() == {"h2", "h5"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judges": {}}, "judges .* of streams .*: expected at least one of both, and no name twice"),
        ({"streams": (STREAMS[0], STREAMS[0], STREAMS[2])}, "'series_0', 'series_0', .*no name twice"),
        ({"judges": {"model": JUDGES["model"][:2]}}, r"judge 'model': .*expected \[\(1400, 2, 3\), \(1500"),
        ({"horizons": (2,)}, r"judge 'model': .*\(1400, 2, 3\).*expected \[\(1400, 1, 3\)"),
        ({"split": "future"}, "split 'future': expected one of train, validation, test"),
        (
            {"streams": (STREAMS[0]._replace(labels=np.full_like(STREAMS[0].labels, -1)), *STREAMS[1:])},
            "stream 'series_0': no label 2 ticks ahead in rows 805 to 1100 of its validation part",
        ),
    ],
)
def test_what_does_not_fit(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge_streams(**{"judges": JUDGES, "streams": STREAMS, "horizons": HORIZONS, **change})
