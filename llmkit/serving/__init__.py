"""The HTTP server: OpenAI's API, the limits and checks around it, and the chat page."""
