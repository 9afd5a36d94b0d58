"""Adaptation of a checkpoint to an instrument: what `nanoarb-jax adapt` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from nanoarb_jax.adaptation.fit import Past, adapt, adapted_log_probs
from nanoarb_jax.adaptation.fold import adapted_model
from nanoarb_jax.artifacts.checkpoint import Checkpoint, save_checkpoint
from nanoarb_jax.artifacts.checkpoint.arrays import model_version, named_arrays
from nanoarb_jax.data.dataset import Dataset, check_fit, check_input
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.judging import judge
from nanoarb_jax.evaluation.metrics import mean_over_series
from nanoarb_jax.evaluation.scoring import read_out_streams
from nanoarb_jax.evaluation.tuned_models import one_thread
from nanoarb_jax.files import claim_folder
from nanoarb_jax.training.run_plan import describe_run

FIGURES = ("log_loss", "mcc", "macro_f1")


class Adapted(NamedTuple):
    """An adapted checkpoint, and what it is worth.

    Attributes:
        path: its folder.
        version: of its weights.
        report: how each horizon was fitted, see `Adaptation.report`.
        test: {"model", "adapted"}: {"h10": {figure of FIGURES: mean over the streams' test parts}}; None where a test
            part is too short to be judged.
    """

    path: Path
    version: str
    report: dict[str, dict[str, Any]]
    test: dict[str, Any] | None


def adapt_checkpoint(checkpoint: Checkpoint, dataset: Dataset, output: str | Path) -> Adapted:
    """Fit a model to its user's instrument in seconds, and save it as an ordinary checkpoint.

    Its logits get a linear term of the model's last features and inputs, see `nanoarb_jax.adaptation.fit`. It is learnt
    from the training parts, its strength is chosen on the validation parts, and the test parts only judge it.

    Args:
        checkpoint: the model; adapted ones, too.
        dataset: the instrument's past, one stream or several.
        output: folder to make.

    Raises:
        DataError: series of several instruments, or data of other horizons, features or ticks than the model's.
        OutputError: the path is a file, or a folder that is not empty.

    Example:
        >>> from nanoarb_jax.artifacts.checkpoint import load_checkpoint
        >>> from nanoarb_jax.training.adapt import adapt_checkpoint
        >>> past = nj.open_dataset("feeds/synthetic_00.npz")
        >>> adapted = adapt_checkpoint(load_checkpoint("checkpoints/nano"), past, "adapted")
        >>> sorted(adapted.report)
        ['h10', 'h100', 'h50']
    """
    _check(checkpoint, dataset)
    claim_folder(Path(output).absolute(), "adapted checkpoint")
    evidence = read_out_streams(checkpoint.model, dataset.streams)
    in_time = sorted(zip(evidence, dataset.streams, strict=True), key=lambda pair: int(pair[1].ts_ns[0]))
    pasts = [Past(known, stream.labels, stream.train, stream.validation) for known, stream in in_time]
    with one_thread():  # of BLAS: horizons are fitted side by side
        found = adapt(pasts, checkpoint.config.horizons)
    model = adapted_model(checkpoint.model, found.terms)
    said = {"model": (), "adapted": found.terms}
    log_probs = {name: [adapted_log_probs(one, terms) for one in evidence] for name, terms in said.items()}
    test = _judge(dataset, log_probs, checkpoint.config.horizons)
    path = save_checkpoint(
        output,
        model,
        metrics={"adapted_test": test},
        data=describe_run(dataset, {"initial": checkpoint}),
        training={**checkpoint.training, "adaptation": {"of": checkpoint.version, **found.report}},
    )
    return Adapted(path, model_version(named_arrays(model)), found.report, test)


def _check(checkpoint: Checkpoint, dataset: Dataset) -> None:
    check_fit(dataset, checkpoint.config)
    if checkpoint.input is not None:
        check_input(dataset, checkpoint.input)
    instruments = list(dict.fromkeys(stream.instrument for stream in dataset.streams))
    if len(instruments) > 1:
        raise DataError(
            f"adapt: series of {len(instruments)} instruments ({', '.join(instruments[:3])} …); expected those of one, "
            "to which the model is adapted; give its files alone, or say with --instrument that they are of one"
        )


def _judge(dataset: Dataset, log_probs: dict[str, list[Any]], horizons: tuple[int, ...]) -> dict[str, Any] | None:
    """The mean figures of the test parts."""
    try:
        judged = {
            stream.name: {name: judge(stream, said[i], "test", horizons) for name, said in log_probs.items()}
            for i, stream in enumerate(dataset.streams)
        }
    except DataError:
        return None
    return mean_over_series(judged, FIGURES)
