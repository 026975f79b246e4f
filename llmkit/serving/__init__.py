"""The HTTP server: an OpenAI-compatible API, access control and limits, and the chat page."""
