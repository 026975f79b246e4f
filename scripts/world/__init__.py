"""The invented world from which llmkit's embedded rows and corpus are drawn."""
