"""What the guardrails cost and what they save: the same policy with and without them, on landscapes and live."""
