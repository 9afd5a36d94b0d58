"""A model at rest: a folder with `arrays/` (orbax) and `checkpoint.json` (all that is not an array).

    checkpoint.json  the model card, the normaliser for readers, shapes of the arrays, checksums of the files below
                     arrays/ and of all this
    arrays/          parameters and frozen training statistics, by name

Folders are written beside their place and renamed into it, so that one that exists is whole. Nothing is pickled.
"""

from nanoarb_jax.artifacts.checkpoint.arrays import model_version, named_arrays
from nanoarb_jax.artifacts.checkpoint.loading import Checkpoint, load_checkpoint
from nanoarb_jax.artifacts.checkpoint.manifest import MANIFEST, find_checkpoint, read_manifest
from nanoarb_jax.artifacts.checkpoint.saving import save_checkpoint

__all__ = [
    "MANIFEST",
    "Checkpoint",
    "find_checkpoint",
    "load_checkpoint",
    "model_version",
    "named_arrays",
    "read_manifest",
    "save_checkpoint",
]
