"""Connectors are created, read, changed, deleted and called."""

import asyncio
from typing import Any

import pytest

from mlcommons_py.errors import BadRequest, Conflict, CredentialUnreadable, IllegalArgument, NotFound, Unavailable
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.documents import CONNECTORS, Connector
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store.embedded import EmbeddedStore
from tests.remote.making import FUNCTIONS, Only, Users, connectors, keys, openai

SECRET = "the-canary-in-the-coal-mine"


async def test_what_was_created_is_there(store: EmbeddedStore) -> None:
    """A connector comes back as ML Commons shows it: version and parameters as texts, no credential."""
    service = connectors(store)

    made = await service.create(openai(provisioned_by="me"))

    shown = await service.get(made["connector_id"])
    assert shown.pop("created_time") == shown.pop("last_updated_time") > 1_700_000_000_000
    assert shown == {
        "name": "OpenAI chat",
        "version": "1",
        "description": "talks",
        "protocol": "http",
        "parameters": {"endpoint": "api.openai.com", "model": "gpt-4o", "temperature": "0.5", "stop": '["x"]'},
        "actions": [
            {
                "action_type": "PREDICT",
                "method": "POST",
                "url": "https://${parameters.endpoint}/v1/chat/completions",
                "headers": {"Authorization": "Bearer ${credential.openAI_key}"},
                "request_body": '{"model":"${parameters.model}","messages":${parameters.messages}}',
            }
        ],
        "provisioned_by": "me",
    }
    assert await service.count() == 1


async def test_it_is_opened(store: EmbeddedStore) -> None:
    """Whoever calls gets the connector with its credential decrypted, another service as well."""
    made = (await connectors(store).create(openai()))["connector_id"]

    connector, credential = await connectors(store).recent(made)

    assert credential == {"openAI_key": SECRET}
    action = connector.action("predict")
    assert action is not None
    assert action.url == "https://${parameters.endpoint}/v1/chat/completions"
    with pytest.raises(NotFound, match="Failed to find connector with the provided connector id: none"):
        await connectors(store).recent("none")


async def test_the_url_is_checked_as_it_will_be(store: EmbeddedStore) -> None:
    """Trust is asked about each action's URL with the connector's parameters in it, at create and at update (12)."""
    trust = Only()
    service = connectors(store, trust=trust)
    made = (await service.create(openai()))["connector_id"]
    assert trust.asked == ["https://api.openai.com/v1/chat/completions"]

    refused = "Connector URL is not matching the trusted connector endpoint regex"
    evil = {"action_type": "batch_predict", "method": "POST", "url": "https://evil.example/"}
    for body in (
        openai(parameters={"endpoint": "evil.example"}),
        openai(actions=[*openai()["actions"], evil]),
        openai(dry_run=True, actions=[evil]),
    ):
        with pytest.raises(IllegalArgument, match=refused):
            await service.create(body)
        with pytest.raises(IllegalArgument, match=refused):
            await service.own.made({key: value for key, value in body.items() if key != "dry_run"}, "m")
    for body in ({"parameters": {"endpoint": "evil.example"}}, {"actions": [evil]}):
        with pytest.raises(IllegalArgument, match=refused):
            await service.update(made, body)
    assert await service.count() == 1
    assert (await service.get(made))["parameters"]["endpoint"] == "api.openai.com"


async def test_update(store: EmbeddedStore) -> None:
    """Parameters are merged key by key; credential, actions and client_config are replaced; the rest stays."""
    service = connectors(store)
    made = (await service.create(openai(credential={"openAI_key": "old", "org": "o"})))["connector_id"]
    before = await service.recent(made)
    action = {"action_type": "PREDICT", "method": "POST", "url": "https://api.openai.com/v2"}

    written = await service.update(
        made,
        {
            "description": "changed",
            "version": 2,
            "parameters": {"model": "gpt-5", "n": 1},
            "credential": {"openAI_key": "new"},
            "actions": [action],
            "client_config": {"read_timeout": 5},
        },
    )

    assert written.result == "updated"
    connector, credential = await service.recent(made)
    assert credential == {"openAI_key": "new"}
    assert connector.parameters == {
        "endpoint": "api.openai.com", "model": "gpt-5", "temperature": "0.5", "stop": '["x"]', "n": "1"
    }  # fmt: skip
    assert (connector.name, connector.description, connector.version) == ("OpenAI chat", "changed", "2")
    assert connector.actions == [action]
    assert (connector.config.read_timeout, connector.config.max_connection) == (5, 30)
    assert connector.created_time == before[0].created_time


