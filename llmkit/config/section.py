"""The base class of the sections of a recipe."""

from pydantic import BaseModel, BeforeValidator, ConfigDict

# A single text is read as a list of one: evaluation.by=topic.
OneOrMore = BeforeValidator(
    lambda value: [value] if isinstance(value, str) else value,
    json_schema_input_type=str | list[str],
)


class Section(BaseModel):
    """A section of a recipe. Unknown keys and wrong types are errors."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
