"""The REST API: routes, schemas, problem+json errors."""
