"""`Settings`: what differs from machine to machine, read from the environment."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from plankseg.errors import LabelStudioAuthError, SettingsError


class Settings(BaseSettings):
    """Environment settings, from `PLANKSEG_*` variables or a `.env` file; Prefect and AWS have their own variables."""

    model_config = SettingsConfigDict(env_prefix="PLANKSEG_", env_file=".env", extra="ignore", frozen=True)

    store: str = Field(
        "./plankseg-store", min_length=1, description="Folder of the label store, or s3://bucket/prefix."
    )
    label_studio_url: str = Field("http://127.0.0.1:8080", description="Address of Label Studio.")
    label_studio_token: SecretStr | None = Field(None, description="A person's access token, of either kind.")
    project: str = Field("plankseg", min_length=3, max_length=50, description="Title of the Label Studio project.")
    webhook_secret: SecretStr | None = Field(None, min_length=16, description="What Label Studio and the relay share.")
    relay_url: str = Field("http://127.0.0.1:8090", description="Where Label Studio finds the webhook relay.")
    assistant_url: str = Field("http://127.0.0.1:8091", description="Where Label Studio finds the assistant.")
    presign_images: bool = Field(
        False,
        description="Images in a bucket: browsers fetch them there by signed addresses (the bucket needs CORS), "
        "instead of through Label Studio.",
    )
    ecotaxa_url: str = Field("https://ecotaxa.obs-vlfr.fr", description="Address of EcoTaxa, as people open it.")
    ecotaxa_token: SecretStr | None = Field(None, description="A token of EcoTaxa, that POST /api/login gives.")
    device: str = Field("auto", description="auto | cpu | cuda | cuda:1 | mps")
    runner: Literal["threads", "dask"] = Field(
        "threads",
        description="Where passes over very many images run: in the flow's own process, or on the workers of Dask.",
    )
    dask_address: str = Field(
        "", description="Dask's scheduler, such as tcp://host:8786; empty: worker processes of this machine."
    )
    max_image_pixels: int = Field(64_000_000, gt=0, description="Largest image that is decoded.")

    @field_validator("store")
    @classmethod
    def _store_is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("an empty name would make a store of the working directory: give a folder, or unset it")
        return value

    def required_token(self) -> str:
        """Label Studio's token. Raises LabelStudioAuthError where none is set."""
        if self.label_studio_token is None:
            raise LabelStudioAuthError(
                "PLANKSEG_LABEL_STUDIO_TOKEN is not set; copy the token from Label Studio's 'Account & Settings' page."
            )
        return self.label_studio_token.get_secret_value()

    def required_secret(self) -> str:
        """The secret that relay and assistant share with Label Studio. Raises SettingsError where none is set."""
        if self.webhook_secret is None:
            raise SettingsError(
                "PLANKSEG_WEBHOOK_SECRET is not set; draw one, for example with `openssl rand -hex 20`."
            )
        return self.webhook_secret.get_secret_value()

    @property
    def store_location(self) -> str:
        """The store's address, or its folder, absolute, so that a change of directory does not move it."""
        return self.store if "://" in self.store else str(Path(self.store).expanduser().resolve())


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once. Raises SettingsError naming the variable that cannot be used."""
    try:
        return Settings()
    except (UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            f"The file .env of the working directory cannot be read ({error}). Save it as UTF-8, readable by you."
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(("PLANKSEG", *map(str, first["loc"]))).upper()
        raise SettingsError(
            f"{name}={first['input']!r} cannot be used: {first['msg']}; correct it or unset it."
        ) from error