async def test_update_without_a_credential(store: EmbeddedStore) -> None:
    """What is not in an update stays as it is, the credential too; an empty one changes the time only."""
    service = connectors(store)
    made = (await service.create(openai()))["connector_id"]
    before = (await service.get(made), (await service.recent(made))[1])

    await service.update(made, {})

    after = (await service.get(made), (await service.recent(made))[1])
    assert {**before[0], "last_updated_time": 0} == {**after[0], "last_updated_time": 0}
    assert before[1] == after[1]


async def test_updates_side_by_side(store: EmbeddedStore) -> None:
    """Of many updates at once none is lost."""
    services = [connectors(store) for _ in range(4)]
    made = (await services[0].create(openai()))["connector_id"]

    await asyncio.gather(
        *(services[n % 4].update(made, {"parameters": {f"p{n}": n}}) for n in range(12)),
    )

    parameters = (await services[0].get(made))["parameters"]
    assert {name: value for name, value in parameters.items() if name.startswith("p")} == {
        f"p{n}": str(n) for n in range(12)
    }


async def test_used_connectors(store: EmbeddedStore) -> None:
    """A connector of deployed models cannot be changed, and one of any models cannot be deleted."""
    users = Users()
    service = connectors(store, users)
    made = (await service.create(openai()))["connector_id"]
    users.models = [("m1", True), ("m2", False), ("m3", True)]

    with pytest.raises(BadRequest) as deployed:
        await service.update(made, {"description": "x"})
    with pytest.raises(Conflict) as used:
        await service.delete(made)

    still = "models are still using this connector, please"
    assert deployed.value.reason == f"2 {still} undeploy the models first: [m1, m3]"
    assert used.value.reason == f"3 {still} delete or update the models first: [m1, m2, m3]"
    users.models = [("m2", False)]
    await service.update(made, {"description": "x"})
    users.models = []
    assert (await service.delete(made)).result == "deleted"
    assert (await service.delete(made)).result == "not_found"
    for call in (service.get(made), service.update(made, {}), service.recent(made)):
        with pytest.raises(NotFound):
            await call


async def test_a_chosen_id(store: EmbeddedStore) -> None:
    """A client may choose the id, once; the credential is bound to it."""
    service = connectors(store)

    assert await service.create(openai(connector_id="mine")) == {"connector_id": "mine"}

    with pytest.raises(Conflict, match="connector id 'mine' already exists"):
        await service.create(openai(connector_id="mine", credential={"openAI_key": "other"}))
    assert (await service.recent("mine"))[1] == {"openAI_key": SECRET}
    with pytest.raises(IllegalArgument, match="connector id must not start with '_'"):
        await service.create(openai(connector_id="_create"))


async def test_dry_run(store: EmbeddedStore) -> None:
    """A dry run checks everything and stores nothing, not even a master key."""
    service = connectors(store)

    assert await service.create(openai(dry_run=True)) == {"connector_id": "dryRunConnector"}

    assert await service.count() == 0
    assert await store.get(".plugins-ml-config", "master_key") is None
    for wrong, reason in (
        ({"credential": {}}, "Connector credential is null or empty list"),
        ({"credential": {"other": "x"}}, "Required credential is missing"),
        ({"parameters": {"endpoint": "api.openai.com", "response_filter": "$["}}, "is no JSONPath"),
    ):
        with pytest.raises(IllegalArgument, match=reason):
            await service.create(openai(dry_run=True, **wrong))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"dry_run": True, "description": "new"}, r"\[dry_run\] is for _create only"),
        ({"connector_id": "another"}, r"\[connector_id\] is another than that of the path"),
        ({"credential": {}}, r"\[credential\] is empty"),
        ({"actions": []}, "No actions configured for this connector"),
    ],
)
async def test_what_an_update_could_only_ignore(store: EmbeddedStore, body: dict[str, Any], reason: str) -> None:
    """An update says so of what it cannot do, and changes nothing then."""
    service = connectors(store)
    await service.create(openai(connector_id="mine"))
    before = await service.get("mine")

    with pytest.raises(IllegalArgument, match=reason):
        await service.update("mine", body)

    assert await service.get("mine") == before
    await service.update("mine", {"dry_run": False, "connector_id": "mine"})


