"""The one exception for mistakes that the user can mend."""


class UserError(Exception):
    """What is wrong, where (file:line or key), and what to do: one line each, exit code 2."""
