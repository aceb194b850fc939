"""Azure OpenAI, whose chat and embeddings are OpenAI's; only its batch jobs have another place."""

from mlcommons_py.remote.jobs import below
from mlcommons_py.remote.provider import Provider

PROVIDER = Provider(name="azure_openai", batch_jobs=below("azure", "id", "cancel"))
