"""The model zoo: builds and exports SavedModels for trying, testing and measuring model servers.

Weights are seeded, nothing is downloaded: what matters here is what a model costs to run, not what it predicts.
"""

from models.export import ExportError, export_model
from models.zoo import ZOO, ZooModel

__all__ = ["ZOO", "ExportError", "ZooModel", "export_model"]
