"""What LangChain's standard tests are told of the server. They run in an environment of their own,
so nothing of ours is imported here.
"""

import os
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

SERVER = {
    "base_url": os.environ["BASE_URL"],
    "api_key": os.environ["API_KEY"],
    "model": os.environ["MODEL"],
    "max_retries": 0,
}


class TestChat(ChatModelIntegrationTests):
    has_tool_calling = True
    has_structured_output = True
    supports_json_mode = True
    supports_image_inputs = True
    returns_usage_metadata = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**SERVER, "stream_usage": True}


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {**SERVER, "check_embedding_ctx_length": False}
