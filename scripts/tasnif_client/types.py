"""What goes to `POST /v1/classify` and comes back: types for editors and checkers, plain dicts at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Task = Literal["topics", "stance"]
StanceLabel = Literal["favor", "against", "neutral", "unrelated"]
STANCES: tuple[StanceLabel, ...] = ("favor", "against", "neutral", "unrelated")


class Article(TypedDict, total=False):
    """One article; only `text` is required."""

    id: str | None
    title: str | None
    text: str | None
    language: str | None
    targets: list[str]
    tasks: list[Task]
    topics: list[str]
    model: str
    top_k: int
    threshold: float
    evidence: bool


class Options(TypedDict, total=False):
    """What can be asked of all articles alike; an article's own fields go first."""

    targets: list[str]
    tasks: list[Task]
    topics: list[str]
    model: str
    top_k: int
    threshold: float
    evidence: bool


class ModelRef(TypedDict):
    """The model that answered."""

    name: str
    version: str


class Language(TypedDict):
    """ISO 639-1."""

    code: str
    confidence: float


# "in" is a keyword, hence the other syntax.
Evidence = TypedDict("Evidence", {"in": NotRequired[str], "start": int, "end": int, "score": float})


class Topic(TypedDict):
    """One topic's calibrated score."""

    label: str
    score: float
    assigned: bool
    threshold: float
    name: dict[str, str]
    iptc: list[str]
    evidence: NotRequired[list[Evidence]]


class Stance(TypedDict):
    """Toward one target; `None` is the article's main subject."""

    target: str | None
    label: StanceLabel
    score: float
    scores: dict[StanceLabel, float]


class Usage(TypedDict):
    """The article's length."""

    tokens: int
    windows: int
    truncated: bool


class Verdict(TypedDict):
    """What the model says of one article."""

    id: NotRequired[str]
    model: ModelRef
    language: NotRequired[Language]
    topics: NotRequired[list[Topic]]
    stance: NotRequired[list[Stance]]
    usage: Usage


class Fault(TypedDict):
    """Why there is no verdict: a stable code, a sentence, the field at fault."""

    code: str
    message: str
    param: NotRequired[str]


class ErrorRecord(TypedDict):
    """What stands in the place of a verdict."""

    id: NotRequired[str]
    error: Fault


Answer = Verdict | ErrorRecord


class TasnifError(Exception):
    """The service can't be reached, or refuses what is asked. `status` is 0 where there was no answer."""

    def __init__(self, message: str, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def fault(code: str, message: str, param: str | None = None) -> Fault:
    made = Fault(code=code, message=message)
    if param is not None:
        made["param"] = param
    return made


def is_error(answer: Answer) -> TypeIs[ErrorRecord]:
    return "error" in answer
