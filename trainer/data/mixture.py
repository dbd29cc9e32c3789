"""A mixture: the sources that a batch is drawn from, and what share of it each gives."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.store import predicate, reward

# Of the query that a source's `where` is put into, see selection.py.
QUERY_PARAMETERS = ("reference", "corpus")


class Source(BaseModel):
    """One part of a mixture."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(description="in figures, and for `spo weights`; unique in the file")
    where: str = Field("true", description="SQL predicate on the view `judged`, alias j")
    parameters: dict[str, str | int | float | bool] = Field(
        {}, description="a value for each $name in `where`: { run = 'a run' }"
    )
    weight: float | list[tuple[int, float]] = Field(
        description="share of a batch, or [[from_step, share], ...]"
    )
    corpus: str | None = Field(
        None,
        description="name or corpus_id: only rows of this published corpus; a name means the newest, which a"
        " run keeps",
    )
    reward: str | None = Field(None, description="reward function of this source; null: the mixture's")
    unique: Literal["all", "token", "near"] = Field(
        "all",
        description="one trajectory for each verdict and program that is the same without layout and comments"
        " (token), or for each verdict and cluster of near-duplicates (near), among the rows of this source",
    )
    window: int | None = Field(
        None, ge=1, description="only this many of the newest rows; they are drawn at random"
    )
    keep_correct: float = Field(
        0.0, ge=0, le=1, description="share of the best-rewarded rows retained beyond window and age limits"
    )
    max_age_steps: int | None = Field(
        None, ge=0, description="only rows sampled by a policy of at most this many steps ago"
    )
    max_age_hours: float | None = Field(
        None, gt=0, description="only rows that are at most this much older than the newest"
    )
    uses: float | None = Field(
        None, gt=0, description="mean uses of a row, after which the source is empty until fresh rows come"
    )
    group: int | None = Field(
        None,
        ge=2,
        description="rows come in groups of this many different ones of one problem, as objectives need that"
        " compare them; problems with fewer are left out; null: single rows",
    )
    when_empty: Literal["error", "others"] = Field(
        "error", description="others: the share of an empty source goes to the other sources"
    )

    @field_validator("reward")
    @classmethod
    def reward_is_known(cls, value: str | None) -> str | None:
        return None if value is None else reward(value).name

    def condition(self) -> str:
        """`where` in brackets, to be put into a query. Raises SqlError where it is not one condition."""
        return predicate(
            self.where, self.parameters, name=f"source {self.name}: where", reserved=QUERY_PARAMETERS
        )

    def weight_at(self, step: int) -> float:
        """The scheduled weight of a step."""
        if isinstance(self.weight, float | int):
            return float(self.weight)
        return next((share for start, share in reversed(self.weight) if step >= start), 0.0)

    @property
    def is_moving(self) -> bool:
        """Whether rows leave as others come, so that passes over a shuffled order have no meaning."""
        return bool(self.window or self.max_age_steps is not None or self.max_age_hours)


class Mixture(BaseModel):
    """What a batch is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch_sequences: int = Field(32, ge=1, description="rows per batch")
    batch_tokens_global: int | None = Field(
        None,
        ge=1,
        description="tokens per batch in place of batch_sequences; shares are then shares of tokens",
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="rows with more tokens, prompt included, are left out;"
        " null: rows that were scored, or that the model has positions for",
    )
    reward: str = Field("binary", description="reward function, see pipeline/store/rewards.py")
    follow_every: int | None = Field(
        None, ge=1, description="steps between updates to what others added to the store; null: none"
    )
    source: list[Source] = Field(min_length=1)

    @field_validator("reward")
    @classmethod
    def reward_is_known(cls, value: str) -> str:
        return reward(value).name

    @model_validator(mode="after")
    def groups_fit(self) -> Mixture:
        for source in self.source:
            if source.group and self.batch_tokens_global:
                raise ValueError(
                    f"source {source.name}: group needs batches of batch_sequences rows; leave"
                    " batch_tokens_global out"
                )
            if source.group and source.group > self.batch_sequences:
                raise ValueError(
                    f"source {source.name}: a group of {source.group} rows does not fit"
                    f" batch_sequences = {self.batch_sequences}"
                )
        return self

    def reward_of(self, source: Source) -> str:
        """The name of a source's reward function."""
        return source.reward or self.reward
