"""Post-training quantisation of a graph with NNCF (Jacob et al., CVPR 2018).

NNCF reports its use to its makers if `openvino_telemetry` can be imported. Here it
cannot while NNCF is imported, and a second check refuses to go on otherwise.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from ml.errors import ModelError
from ml.networks.openvino_export import pack_graph

_TELEMETRY = "openvino_telemetry"


def quantise(graph: Path, images: np.ndarray, packed: Path) -> None:
    """Write a graph in INT8, packed into one file.

    Args:
        graph: The graph for one image (`ml.networks.onnx_graph`).
        images: float32 (images, size, size, channels); activations get the range that
            they have on these.
        packed: The file to write.

    Raises:
        ModelError: NNCF is not installed, or would report its use.
    """
    import openvino

    nncf = silent_nncf()
    quantised = nncf.quantize(
        openvino.Core().read_model(graph),
        nncf.Dataset(list(images[:, None])),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
    )
    file = packed.with_suffix(".xml")
    openvino.save_model(quantised, file, compress_to_fp16=True)
    pack_graph(file, packed)
    for part in (file, file.with_suffix(".bin")):
        part.unlink()


def silent_nncf() -> ModuleType:
    """Import NNCF without what reports its use.

    Raises:
        ModelError: NNCF is not installed, or would report its use.
    """
    loaded = sys.modules.get(_TELEMETRY)
    # An import of a name that stands as None fails.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        nncf = importlib.import_module("nncf")
        reporting = importlib.import_module("nncf.telemetry.wrapper")
    except ModuleNotFoundError as error:
        raise ModelError(
            "Quantising needs NNCF, which is in requirements.txt.",
            reason_code="nncf_missing",
        ) from error
    finally:
        if loaded is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = loaded
    if isinstance(reporting.telemetry, reporting.NNCFTelemetry):
        raise ModelError(
            "NNCF was imported before and would report its use.",
            reason_code="nncf_reports",
        )
    return nncf