async def test_a_model_s_own_connector(store: EmbeddedStore) -> None:
    """A connector within a model is encrypted, opened for that model only, and changed as one by itself is."""
    service = connectors(store)
    inline = {key: value for key, value in openai().items() if key not in ("name", "version")}

    stored = await service.own.made({**inline, "name": "own"}, "the-model")

    assert SECRET not in str(stored)
    assert stored["actions"][0]["action_type"] == "PREDICT"
    assert (await service.own.opened(Connector.from_json(stored), "the-model"))[1] == {"openAI_key": SECRET}
    with pytest.raises(CredentialUnreadable, match="was made for model/the-model"):
        await service.own.opened(Connector.from_json(stored), "another")
    changed = (await service.own.change({"parameters": {"model": "x"}}, "the-model"))(stored)
    assert changed["parameters"] == {**stored["parameters"], "model": "x"}
    assert changed["credential"] == stored["credential"]
    renewed = (await service.own.change({"credential": {"openAI_key": "new"}}, "the-model"))(stored)
    assert (await service.own.opened(Connector.from_json(renewed), "the-model"))[1] == {"openAI_key": "new"}
    with pytest.raises(IllegalArgument, match=r"\[connector.credential\] is empty"):
        (await service.own.change({"credential": {}}, "the-model"))(stored)
    with pytest.raises(IllegalArgument, match="Connector endpoint is required when creating a remote model without"):
        await service.own.made({**inline, "actions": [{**openai()["actions"][0], "action_type": "execute"}]}, "m")
    with pytest.raises(IllegalArgument, match=r"\[connector.connector_id\] cannot be given"):
        await service.own.made({**inline, "connector_id": "x"}, "m")


async def test_switched_off(store: EmbeddedStore) -> None:
    """Where remote models are switched off nothing is created or changed; reading and deleting go on."""
    made = (await connectors(store).create(openai()))["connector_id"]
    name = "plugins.ml_commons.remote_inference.enabled"
    settings = PluginSettings({name: False})
    service = Connectors(store, Secrets(keys(store)), settings, Only(), Users(), FUNCTIONS)

    for call in (service.create(openai()), service.update(made, {})):
        with pytest.raises(BadRequest, match=rf"to true\. The setting's name is {name}\.$"):
            await call

    assert (await service.get(made))["name"] == "OpenAI chat"
    assert (await service.delete(made)).result == "deleted"


class Refusing(EmbeddedStore):
    """A store that quotes what it is given where it refuses it, as a cluster does."""

    async def put(self, index: str, *arguments: Any, **options: Any) -> Any:
        """Refuse connectors."""
        if index != CONNECTORS:
            return await super().put(index, *arguments, **options)
        raise IllegalArgument(f"failed to parse field [credential]: Preview of field's value: {arguments}")


async def test_a_store_that_fails_is_not_quoted(store: EmbeddedStore) -> None:
    """What the store says of a document that it refuses does not reach the client (test 18)."""
    store.__class__ = Refusing

    with pytest.raises(Exception, match="could not be stored: the store refused its document") as refused:
        await connectors(store).create(openai())

    assert "Preview" not in str(refused.value)
    assert "openAI_key" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


class Down(EmbeddedStore):
    """A store that cannot be reached."""

    async def get(self, index: str, doc_id: str) -> Any:
        """Fail."""
        raise Unavailable(f"the cluster cannot be reached for [{doc_id}] in [{index}]")


async def test_calls_go_on_while_the_store_is_away(store: EmbeddedStore) -> None:
    """A connector that was called is called on with the store away; another one is not known."""
    service = connectors(store)
    made, other = [(await service.create(openai()))["connector_id"] for _ in range(2)]
    await service.recent(made)
    await service.update(made, {"description": "x"})
    store.__class__ = Down

    assert (await service.recent(made))[1] == {"openAI_key": SECRET}
    with pytest.raises(Unavailable):
        await service.recent(other)
    store.__class__ = EmbeddedStore
    assert (await service.recent(made))[0].description == "x"


async def test_what_is_stored_is_read_whatever_it_is(store: EmbeddedStore) -> None:
    """A connector that ML Commons stored is shown and opened though it could not be made here; a change is checked."""
    action = {**openai()["actions"][0], "request_body": '{"a": }', "headers": {"X": "${credential.none}"}}
    await store.put(CONNECTORS, "theirs", {**openai(), "credential": {}, "actions": [action]})
    service = connectors(store)

    assert (await service.get("theirs"))["actions"] == [action]
    assert (await service.recent("theirs"))[0].name == "OpenAI chat"
    with pytest.raises(IllegalArgument, match="Required credential is missing"):
        await service.update("theirs", {"description": "ours"})
    with pytest.raises(IllegalArgument, match=r"\[actions\[0\].request_body\] is no JSON"):
        await service.update("theirs", {"credential": {"none": "some"}})
