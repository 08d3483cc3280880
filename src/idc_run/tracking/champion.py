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
    """What the champion is chosen by: scores compare only where all but the value agree."""

    metric: str
    protocol: str
    data: str
    value: float

    def tags(self) -> dict[str, str]:
        """As tags of a model version."""
        return {"metric": self.metric, "protocol": self.protocol, "data": self.data, "score": repr(self.value)}


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        number: Of the version.
        champion: Whether the alias points to it.
        score: Its validation score with the metric, as people read it; empty if it has none.
        terms: Protocol and validation data, under which alone scores compare.
        run: The run that registered it.
        created: The day.
    """

    number: str
    champion: bool
    score: str
    terms: str
    run: str
    created: str


def crown(client: Any, model: str, number: str, standing: Standing) -> str:
    """Let `champion` point to a new version if it is the first, or better on the same terms; say what came of it."""
    old = client.get_registered_model(model).aliases.get(ALIAS)
    if old is not None and str(old) == number:
        return f"{ALIAS} is version {number} already"
    if old is None:
        _move(client, model, number, None)
        return f"{ALIAS} is now version {number}, the first one of {model}"
    tags, mine = client.get_model_version(model, old).tags, standing.tags()
    if any(tags.get(key) != mine[key] for key in _TERMS):
        return (
            f"{ALIAS} stays version {old}: it was validated on other data, by another metric or protocol, so the "
            f"scores do not compare"
        )
    metric, theirs, ours = standing.metric, float(tags["score"]), standing.value
    name = metric.rpartition("/")[2]
    if ours <= theirs:
        return (
            f"{ALIAS} stays version {old}: its {name} in validation is {shown(metric, theirs)}, that of version "
            f"{number} {shown(metric, ours)}"
        )
    _move(client, model, number, old)
    return (
        f"{ALIAS} is now version {number}: its {name} in validation is {shown(metric, ours)}, that of version {old} "
        f"{shown(metric, theirs)}"
    )


def promote(model: str, number: str) -> str | None:
    """Let `champion` point to a version, whatever its score.

    Returns:
        The version that was the champion before.

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
    """All versions of a registered model, the newest first.

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
    """The names of all registered models.

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
    """Point the alias elsewhere; the versions keep when they had it, which the registry itself forgets.

    The alias moves last: what is killed before is done again when the run is resumed.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    client.set_model_version_tag(model, number, f"{ALIAS}.from", now)
    if old:
        client.set_model_version_tag(model, old, f"{ALIAS}.until", now)
    client.set_registered_model_alias(model, ALIAS, number)
