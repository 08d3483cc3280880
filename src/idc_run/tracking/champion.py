"""Which registered version is the champion, and why."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from idc_eval.metrics import shown

from idc_run.tracking.store import connect, look_into

ALIAS = "champion"
_TERMS = ("metric", "protocol", "data")


@dataclass(frozen=True)
class Standing:
    """The basis for choosing the champion; values are comparable only if the other fields are equal."""

    metric: str
    protocol: str
    data: str
    value: float

    def tags(self) -> dict[str, str]:
        """Return the tags for a model version."""
        return {"metric": self.metric, "protocol": self.protocol, "data": self.data, "score": repr(self.value)}


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        number: The version number.
        champion: Whether the alias points to it.
        score: Its validation score and metric, for display; empty if it has none.
        terms: Protocol and validation data; scores are comparable only if these are equal.
        run: The run that registered it.
        created: The date.
    """

    number: str
    champion: bool
    score: str
    terms: str
    run: str
    created: str


def crown(client: Any, model: str, number: str, standing: Standing) -> str:
    """Make a new version the champion if it is the first or has a better comparable score; return a sentence on it."""
    old = client.get_registered_model(model).aliases.get(ALIAS)
    if old is not None and str(old) == number:
        return f"{ALIAS} is already version {number}"
    if old is None:
        _move(client, model, number, None)
        return f"{ALIAS} is now version {number}, the first version of {model}"
    tags, mine = client.get_model_version(model, old).tags, standing.tags()
    if any(tags.get(key) != mine[key] for key in _TERMS):
        return (
            f"{ALIAS} stays version {old}: it was validated on other data or with another metric or protocol, so the "
            "scores are not comparable"
        )
    metric, theirs, ours = standing.metric, float(tags["score"]), standing.value
    name = metric.rpartition("/")[2]
    if ours <= theirs:
        return (
            f"{ALIAS} stays version {old}: its validation {name} is {shown(metric, theirs)}, that of version {number} "
            f"is {shown(metric, ours)}"
        )
    _move(client, model, number, old)
    return (
        f"{ALIAS} is now version {number}: its validation {name} is {shown(metric, ours)}, that of version {old} is "
        f"{shown(metric, theirs)}"
    )


def promote(model: str, number: str) -> str | None:
    """Make a version the champion, whatever its score.

    Returns:
        The previous champion.

    Raises:
        ValueError: The registry has no such model or version.
    """
    client = connect().MlflowClient()
    known = versions(model)
    if number not in (version.number for version in known):
        numbers = ", ".join(version.number for version in known[:20])
        raise ValueError(f"{model} has no version {number!r}; expected one of: {numbers}")
    old = next((version.number for version in known if version.champion), None)
    if old != number:
        _move(client, model, number, old)
    return old


def versions(model: str) -> list[Version]:
    """Return all versions of a registered model, the newest first.

    Raises:
        ValueError: The registry has no such model, or there is no registry.
    """
    mlflow = look_into()
    client = mlflow.MlflowClient()
    try:
        champion = client.get_registered_model(model).aliases.get(ALIAS)
    except mlflow.exceptions.MlflowException as error:
        if error.get_http_status_code() not in (400, 404):
            raise
        names = ", ".join(models()) or "none"
        raise ValueError(f"no registered model {model!r}; there are: {names}") from error
    found = [_read(version, str(champion)) for version in client.search_model_versions(f"name = '{model}'")]
    return sorted(found, key=lambda version: -int(version.number))


def models() -> list[str]:
    """Return the names of all registered models.

    Raises:
        ValueError: There is no registry.
    """
    return sorted(model.name for model in look_into().MlflowClient().search_registered_models())


def _read(version: Any, champion: str) -> Version:
    tags = version.tags
    metric = tags.get("metric", "")
    score = f"{shown(metric, float(tags['score']))} {metric.rpartition('/')[2]}" if "score" in tags else ""
    terms = " on ".join(tags[key] for key in ("protocol", "data") if key in tags)
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).strftime("%Y-%m-%d")
    number = str(version.version)
    return Version(number, number == champion, score, terms, version.run_id or tags.get("source_run", ""), created)


def _move(client: Any, model: str, number: str, old: str | int | None) -> None:
    """Move the alias; tags of the versions record when they had it, because the registry does not.

    The alias moves last, so that a resumed run repeats an interrupted move.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    client.set_model_version_tag(model, number, f"{ALIAS}.from", now)
    if old:
        client.set_model_version_tag(model, old, f"{ALIAS}.until", now)
    client.set_registered_model_alias(model, ALIAS, number)
