"""Types of fields, with their limits, and what all bodies of requests have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from zsindex.arguments import bounds


def _encodable(text: str) -> str:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it contains characters that are not allowed in text")
    return text


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")
    return value


# Half of a surrogate pair can be written in JSON, and nowhere else.
Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_encodable)]
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_encodable)]
# Absolute, as answers show them: what another one is relative to, and what ~ stands for, is the host's business.
PhotoPath: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=4096, pattern=r"^(/|[A-Za-z]:[/\\])"), AfterValidator(_encodable)
]
# Which folders may be synced is checked by the endpoint.
Folder: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_encodable)]
Cursor: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=65_536), AfterValidator(_encodable)]
Base64: TypeAlias = Annotated[str, StringConstraints(min_length=1)]
# SQLite's largest.
Id: TypeAlias = Annotated[int, Field(ge=1, le=2**63 - 1), BeforeValidator(_no_boolean)]
Top: TypeAlias = Annotated[int, Field(ge=1, le=1000)]
Exact: TypeAlias = Annotated[
    bool,
    Field(
        description="Compare every photo. Only where a service searches on the library's server are a few passed over "
        "otherwise."
    ),
]
Score: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# Not a vocabulary from a file, as on the command line: it would be read on the service's machine.
Unknown: TypeAlias = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^[a-z]+(@(basic|wordnet))?(:(score=)?-?[0-9.]+)?$")
]
CorrectionMethod: TypeAlias = Literal["logistic", "gda", "tip-adapter"]
Temperature: TypeAlias = (
    Annotated[float, Field(ge=bounds.LEAST_TEMPERATURE, le=bounds.MOST_TEMPERATURE, allow_inf_nan=False)]
    | Literal["fitted"]
)
Share: TypeAlias = Annotated[float, Field(ge=0, le=2**53, allow_inf_nan=False), BeforeValidator(_no_boolean)]
Prior: TypeAlias = dict[Text, Share] | Literal["estimated"]
ActivationName: TypeAlias = Literal["softmax", "sigmoid"]
Order: TypeAlias = Literal["path", "label", "score", "date"]
Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**32)]
ListLimit: TypeAlias = Annotated[int, Field(ge=0, le=10_000, description="Most entries of a list in the answer.")]
T = TypeVar("T")


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, (str, dict)) else given


def _listed_number(given: Any) -> Any:
    return [given] if isinstance(given, int) else given


# One counts as a list of one, as in Python; see `zsindex.arguments.several`.
Several: TypeAlias = Annotated[list[T], BeforeValidator(_listed)]
SeveralIds: TypeAlias = Annotated[list[Id], BeforeValidator(_listed_number)]
OnlyPaths: TypeAlias = Annotated[
    Several[PhotoPath] | None, Field(description="Only photos at or below these folders of the library.")
]


def examples(*bodies: dict[str, JsonValue]) -> ConfigDict:
    """What a body's schema shows."""
    return ConfigDict(json_schema_extra={"examples": list(bodies)})


class RequestBody(BaseModel):
    """The body of a request. Unknown fields are refused: a misspelt one would change the question unnoticed."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_only(cls, value: Any, info: ValidationInfo) -> Any:
        taken = cls.model_fields[info.field_name or ""].annotation
        return value if taken is bool or bool in get_args(taken) else _no_boolean(value)
