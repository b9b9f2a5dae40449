"""The Keras host. The only room that imports Keras."""

from multifeed.keras.baseline import baseline_model
from multifeed.keras.check import check_model, inputs
from multifeed.keras.loader import Loader
from multifeed.keras.predict import predict
from multifeed.keras.resume import ResumeTraining
from multifeed.keras.streams import from_generator

__all__ = [
    "Loader",
    "ResumeTraining",
    "baseline_model",
    "check_model",
    "from_generator",
    "inputs",
    "predict",
]
