"""The model zoo: builds and exports SavedModels."""
