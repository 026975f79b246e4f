"""Output for people: terminal tables, the report page, the model card."""
