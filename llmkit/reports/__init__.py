"""Human-readable output: terminal tables, the report page, the model card."""
