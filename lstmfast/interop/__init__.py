"""Models of other libraries as fitted estimators, and back.

Reading and writing need none of those libraries: PyTorch's state_dict and Keras' weights are arrays. ONNX files need
the package ``onnx``, Keras' files h5py. The formats and what they can hold: docs/interop.md.
"""

from .keras import from_keras, to_keras
from .onnx_reader import from_onnx
from .onnx_writer import to_onnx
from .pytorch import from_torch, to_torch

__all__ = ["from_keras", "from_onnx", "from_torch", "to_keras", "to_onnx", "to_torch"]
